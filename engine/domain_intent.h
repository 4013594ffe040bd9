// A DomainIntent is written down before a domain is created or deleted, since a file and hardware
// do not change in one stroke. It names what the hardware may hold for a domain that has no file.
//
//   TRY(save_intent(control, {DomainIntent::Act::create, context, custodians}));
//   for (const DomainIntent& intent : TRY(load_intents(control))) ...   // after a crash
//
// A document of the control store, "domain-intent/<domain>". Values; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "store/control_store.h"

namespace keyward::engine {

struct DomainIntent {
  enum class Act : std::uint8_t {
    create,  // The hardware is asked for a key; then the file is made.
    remove,  // The file goes; then the hardware destroys the key.
  };
  Act act = Act::create;
  KeyContext context;
  std::vector<CustodianId> custodians;  // All that may hold something for the key.
  std::uint64_t version = 0;            // As read from the store.
};

// `conflict` when the domain has another intent that has not ended. Answers it with its version.
Result<DomainIntent> save_intent(store::ControlStore& control, DomainIntent intent,
                                 std::span<const store::AuditRecord> records);
Result<void> remove_intent(store::ControlStore& control, const DomainIntent& intent,
                           std::span<const store::AuditRecord> records);
Result<std::vector<DomainIntent>> load_intents(store::ControlStore& control);

}  // namespace keyward::engine
