#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "store/key_table.h"
#include "store/key_table_detail.h"

namespace keyward::store {
namespace {

using namespace detail;

template <typename T, typename Projection = std::identity>
bool has_duplicates(const std::vector<T>& list, Projection projection = {}) {
  for (auto i = list.begin(); i != list.end(); ++i)
    for (auto k = std::next(i); k != list.end(); ++k)
      if (projection(*i) == projection(*k)) return true;
  return false;
}

std::unexpected<Error> broken(const KeyTable& table, std::string_view what) {
  return fail(ErrorCode::corrupt, fmt::format("key table of {}: {}; restore it from a backup",
                                              table.domain.text(), what));
}

Result<void> check_copies(const KeyTable& table, const KeyRow& row) {
  const std::string id = row.id.to_text();
  if (has_duplicates(row.copies, [](const SealedKey& copy) { return copy.custodian; }))
    return broken(table, fmt::format("key {} has two copies by one custodian", id));
  if (has_duplicates(row.holders))
    return broken(table, fmt::format("key {} names a holder twice", id));
  for (const SealedKey& copy : row.copies) {
    if (!contains(row.holders, copy.custodian)) {
      return broken(table, fmt::format("key {} has a copy by {}, which is not among its holders",
                                       id, printable(copy.custodian.text)));
    }
  }
  return {};
}

Result<void> check_row(const KeyTable& table, const KeyRow& row) {
  TRY(check_copies(table, row));
  const std::string id = row.id.to_text();
  if (row.id == KeyId{}) return broken(table, "a key has no id");
  if (row.state == KeyState::announced && !row.copies.empty())
    return broken(table, fmt::format("key {} is announced only, yet has a copy", id));
  if (row.state == KeyState::announced && !all_zero(row.commitment))
    return broken(table, fmt::format("key {} is announced only, yet has a commitment", id));
  if (row.state != KeyState::retiring && !row.except.empty())
    return broken(table, fmt::format("key {} has custodians given up, yet is not retiring", id));
  if (!is_live(row)) return {};
  if (row.copies.empty()) return broken(table, fmt::format("key {} has no copy", id));
  if (all_zero(row.commitment)) return broken(table, fmt::format("key {} has no commitment", id));
  return {};
}

struct PhaseStates {
  KeyState from;
  KeyState to;
};

// The states that the rekey's two keys must have.
PhaseStates states_in(const RekeyRow& rekey) {
  switch (rekey.phase) {
    case RekeyPhase::prepare:
      return {KeyState::current, KeyState::announced};
    case RekeyPhase::reencrypt:
    case RekeyPhase::verify:
      if (rekey.cancelled) return {KeyState::pending, KeyState::current};
      return {KeyState::current, KeyState::pending};
    case RekeyPhase::destroy:
      break;
  }
  return {KeyState::retiring, KeyState::current};
}

Result<void> check_rekey(const KeyTable& table, const RekeyRow& rekey) {
  const KeyRow* from = table.find(rekey.from);
  const KeyRow* to = table.find(rekey.to);
  if (from == nullptr || to == nullptr || from == to)
    return broken(table, "the rekey names a key that is not in the table");
  if (table.keys.size() != 2) return broken(table, "a key belongs to no rekey");
  const PhaseStates states = states_in(rekey);
  if (rekey.phase == RekeyPhase::prepare && rekey.cancelled)
    return broken(table, "a cancelled rekey is in phase prepare");
  if (from->state != states.from || to->state != states.to) {
    return broken(table, fmt::format("in phase {} the old key is {} and the new key is {}",
                                     phase_name(rekey.phase), state_name(from->state),
                                     state_name(to->state)));
  }
  return {};
}

}  // namespace

namespace detail {

std::string_view state_name(KeyState state) {
  switch (state) {
    case KeyState::announced:
      return "announced";
    case KeyState::pending:
      return "pending";
    case KeyState::current:
      return "current";
    case KeyState::retiring:
      return "retiring";
  }
  return "unknown";
}

std::string_view phase_name(RekeyPhase phase) {
  switch (phase) {
    case RekeyPhase::prepare:
      return "prepare";
    case RekeyPhase::reencrypt:
      return "reencrypt";
    case RekeyPhase::verify:
      return "verify";
    case RekeyPhase::destroy:
      return "destroy";
  }
  return "unknown";
}

Result<void> check_wanted(const KeyTable& table) {
  if (table.wanted.empty()) return broken(table, "no custodian is wanted");
  if (has_duplicates(table.wanted, [](const WantedCustodian& wanted) { return wanted.id; }))
    return broken(table, "a custodian is wanted twice");
  return {};
}

}  // namespace detail

const SealedKey* KeyRow::copy_of(const CustodianId& custodian) const {
  const auto copy = std::ranges::find(copies, custodian, &SealedKey::custodian);
  return copy == copies.end() ? nullptr : &*copy;
}

const KeyRow* KeyTable::find(const KeyId& id) const {
  const auto row = std::ranges::find(keys, id, &KeyRow::id);
  return row == keys.end() ? nullptr : &*row;
}

const KeyRow& KeyTable::current() const {
  const auto row = std::ranges::find(keys, KeyState::current, &KeyRow::state);
  CHECK(row != keys.end(), "a key table without a current key was not checked");
  return *row;
}

const KeyRow& KeyTable::write_key() const {
  const bool moving =
      rekey && (rekey->phase == RekeyPhase::reencrypt || rekey->phase == RekeyPhase::verify);
  if (!moving) return current();
  const KeyRow* row = find(rekey->to);
  CHECK(row != nullptr, "a key table whose rekey names no key was not checked");
  return *row;
}

const WantedCustodian* KeyTable::find_wanted(const CustodianId& id) const {
  const auto found = std::ranges::find(wanted, id, &WantedCustodian::id);
  return found == wanted.end() ? nullptr : &*found;
}

Result<void> KeyTable::check() const {
  if (generation == 0) return broken(*this, "it has no generation");
  TRY(check_wanted(*this));
  if (has_duplicates(keys, [](const KeyRow& row) { return row.id; }))
    return broken(*this, "a key is there twice");
  const auto current_keys = std::ranges::count(keys, KeyState::current, &KeyRow::state);
  if (current_keys != 1)
    return broken(*this, fmt::format("{} keys are current, there must be one", current_keys));
  for (const KeyRow& row : keys) TRY(check_row(*this, row));
  if (rekey) return check_rekey(*this, *rekey);
  if (keys.size() != 1) return broken(*this, "a key belongs to no rekey");
  return {};
}

}  // namespace keyward::store
