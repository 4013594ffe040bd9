#include "store/key_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <ranges>
#include <string_view>

#include "store/key_table_detail.h"

namespace keyward::store {
namespace {

using namespace detail;

// A put at 2^32 encryptions under one key would make a repeated random nonce too likely
// (NIST SP 800-38D, 8.3).
constexpr std::uint64_t kEncryptionsMax = std::uint64_t{1} << 32;

template <typename T>
void add_once(std::vector<T>& list, const T& value) {
  if (!contains(list, value)) list.push_back(value);
}

KeyRow* find_row(KeyTable& table, const KeyId& id) {
  const auto row = std::ranges::find(table.keys, id, &KeyRow::id);
  return row == table.keys.end() ? nullptr : &*row;
}

// ---- What a transition needs ----

std::unexpected<Error> refuse(std::string reason) {
  return fail(ErrorCode::conflict, std::move(reason));
}

Result<void> need_rekey(const KeyTable& table, std::string_view what) {
  if (table.rekey) return {};
  return refuse(fmt::format("no rekey of {} is under way, so {}", table.domain.text(), what));
}

Result<void> need_phase(const KeyTable& table, std::initializer_list<RekeyPhase> phases,
                        std::string_view what) {
  TRY(need_rekey(table, what));
  if (std::ranges::find(phases, table.rekey->phase) != phases.end()) return {};
  return refuse(fmt::format("the rekey of {} is in phase {}, so {}", table.domain.text(),
                            phase_name(table.rekey->phase), what));
}

Result<KeyRow*> need_key(KeyTable& table, const KeyId& id) {
  if (KeyRow* row = find_row(table, id)) return row;
  return refuse(fmt::format("{} has no key {}", table.domain.text(), id.to_text()));
}

Result<KeyRow*> need_live(KeyTable& table, const KeyId& id) {
  KeyRow* row = TRY(need_key(table, id));
  if (is_live(*row)) return row;
  return refuse(fmt::format("key {} is {}, it needs to be pending or current", id.to_text(),
                            state_name(row->state)));
}

Result<KeyRow*> need_retiring(KeyTable& table, const KeyId& id) {
  KeyRow* row = TRY(need_key(table, id));
  if (row->state == KeyState::retiring) return row;
  return refuse(fmt::format("key {} is {}, only a retiring key is destroyed", id.to_text(),
                            state_name(row->state)));
}

// Every transition ends here: one that breaks an invariant is refused, never handed on.
Result<KeyTable> checked(KeyTable table) {
  TRY(table.check());
  return table;
}

// Whom prepare asks: all that are wanted but those left out.
std::vector<CustodianId> asked_in_prepare(const KeyTable& table,
                                          const std::vector<CustodianId>& without) {
  std::vector<CustodianId> asked;
  for (const WantedCustodian& wanted : table.wanted)
    if (!contains(without, wanted.id)) asked.push_back(wanted.id);
  return asked;
}

Result<std::vector<CustodianId>> check_without(const KeyTable& table,
                                               const std::vector<CustodianId>& without) {
  for (const CustodianId& id : without) {
    if (table.find_wanted(id) == nullptr) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{} is no custodian of {}, so it cannot be left out; `keyward "
                              "custodians list` shows them",
                              id.text, table.domain.text()));
    }
  }
  std::vector<CustodianId> asked = asked_in_prepare(table, without);
  if (!asked.empty()) return asked;
  return fail(ErrorCode::invalid_argument,
              "every custodian is left out; the new key needs at least one");
}

Result<void> match_copies(const std::vector<CustodianId>& asked,
                          const std::vector<SealedKey>& copies) {
  for (const CustodianId& id : asked) {
    if (std::ranges::count(copies, id, &SealedKey::custodian) != 1)
      return refuse(fmt::format("the new key needs exactly one copy by {}", id.text));
  }
  if (copies.size() != asked.size())
    return refuse("the new key has a copy by a custodian that is left out or not wanted");
  return {};
}

}  // namespace

Result<KeyTable> first_table(StoreId store, Domain domain, KeyRow current,
                             std::vector<WantedCustodian> wanted) {
  if (current.state != KeyState::current)
    return refuse("the first key of a keystore must be current");
  KeyTable table{.store = store,
                 .domain = std::move(domain),
                 .generation = 1,
                 .keys = {},
                 .wanted = std::move(wanted),
                 .rekey = {}};
  table.keys.push_back(std::move(current));
  return checked(std::move(table));
}

