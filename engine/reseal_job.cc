#include "engine/reseal_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "crypto/key_schedule.h"
#include "engine/key_destroyer.h"
#include "engine/table_change.h"

namespace keyward::engine {
namespace {

using store::KeyRow;
using store::KeyTable;

bool is_live(const KeyRow& row) {
  return row.state == store::KeyState::pending || row.state == store::KeyState::current;
}

bool contains(const std::vector<CustodianId>& ids, const CustodianId& id) {
  return std::ranges::find(ids, id) != ids.end();
}

// ---- What want() checks ----

// A new list, with its MAC under each live key.
struct SignedList {
  KeyTable seen;
  std::vector<WantedCustodian> wanted;
  std::vector<WantedMac> macs;
};

Result<void> check_list(const KeyTable& table, const std::vector<CustodianId>& custodians) {
  if (custodians.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} needs at least one custodian", table.domain.text()));
  }
  for (const CustodianId& id : custodians) {
    if (std::ranges::count(custodians, id) > 1)
      return fail(ErrorCode::invalid_argument, fmt::format("{} is named twice", id.text));
    for (const KeyRow& row : table.keys) {
      const bool leaving = is_live(row) && table.find_wanted(id) == nullptr &&
                           row.copy_of(id) == nullptr && contains(row.holders, id);
      if (!leaving) continue;
      return fail(ErrorCode::conflict,
                  fmt::format("the removal of {} from {} has not ended yet; add it again when it "
                              "has",
                              id.text, table.domain.text()));
    }
  }
  return {};
}

// The identity that a custodian is pinned by. One that is wanted keeps the one it was enrolled
// with, unless the list cannot be believed.
Result<WantedCustodian> pin(const JobParts& parts, const KeyTable& table, const CustodianId& id,
                            bool believed) {
  const WantedCustodian* known = believed ? table.find_wanted(id) : nullptr;
  Result<std::string> now = parts.custodians.identity(id);
  if (!now) {
    // One that is wanted and away may stay on the list.
    if (known != nullptr && now.error().code != ErrorCode::conflict) return *known;
    return std::unexpected(std::move(now.error()));
  }
  if (known != nullptr && known->identity != *now) {
    return fail(ErrorCode::conflict,
                fmt::format("{} is now \"{}\", but was pinned as \"{}\". Remove it, then add it: "
                            "keyward custodians remove {}",
                            id.text, *now, known->identity, id.text));
  }
  return WantedCustodian{id, std::move(*now)};
}

Result<std::vector<WantedCustodian>> pin_all(const JobParts& parts, const KeyTable& table,
                                             const std::vector<CustodianId>& custodians) {
  const bool believed = parts.keyring.check_wanted(table.domain).has_value();
  std::vector<WantedCustodian> wanted;
  for (const CustodianId& id : custodians) {
    WantedCustodian pinned = TRY(pin(parts, table, id, believed));
    const auto kind = [](const CustodianId& of) { return of.text.substr(0, of.text.find(':')); };
    for (const WantedCustodian& other : wanted) {
      if (kind(other.id) != kind(id) || other.identity != pinned.identity) continue;
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} and {} are the same hardware ({}), so one of them is enough",
                              other.id.text, id.text, pinned.identity));
    }
    wanted.push_back(std::move(pinned));
  }
  return wanted;
}

// Unseals one live key by a copy that counts: one that stays, where there is any; else any, since
// then all copies will be new ones.
Result<SecretBytes> open_by_what_stays(const JobParts& parts, const KeyTable& table,
                                       const KeyRow& row,
                                       const std::vector<CustodianId>& custodians) {
  KeyRow staying = row;
  std::erase_if(staying.copies,
                [&](const SealedKey& copy) { return !contains(custodians, copy.custodian); });
  const bool some_stay = !staying.copies.empty();
  Result<SecretBytes> key =
      parts.custodians.unseal(some_stay ? staying : row, table.context(row.id));
  if (key) return key;
  return std::unexpected(
      with_context(std::move(key.error()),
                   fmt::format("key {} of {} opens by none of the copies that would be left",
                               row.id.to_text(), table.domain.text())));
}

