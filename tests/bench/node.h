// A Node is a state directory with one domain, and the product's own parts at work on it inside
// this process: what keywardd does, without its socket.
//
//   Node::create(directory);
//   Node node(directory, "ipsec-mb");
//   node.fill("S3", 0, 1'000'000, 256);
//   Json times = node.rekey();
//
// The master key is sealed by a passphrase in a file, the cheapest custodian there is, so that what
// is measured is the work on the entries. keywardd runs on the same directory with config(). One
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_job.h"
#include "store/control_store.h"
#include "tests/bench/measure.h"

namespace keyward::bench {

std::string entry_text(std::uint32_t id);  // "entry-00000007"

class Node final {
 public:
  // Makes the directory, with the domain S3 in it.
  static void create(const std::filesystem::path& directory);
  // keywardd's configuration for it.
  static std::string config(const std::filesystem::path& directory);
  static std::filesystem::path socket(const std::filesystem::path& directory);
  static std::filesystem::path database(const std::filesystem::path& directory);
  // As keywardd chooses it, and by name.
  static std::string engine_name(std::string_view engine);

  Node(const std::filesystem::path& directory, std::string_view engine);
  ~Node();

  void add_domain(std::string_view name);
  // Entries `first` up to `end`, of `size` bytes each.
  void fill(std::string_view name, std::uint32_t first, std::uint32_t end, std::size_t size);
  // A whole rekey of S3: {"reencrypt": usage, "verify": usage, "whole": usage, "status_us": the
  // longest time that its progress took to tell, "peak_kib": …}. Re-encryption ends when all of it
  // is on disk and nothing superseded is left: a checkpoint and its syncs are part of it.
  Json rekey();
  // Time to open the keystore of S3, in seconds.
  static double open_time(const std::filesystem::path& directory);

 private:
  engine::JobParts parts();
  store::RekeyPhase phase();

  std::unique_ptr<Clock> clock_ = real_clock();
  std::unique_ptr<store::Backend> backend_;
  std::unique_ptr<engine::EventLog> events_;
  std::unique_ptr<engine::CustodianSet> custodians_;
  std::unique_ptr<engine::Keyring> keyring_;
};

}  // namespace keyward::bench
