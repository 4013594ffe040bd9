#include "engine/key_destroyer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/log.h"

namespace keyward::engine {
namespace {

std::string_view kind_of(const CustodianId& id) {
  return std::string_view(id.text).substr(0, id.text.find(':'));
}

bool is_holder(const store::KeyRow& row, const CustodianId& custodian) {
  return std::ranges::find(row.holders, custodian) != row.holders.end();
}

std::unexpected<Error> refuse(const KeyContext& context, std::string_view why) {
  return fail(ErrorCode::conflict, fmt::format("key {} of {} is not destroyed: {}",
                                               context.key.to_text(), context.domain.text(), why));
}

// The same token under two names: an object in it belongs to both. What it is by now counts, or
// else what it was pinned by.
bool is_same_hardware(CustodianSet& custodians, const store::KeyTable& table, const CustodianId& a,
                      const CustodianId& b) {
  if (kind_of(a) != kind_of(b)) return false;
  const auto identity = [&](const CustodianId& id) -> std::string {
    if (Result<std::string> now = custodians.identity(id)) return *now;
    const WantedCustodian* pinned = table.find_wanted(id);
    return pinned == nullptr ? std::string() : pinned->identity;
  };
  const std::string one = identity(a);
  return !one.empty() && one == identity(b);
}

}  // namespace

Result<void> KeyDestroyer::retired(store::Keystore& keystore, const KeyId& key,
                                   const CustodianId& holder) {
  const store::KeyTable table = TRY(keystore.keys());
  const KeyContext context = table.context(key);
  const store::KeyRow* row = table.find(key);
  if (row == nullptr || row->state != store::KeyState::retiring)
    return refuse(context, "it is not retiring");
  if (table.current().id == key || table.write_key().id == key)
    return refuse(context, "entries are written under it");
  if (!is_holder(*row, holder))
    return refuse(context, fmt::format("{} is not one of its holders", holder.text));
  const bool was_in_use = row->commitment != KeyCommitment{};
  return custodians_.destroy(
      holder, context, was_in_use ? hsm::DestroyScope::everything : hsm::DestroyScope::unconfirmed);
}

Result<void> KeyDestroyer::dropped(store::Keystore& keystore, const KeyId& key,
                                   const CustodianId& holder) {
  const store::KeyTable table = TRY(keystore.keys());
  const KeyContext context = table.context(key);
  const store::KeyRow* row = table.find(key);
  if (row == nullptr || !is_holder(*row, holder))
    return refuse(context, fmt::format("{} is not one of its holders", holder.text));
  if (table.find_wanted(holder) != nullptr || row->copy_of(holder) != nullptr)
    return refuse(context, fmt::format("its copy by {} is wanted", holder.text));
  for (const SealedKey& copy : row->copies) {
    if (!is_same_hardware(custodians_, table, copy.custodian, holder)) continue;
    log(LogLevel::notice, "{}: {} and {} are the same hardware, so the copy of key {} stays",
        table.domain.text(), copy.custodian.text, holder.text, key.to_text());
    return {};
  }
  TRY(custodians_.unseal(*row, context));
  return custodians_.destroy(holder, context, hsm::DestroyScope::everything);
}

Result<void> KeyDestroyer::deleted(store::Backend& backend, const KeyContext& context,
                                   const CustodianId& holder) {
  const std::vector<Domain> domains = TRY(backend.domains());
  if (std::ranges::find(domains, context.domain) != domains.end())
    return refuse(context, "its keystore is still there");
  return custodians_.destroy(holder, context, hsm::DestroyScope::everything);
}

}  // namespace keyward::engine
