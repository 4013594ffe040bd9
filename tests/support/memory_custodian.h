// A custodian whose hardware is a value: it can be copied with the rest of a state, and compared.
//
//   MemoryHardware hardware{.identity = "token A"};
//   MemoryCustodian custodian("fake:a", hardware, gate);
//   MemoryHardware before = hardware;
//
// It keeps custodian.h's contract, but seals by no cryptography: a copy opens as long as the very
// object that it was made with is there. Master keys are made from the key's id and a count, so
// that whoever knows a copy can tell which key it is. Flaws break single promises, for tests that
// must notice. One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hsm/custodian.h"
#include "tests/support/call_gate.h"

namespace keyward::testing {

struct CustodianFlaws {
  bool keeps_objects = false;     // destroy() does nothing and says that it did.
  bool destroys_late = false;     // What it says to have destroyed goes with its next call only.
  bool loses_objects = false;     // What it holds opens once, and never again.
  bool seals_another = false;     // Its copy gives another key back.
  bool confirms_nothing = false;  // confirm() does nothing and says that it did.
};

struct MemoryHardware {
  struct Object {
    std::uint64_t serial = 0;
    bool confirmed = false;
    bool operator==(const Object&) const = default;
  };
  std::string identity;
  std::map<KeyContext, Object> objects{};
  std::uint64_t last_serial = 0;
  std::optional<KeyContext> doomed{};  // By `destroys_late`.
};

class MemoryCustodian final : public hsm::Custodian {
 public:
  // Borrows both.
  MemoryCustodian(std::string_view id, MemoryHardware& hardware, CallGate& gate,
                  CustodianFlaws flaws = {})
      : id_{std::string(id)}, hardware_(hardware), gate_(gate), flaws_(flaws) {}

  // Called when everything that opens `context` is about to be destroyed.
  std::function<void(const KeyContext&)> on_destroy;

  const CustodianId& id() const override { return id_; }
  Result<std::string> identity() override;
  bool destroys() const override { return true; }
  Result<hsm::GeneratedKey> generate(const KeyContext& context) override;
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override;
  Result<void> confirm(const KeyContext& context) override;
  Result<void> destroy(const KeyContext& context, hsm::DestroyScope scope) override;
  Result<std::vector<hsm::HeldObject>> list() override;
  Result<void> probe() override;

 private:
  template <typename Call>
  auto ask(std::string_view function, Call&& call) -> decltype(call());
  Result<SealedKey> seal_now(const SecretBytes& key, const KeyContext& context);

  CustodianId id_;
  MemoryHardware& hardware_;
  CallGate& gate_;
  const CustodianFlaws flaws_;
};

// The master key that a count and a key's id make, and the count in a copy.
SecretBytes memory_key(const KeyId& id, std::uint64_t count);
std::uint64_t count_in(const SealedKey& copy);
// Whether the copy's object is there.
bool opens(const MemoryHardware& hardware, const SealedKey& copy, const KeyContext& context);

}  // namespace keyward::testing
