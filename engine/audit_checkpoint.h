// An AuditCheckpoint is a signed list of the heads of all audit trails at one moment. A head that
// is no longer in its trail shows that records, or a whole database, are gone.
//
//   AuditCheckpoint next{.number = 8, .time = clock.now(), .heads = heads};
//   TRY(sign(next, seed));
//   document.json = checkpoint_to_json(next);
//
// A document of the control store, "checkpoint/<number>". Values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::engine {

struct TrailHead {
  std::string trail;  // "control", or a domain.
  std::string store;  // The keystore's id; empty for control.
  std::uint64_t sequence = 0;
  std::string chain;  // Hexadecimal.
  bool operator==(const TrailHead&) const = default;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("trail", &TrailHead::trail);
    visit("store", &TrailHead::store);
    visit("sequence", &TrailHead::sequence);
    visit("chain", &TrailHead::chain);
  }
};

struct AuditCheckpoint {
  std::uint64_t number = 0;  // From 1, without gaps.
  UtcTime time{};
  std::vector<TrailHead> heads{};
  std::string public_key{};  // Ed25519, hexadecimal.
  std::string signature{};   // Over the JSON text of all other fields.
  bool operator==(const AuditCheckpoint&) const = default;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("number", &AuditCheckpoint::number);
    visit("time", &AuditCheckpoint::time);
    visit("heads", &AuditCheckpoint::heads);
    visit("public_key", &AuditCheckpoint::public_key);
    visit("signature", &AuditCheckpoint::signature);
  }
};

std::string checkpoint_name(std::uint64_t number);
std::string checkpoint_to_json(const AuditCheckpoint& checkpoint);
Result<AuditCheckpoint> checkpoint_from_json(std::string_view json);

// Fills in public key and signature.
Result<void> sign(AuditCheckpoint& checkpoint, const SecretBytes& seed);
// Against its own public key; whether that is ours is the caller's question.
bool has_valid_signature(const AuditCheckpoint& checkpoint);

}  // namespace keyward::engine