// When no copy stays, at least one of the new custodians must be able to seal.
Result<void> test_newcomers(const JobParts& parts, const KeyTable& table,
                            const std::vector<CustodianId>& custodians) {
  const bool some_stay = std::ranges::any_of(
      custodians, [&](const CustodianId& id) { return table.current().copy_of(id) != nullptr; });
  if (some_stay) return {};
  Result<void> tested;
  for (const CustodianId& id : custodians) {
    tested = parts.custodians.test(id);
    if (tested) return tested;
  }
  return tested;
}

Result<SignedList> sign_list(const JobParts& parts, const std::vector<CustodianId>& custodians) {
  KeyTable table = TRY(parts.keystore->keys());
  TRY(check_list(table, custodians));
  std::vector<WantedCustodian> wanted = TRY(pin_all(parts, table, custodians));
  TRY(test_newcomers(parts, table, custodians));
  std::vector<WantedMac> macs;
  for (const KeyRow& row : table.keys) {
    if (!is_live(row)) continue;
    const SecretBytes key = TRY(open_by_what_stays(parts, table, row, custodians));
    macs.push_back(TRY(crypto::authenticate_wanted(key, table.context(row.id), wanted)));
  }
  return SignedList{std::move(table), std::move(wanted), std::move(macs)};
}

// The MACs belong to these keys in this order.
bool has_same_keys(const KeyTable& a, const KeyTable& b) {
  const auto live_keys = [](const KeyTable& table) {
    std::vector<KeyId> ids;
    for (const KeyRow& row : table.keys)
      if (is_live(row)) ids.push_back(row.id);
    return ids;
  };
  return live_keys(a) == live_keys(b) && a.wanted == b.wanted;
}

api::Json text_list(const std::vector<CustodianId>& ids) {
  api::Json::List list;
  for (const CustodianId& id : ids) list.emplace_back(id.text);
  return api::Json(std::move(list));
}

store::AuditRecord copy_record(const KeyTable& table, std::string_view action, const KeyId& key,
                               const CustodianId& custodian) {
  return audit_record(
      {"reseal", "daemon"}, action, table.domain.text(),
      {{"key", api::Json(key.to_text())}, {"custodian", api::Json(custodian.text)}});
}

Result<void> store_list(const JobParts& parts, const std::vector<CustodianId>& custodians,
                        const SignedList& list, const Caller& caller) {
  const Domain& domain = list.seen.domain;
  const store::AuditRecord record = audit_record(caller, "custodians.want", domain.text(),
                                                 {{"custodians", text_list(custodians)}});
  TRY(change_table(*parts.keystore,
                   [&](KeyTable table) -> Result<KeyTable> {
                     if (!has_same_keys(table, list.seen)) {
                       return fail(ErrorCode::conflict,
                                   fmt::format("the keys of {} changed meanwhile; try again",
                                               domain.text()));
                     }
                     return store::set_wanted(std::move(table), list.wanted, list.macs);
                   },
                   {&record, 1}));
  parts.keyring.trust_wanted(domain);
  return {};
}

}  // namespace

Result<void> ResealJob::check(const JobParts& parts, const std::vector<CustodianId>& custodians) {
  TRY(sign_list(parts, custodians));
  return {};
}

// A rekey that runs meanwhile may change the keys between the signing and the storing: then all is
// signed anew.
Result<void> ResealJob::want(const JobParts& parts, const std::vector<CustodianId>& custodians,
                             const Caller& caller) {
  constexpr int kTries = 5;
  for (int i = 1;; ++i) {
    const SignedList list = TRY(sign_list(parts, custodians));
    Result<void> stored = store_list(parts, custodians, list, caller);
    if (stored || stored.error().code != ErrorCode::conflict || i == kTries) return stored;
  }
}

Result<void> ResealJob::give_up(const JobParts& parts, const CustodianId& custodian,
                                const Caller& caller) {
  const KeyTable seen = TRY(parts.keystore->keys());
  const store::AuditRecord record = audit_record(caller, "custodians.give_up", seen.domain.text(),
                                                 {{"custodian", api::Json(custodian.text)}});
  return change_table(*parts.keystore,
                      [&](KeyTable table) -> Result<KeyTable> {
                        if (table.find_wanted(custodian) != nullptr) {
                          return fail(ErrorCode::conflict,
                                      fmt::format("{} is still wanted for {}; remove it first",
                                                  custodian.text, table.domain.text()));
                        }
                        for (const KeyRow& row : std::vector<KeyRow>(table.keys)) {
                          if (!contains(row.holders, custodian)) continue;
                          if (row.state == store::KeyState::retiring) {
                            table = TRY(store::record_destroyed(std::move(table), row.id, custodian,
                                                                store::Destruction::except));
                          } else if (is_live(row)) {
                            if (row.copy_of(custodian) != nullptr)
                              table = TRY(store::drop_copy(std::move(table), row.id, custodian));
                            table = TRY(store::release_holder(std::move(table), row.id, custodian));
                          }
                        }
                        return table;
                      },
                      {&record, 1});
}