Result<KeyTable> announce(KeyTable table, const Announcement& announcement) {
  if (table.rekey)
    return refuse(fmt::format("a rekey of {} is under way already", table.domain.text()));
  if (table.find(announcement.key) != nullptr || announcement.key == KeyId{})
    return refuse("the new key needs an id of its own");
  KeyRow row;
  row.id = announcement.key;
  row.created = announcement.now;
  row.holders = TRY(check_without(table, announcement.without));
  table.rekey = RekeyRow{.job = announcement.job,
                         .from = table.current().id,
                         .to = announcement.key,
                         .without = announcement.without,
                         .started = announcement.now,
                         .actor = announcement.actor,
                         .error = {},
                         .next_try = {}};
  table.keys.push_back(std::move(row));
  return checked(std::move(table));
}

Result<KeyTable> set_without(KeyTable table, std::vector<CustodianId> without) {
  TRY(need_phase(table, {RekeyPhase::prepare}, "no custodian can be left out of it now"));
  const std::vector<CustodianId> asked = TRY(check_without(table, without));
  KeyRow* row = TRY(need_key(table, table.rekey->to));
  for (const CustodianId& id : asked) add_once(row->holders, id);
  table.rekey->without = std::move(without);
  return checked(std::move(table));
}

Result<KeyTable> begin_reencrypt(KeyTable table, std::vector<SealedKey> copies,
                                 const KeyCommitment& commitment, const WantedMac& mac) {
  TRY(need_phase(table, {RekeyPhase::prepare}, "re-encryption cannot begin"));
  if (all_zero(commitment))
    return fail(ErrorCode::invalid_argument, "the new key needs its commitment");
  TRY(match_copies(asked_in_prepare(table, table.rekey->without), copies));
  KeyRow* row = TRY(need_key(table, table.rekey->to));
  row->state = KeyState::pending;
  row->copies = std::move(copies);
  row->commitment = commitment;
  row->wanted_mac = mac;
  table.rekey->phase = RekeyPhase::reencrypt;
  return checked(std::move(table));
}

Result<KeyTable> begin_verify(KeyTable table) {
  TRY(need_phase(table, {RekeyPhase::reencrypt}, "the verification cannot begin"));
  table.rekey->phase = RekeyPhase::verify;
  return checked(std::move(table));
}

Result<KeyTable> back_to_reencrypt(KeyTable table) {
  TRY(need_phase(table, {RekeyPhase::verify}, "re-encryption cannot be taken up again"));
  table.rekey->phase = RekeyPhase::reencrypt;
  return checked(std::move(table));
}

Result<KeyTable> switch_over(KeyTable table) {
  TRY(need_phase(table, {RekeyPhase::verify}, "the keys cannot be switched"));
  TRY(need_key(table, table.rekey->from))->state = KeyState::retiring;
  TRY(need_key(table, table.rekey->to))->state = KeyState::current;
  table.rekey->phase = RekeyPhase::destroy;
  return checked(std::move(table));
}

Result<KeyTable> record_destroyed(KeyTable table, const KeyId& id, const CustodianId& custodian,
                                  Destruction destruction) {
  KeyRow* row = TRY(need_retiring(table, id));
  if (!contains(row->holders, custodian)) {
    return refuse(
        fmt::format("{} is not among the holders of key {}", custodian.text, id.to_text()));
  }
  std::erase(row->holders, custodian);
  std::erase_if(row->copies, [&](const SealedKey& copy) { return copy.custodian == custodian; });
  if (destruction == Destruction::except) add_once(row->except, custodian);
  return checked(std::move(table));
}

Result<KeyTable> forget(KeyTable table, const KeyId& id) {
  KeyRow* row = TRY(need_retiring(table, id));
  if (!row->holders.empty()) {
    return refuse(fmt::format("{} has not confirmed yet that key {} is destroyed",
                              row->holders.front().text, id.to_text()));
  }
  std::erase_if(table.keys, [&](const KeyRow& key) { return key.id == id; });
  table.rekey.reset();
  return checked(std::move(table));
}

Result<KeyTable> set_paused(KeyTable table, bool paused) {
  TRY(need_rekey(table, "there is nothing to pause or resume"));
  table.rekey->paused = paused;
  return checked(std::move(table));
}

Result<KeyTable> set_rekey_error(KeyTable table, std::string error,
                                 std::optional<UtcTime> next_try) {
  TRY(need_rekey(table, "it cannot have failed"));
  table.rekey->error = std::move(error);
  table.rekey->next_try = next_try;
  return checked(std::move(table));
}

Result<KeyTable> cancel(KeyTable table) {
  TRY(need_phase(table, {RekeyPhase::prepare, RekeyPhase::reencrypt, RekeyPhase::verify},
                 "it cannot be cancelled: the old key is on its way out, go on with the new one"));
  RekeyRow& rekey = *table.rekey;
  if (rekey.cancelled)
    return refuse(fmt::format("the rekey of {} is cancelled already", table.domain.text()));
  const bool prepared = rekey.phase != RekeyPhase::prepare;
  if (!prepared) TRY(need_key(table, rekey.to))->state = KeyState::retiring;
  std::swap(rekey.from, rekey.to);
  rekey.phase = prepared ? RekeyPhase::reencrypt : RekeyPhase::destroy;
  rekey.cancelled = true;
  rekey.error.clear();
  rekey.next_try.reset();
  return checked(std::move(table));
}