bool ResealJob::is_needed(const KeyTable& table) {
  if (table.rekey) return false;
  for (const KeyRow& row : table.keys) {
    for (const WantedCustodian& wanted : table.wanted)
      if (row.copy_of(wanted.id) == nullptr) return true;
    for (const CustodianId& holder : row.holders)
      if (table.find_wanted(holder) == nullptr) return true;
  }
  return false;
}

ResealJob::ResealJob(JobParts parts) : parts_(std::move(parts)) {}

Result<ResealJob::Outcome> ResealJob::step() {
  const KeyTable table = TRY(parts_.keystore->keys());
  if (table.rekey) {
    return fail(ErrorCode::conflict,
                fmt::format("a rekey of {} is under way; the copies follow when it has ended",
                            table.domain.text()));
  }
  if (!is_needed(table)) return Outcome::done;
  TRY(parts_.keyring.check_wanted(table.domain));
  const KeyRow& row = table.current();
  for (const WantedCustodian& wanted : table.wanted) {
    if (row.copy_of(wanted.id) != nullptr) continue;
    TRY(add(table, row.id, wanted));
    return Outcome::more;
  }
  for (const CustodianId& holder : row.holders) {
    if (table.find_wanted(holder) != nullptr) continue;
    TRY(drop(table, row.id, holder));
    return Outcome::more;
  }
  return Outcome::done;
}

Result<void> ResealJob::confirm() {
  const KeyTable table = TRY(parts_.keystore->keys());
  const KeyRow& row = table.current();
  Result<void> all;
  for (const SealedKey& copy : row.copies) {
    Result<void> told = parts_.custodians.confirm(copy.custodian, table.context(row.id));
    // What is gone from the hardware cannot be told; the check of the copies reports it.
    if (!told && told.error().code != ErrorCode::not_found && all) all = std::move(told);
  }
  return all;
}

// The intent is durable before the hardware is asked, and the copy before the hardware is told that
// it is in use: so what a crash leaves behind can be cleaned up, or told again.
Result<void> ResealJob::add(const KeyTable& table, const KeyId& key,
                            const WantedCustodian& wanted) {
  const KeyContext context = table.context(key);
  TRY(change_table(*parts_.keystore,
                   [&](KeyTable now) { return store::intend_copy(std::move(now), key, wanted.id); },
                   {}));
  TRY(note_intent(*parts_.keystore, copy_record(table, "reseal.make_copy", key, wanted.id)));
  const SecretBytes secret = TRY(parts_.custodians.unseal(*table.find(key), context));
  SealedKey copy = TRY(parts_.custodians.seal(wanted, secret, context));
  const store::AuditRecord record = copy_record(table, "reseal.add", key, wanted.id);
  TRY(change_table(*parts_.keystore,
                   [&](KeyTable now) { return store::add_copy(std::move(now), key, copy); },
                   {&record, 1}));
  return parts_.custodians.confirm(wanted.id, context);
}

Result<void> ResealJob::drop(const KeyTable& table, const KeyId& key,
                             const CustodianId& custodian) {
  const store::AuditRecord record = copy_record(table, "reseal.drop", key, custodian);
  if (table.find(key)->copy_of(custodian) != nullptr) {
    TRY(change_table(*parts_.keystore,
                     [&](KeyTable now) { return store::drop_copy(std::move(now), key, custodian); },
                     {&record, 1}));
  }
  TRY(KeyDestroyer(parts_.custodians).dropped(*parts_.keystore, key, custodian));
  const store::AuditRecord released = copy_record(table, "reseal.destroyed", key, custodian);
  TRY(change_table(
      *parts_.keystore,
      [&](KeyTable now) { return store::release_holder(std::move(now), key, custodian); },
      {&released, 1}));
  // The dropped copy is superseded bytes in the file now.
  return parts_.keystore->reencryption().purge();
}

}  // namespace keyward::engine