Result<KeyTable> set_wanted(KeyTable table, std::vector<WantedCustodian> wanted,
                            std::vector<WantedMac> macs) {
  table.wanted = std::move(wanted);
  if (!check_wanted(table)) {
    return fail(ErrorCode::invalid_argument,
                "the list of custodians is empty or names one of them twice");
  }
  std::size_t used = 0;
  for (KeyRow& row : table.keys) {
    if (!is_live(row)) continue;
    if (used == macs.size()) return refuse("a key that is in use has no MAC of the new list");
    row.wanted_mac = macs[used++];
  }
  if (used != macs.size()) return refuse("there are more MACs than keys that are in use");
  if (!table.rekey || table.rekey->phase != RekeyPhase::prepare) return checked(std::move(table));
  // The new key is on its way to the custodians: those that come to it now are intended too.
  std::erase_if(table.rekey->without,
                [&](const CustodianId& id) { return table.find_wanted(id) == nullptr; });
  return set_without(table, table.rekey->without);
}

Result<KeyTable> intend_copy(KeyTable table, const KeyId& id, const CustodianId& custodian) {
  KeyRow* row = TRY(need_live(table, id));
  if (table.find_wanted(custodian) == nullptr)
    return refuse(fmt::format("{} is not wanted for {}", custodian.text, table.domain.text()));
  if (row->copy_of(custodian) != nullptr)
    return refuse(fmt::format("{} has a copy of key {} already", custodian.text, id.to_text()));
  add_once(row->holders, custodian);
  return checked(std::move(table));
}

Result<KeyTable> add_copy(KeyTable table, const KeyId& id, SealedKey copy) {
  KeyRow* row = TRY(need_live(table, id));
  if (table.find_wanted(copy.custodian) == nullptr)
    return refuse(fmt::format("{} is not wanted for {}", copy.custodian.text, table.domain.text()));
  if (!contains(row->holders, copy.custodian)) {
    return refuse(fmt::format("that {} would seal key {} was not written down first",
                              copy.custodian.text, id.to_text()));
  }
  if (row->copy_of(copy.custodian) != nullptr) {
    return refuse(
        fmt::format("{} has a copy of key {} already", copy.custodian.text, id.to_text()));
  }
  row->copies.push_back(std::move(copy));
  return checked(std::move(table));
}

Result<KeyTable> drop_copy(KeyTable table, const KeyId& id, const CustodianId& custodian) {
  KeyRow* row = TRY(need_live(table, id));
  if (table.find_wanted(custodian) != nullptr) {
    return refuse(fmt::format("{} is still wanted for {}, so its copy stays", custodian.text,
                              table.domain.text()));
  }
  if (row->copy_of(custodian) == nullptr)
    return refuse(fmt::format("{} has no copy of key {}", custodian.text, id.to_text()));
  for (const WantedCustodian& wanted : table.wanted) {
    if (row->copy_of(wanted.id) != nullptr) continue;
    return refuse(fmt::format("the copy of key {} by {} is needed until {} has one", id.to_text(),
                              custodian.text, wanted.id.text));
  }
  std::erase_if(row->copies, [&](const SealedKey& copy) { return copy.custodian == custodian; });
  return checked(std::move(table));
}

Result<KeyTable> release_holder(KeyTable table, const KeyId& id, const CustodianId& custodian) {
  KeyRow* row = TRY(need_live(table, id));
  if (!contains(row->holders, custodian)) {
    return refuse(
        fmt::format("{} is not among the holders of key {}", custodian.text, id.to_text()));
  }
  if (row->copy_of(custodian) != nullptr) {
    return refuse(fmt::format("the copy of key {} by {} has not been dropped yet", id.to_text(),
                              custodian.text));
  }
  std::erase(row->holders, custodian);
  return checked(std::move(table));
}

Result<KeyTable> reserve_encryptions(KeyTable table, const KeyId& id, std::uint64_t reserved) {
  KeyRow* row = TRY(need_live(table, id));
  if (reserved > kEncryptionsMax) {
    return fail(ErrorCode::exhausted,
                fmt::format("key {} has made 2^32 encryptions, no more are safe; start a rekey of "
                            "{}",
                            id.to_text(), table.domain.text()));
  }
  row->encryptions_reserved = std::max(row->encryptions_reserved, reserved);
  return checked(std::move(table));
}

}  // namespace keyward::store
