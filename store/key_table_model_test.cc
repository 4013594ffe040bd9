// An exhaustive model of a rekey over the real transitions: two keys, two custodians, three
// entries; puts, pause, cancel and leaving out at any time; a crash or a failure before and after
// every call of the hardware. In every state that can be reached, every promise must hold, and
// from every one the rekey must be able to end. Mutants show that the model would notice.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>

#include "store/key_table_test_support.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;

enum class Mutant {
  none,
  no_fence,             // A put goes through under the key table that it read before.
  destroy_by_copies,    // Destroys what the copies name, not what the intents name.
  cancel_late,          // Cancelling is allowed after the switch.
  lost_cursor_no_scan,  // A cancelled rekey keeps its cursor, and nobody scans.
  no_scan,              // The switch trusts that the batches missed nothing.
};

using Held = std::set<std::pair<CustodianId, KeyId>>;

struct Model {
  KeyTable table = idle_table();
  Held hardware = {{kHsm, kOld}, {kTpm, kOld}};
  std::vector<KeyId> entries = {kOld, kOld, kOld};
  std::size_t cursor = 0;
  bool over = false;  // The one rekey has been.

  std::string name() const;
};

std::string Model::name() const {
  std::string text;
  const auto add = [&](const auto& value) {
    text += std::to_string(static_cast<int>(value)) + ",";
  };
  for (const KeyRow& row : table.keys) {
    text += row.id.to_text() + ":";
    add(row.state);
    for (const SealedKey& copy : row.copies) text += "c" + copy.custodian.text;
    for (const CustodianId& holder : row.holders) text += "h" + holder.text;
    for (const CustodianId& except : row.except) text += "e" + except.text;
  }
  if (const auto& rekey = table.rekey) {
    text += rekey->from.to_text() + rekey->to.to_text();
    add(rekey->phase);
    add(rekey->paused);
    add(rekey->cancelled);
    for (const CustodianId& id : rekey->without) text += "w" + id.text;
  }
  for (const auto& [custodian, key] : hardware) text += custodian.text + key.to_text();
  for (const KeyId& key : entries) text += key.to_text();
  add(cursor);
  add(over);
  return text;
}

class Explorer final {
 public:
  explicit Explorer(Mutant mutant) : mutant_(mutant) {}

  // Empty, or the promise that was broken.
  std::string explore() {
    std::deque<Model> queue;
    visit(Model{}, queue);
    while (!queue.empty() && broken_.empty()) {
      const Model state = queue.front();
      queue.pop_front();
      for (const Model& next : successors(state)) visit(next, queue);
    }
    if (broken_.empty()) check_that_all_end();
    return broken_;
  }
  std::size_t states() const { return seen_.size(); }

 private:
  void visit(const Model& state, std::deque<Model>& queue) {
    if (!seen_.emplace(state.name(), state).second) return;
    if (broken_.empty()) broken_ = broken_promise(state);
    queue.push_back(state);
  }

  std::vector<Model> successors(const Model& state) {
    std::vector<Model> next = job(state);
    for (const Model& model : environment(state)) next.push_back(model);
    return next;
  }

  static Model with_table(Model state, const Result<KeyTable>& table) {
    if (table) state.table = *table;
    return state;
  }

  // What a step of the job leads to. The first is the one in which all goes well.
  std::vector<Model> job(const Model& state) {
    if (!state.table.rekey || state.table.rekey->paused) return {};
    switch (state.table.rekey->phase) {
      case RekeyPhase::prepare:
        return prepare(state);
      case RekeyPhase::reencrypt:
        return {reencrypt(state)};
      case RekeyPhase::verify:
        return {verify(state)};
      case RekeyPhase::destroy:
        return destroy(state);
    }
    return {};
  }

  // For each custodian: destroy what an earlier try left, generate. It may end after any call.
  std::vector<Model> prepare(const Model& state) {
    const RekeyRow& rekey = *state.table.rekey;
    std::vector<Model> cut;
    std::vector<SealedKey> copies;
    Model now = state;
    for (const WantedCustodian& wanted : state.table.wanted) {
      if (std::ranges::find(rekey.without, wanted.id) != rekey.without.end()) continue;
      now.hardware.erase({wanted.id, rekey.to});
      cut.push_back(now);
      now.hardware.insert({wanted.id, rekey.to});
      cut.push_back(now);
      copies.push_back(copy_by(wanted.id, 2));
    }
    now.cursor = 0;
    now.table = must(begin_reencrypt(state.table, copies, commitment_of(2), {}));
    cut.insert(cut.begin(), now);
    return cut;
  }

  static Model reencrypt(const Model& state) {
    const RekeyRow& rekey = *state.table.rekey;
    Model now = state;
    if (state.cursor == state.entries.size()) {
      now.table = must(begin_verify(state.table));
      return now;
    }
    KeyId& entry = now.entries[now.cursor++];
    if (entry == rekey.from) entry = rekey.to;
    return now;
  }

  Model verify(const Model& state) {
    const bool scans = mutant_ != Mutant::lost_cursor_no_scan && mutant_ != Mutant::no_scan;
    const auto missed = std::ranges::count(state.entries, state.table.rekey->from);
    Model now = state;
    if (scans && missed != 0) {
      now.table = must(back_to_reencrypt(state.table));
      now.cursor = 0;
      return now;
    }
    now.table = must(switch_over(state.table));
    return now;
  }

  // Each custodian in turn, each with its own durable record; it may end between the two.
  std::vector<Model> destroy(const Model& state) {
    const KeyRow& row = *state.table.find(state.table.rekey->from);
    std::vector<CustodianId> left = row.holders;
    if (mutant_ == Mutant::destroy_by_copies) {
      left.clear();
      for (const SealedKey& copy : row.copies) left.push_back(copy.custodian);
    }
    Model now = state;
    if (left.empty()) {
      KeyTable table = state.table;
      for (KeyRow& key : table.keys)
        if (key.id == row.id) key.holders.clear();
      now.table = must(forget(table, row.id));
      now.over = true;
      return {now};
    }
    now.hardware.erase({left.front(), row.id});
    const Model crashed = now;
    now.table = must(record_destroyed(state.table, row.id, left.front(), Destruction::confirmed));
    return {now, crashed};
  }

  std::vector<Model> environment(const Model& state) {
    std::vector<Model> next = puts(state);
    if (!state.table.rekey) {
      if (!state.over)
        next.push_back(with_table(state, announce(state.table, announcement_of(kNew))));
      return next;
    }
    next.push_back(with_table(state, set_paused(state.table, !state.table.rekey->paused)));
    next.push_back(with_table(state, set_without(state.table, {kTpm})));
    next.push_back(with_table(state, set_without(state.table, {})));
    next.push_back(cancelled(state));
    return next;
  }

  std::vector<Model> puts(const Model& state) const {
    std::vector<Model> next;
    for (const KeyRow& row : state.table.keys) {
      const bool stale = mutant_ == Mutant::no_fence && row.state != KeyState::announced;
      if (row.id != state.table.write_key().id && !stale) continue;
      for (std::size_t i = 0; i < state.entries.size(); ++i) {
        next.push_back(state);
        next.back().entries[i] = row.id;
      }
    }
    return next;
  }

  Model cancelled(const Model& state) const {
    const Result<KeyTable> table = cancel(state.table);
    if (table) {
      Model now = with_table(state, table);
      if (mutant_ != Mutant::lost_cursor_no_scan) now.cursor = 0;
      return now;
    }
    if (mutant_ != Mutant::cancel_late || state.table.rekey->phase != RekeyPhase::destroy ||
        state.table.rekey->cancelled)
      return state;
    Model now = state;
    RekeyRow& rekey = *now.table.rekey;
    for (KeyRow& row : now.table.keys)
      if (row.state == KeyState::retiring) row.state = KeyState::pending;
    std::swap(rekey.from, rekey.to);
    rekey.phase = RekeyPhase::reencrypt;
    rekey.cancelled = true;
    now.cursor = 0;
    // check() would refuse it: the returned key may lack copies. The model looks at the hardware.
    return now;
  }

  std::string broken_promise(const Model& state) const {
    if (mutant_ != Mutant::cancel_late && !state.table.check())
      return "invalid table: " + state.table.check().error().message;
    for (const KeyId& key : state.entries)
      if (!opens(state, key)) return "an entry cannot be opened";
    for (const auto& [custodian, key] : state.hardware) {
      const KeyRow* row = state.table.find(key);
      if (row == nullptr) return "an object was left in the hardware";
      if (std::ranges::find(row->holders, custodian) == row->holders.end())
        return "an object in the hardware that no intent names";
    }
    return {};
  }

  // Every copy that the table has must open: and those of all that are not left out are there.
  static bool opens(const Model& state, const KeyId& key) {
    const KeyRow* row = state.table.find(key);
    if (row == nullptr || row->copies.empty()) return false;
    return std::ranges::all_of(row->copies, [&](const SealedKey& copy) {
      return state.hardware.contains({copy.custodian, key});
    });
  }

  void check_that_all_end() {
    for (const auto& [name, start] : seen_) {
      Model state = start;
      if (state.table.rekey && state.table.rekey->paused)
        state.table = must(set_paused(state.table, false));
      for (int steps = 0; state.table.rekey; ++steps) {
        if (steps > 60) {
          broken_ = "a rekey that never ends";
          return;
        }
        state = job(state).front();
      }
    }
  }

  Mutant mutant_;
  std::map<std::string, Model> seen_;
  std::string broken_;
};

TEST(KeyTableModelTest, EveryPromiseHoldsInEveryStateAndEveryRekeyCanEnd) {
  Explorer explorer(Mutant::none);
  EXPECT_EQ(explorer.explore(), "");
  EXPECT_GT(explorer.states(), 250u);
}

TEST(KeyTableModelTest, APutWithoutTheFenceIsNoticed) {
  EXPECT_EQ(Explorer(Mutant::no_fence).explore(), "an entry cannot be opened");
}

TEST(KeyTableModelTest, DestroyingByTheCopiesAloneIsNoticed) {
  EXPECT_EQ(Explorer(Mutant::destroy_by_copies).explore(), "an object was left in the hardware");
}

TEST(KeyTableModelTest, CancellingAfterTheSwitchIsNoticed) {
  EXPECT_EQ(Explorer(Mutant::cancel_late).explore(), "an entry cannot be opened");
}

TEST(KeyTableModelTest, ACancelledRekeyThatKeepsItsCursorWithoutAScanIsNoticed) {
  EXPECT_EQ(Explorer(Mutant::lost_cursor_no_scan).explore(), "an entry cannot be opened");
}

TEST(KeyTableModelTest, WithTheFenceTheScanFindsNothingButIsASecondGuard) {
  EXPECT_EQ(Explorer(Mutant::no_scan).explore(), "");
}

// ---- Copies that move from custodian to custodian ----

// One key, no rekey; the list of wanted custodians changes at any time, the job follows, and ends
// anywhere.
struct CopyModel {
  KeyTable table = idle_table();
  std::set<CustodianId> hardware = {kHsm, kTpm};
  std::string name() const {
    std::string text;
    for (const SealedKey& copy : table.current().copies) text += "c" + copy.custodian.text;
    for (const CustodianId& holder : table.current().holders) text += "h" + holder.text;
    for (const WantedCustodian& wanted : table.wanted) text += "w" + wanted.id.text;
    for (const CustodianId& id : hardware) text += "o" + id.text;
    return text;
  }
};

// The first is the one in which all goes well; none when there is nothing to do.
std::vector<CopyModel> reseal_step(const CopyModel& state) {
  const KeyRow& row = state.table.current();
  for (const WantedCustodian& wanted : state.table.wanted) {
    if (row.copy_of(wanted.id) != nullptr) continue;
    if (std::ranges::find(row.holders, wanted.id) == row.holders.end())
      return {{must(intend_copy(state.table, kOld, wanted.id)), state.hardware}};
    CopyModel now = state;
    now.hardware.erase(wanted.id);
    const CopyModel cleaned = now;
    now.hardware.insert(wanted.id);
    const CopyModel sealed = now;
    now.table = must(add_copy(state.table, kOld, copy_by(wanted.id, 1)));
    return {now, cleaned, sealed};
  }
  for (const CustodianId& holder : row.holders) {
    if (state.table.find_wanted(holder) != nullptr) continue;
    if (row.copy_of(holder) != nullptr)
      return {{must(drop_copy(state.table, kOld, holder)), state.hardware}};
    CopyModel now = state;
    now.hardware.erase(holder);
    const CopyModel destroyed = now;
    now.table = must(release_holder(state.table, kOld, holder));
    return {now, destroyed};
  }
  return {};
}

std::string broken_promise(const CopyModel& state) {
  if (!state.table.check()) return state.table.check().error().message;
  const KeyRow& row = state.table.current();
  for (const SealedKey& copy : row.copies)
    if (!state.hardware.contains(copy.custodian)) return "a copy that does not open";
  for (const CustodianId& id : state.hardware)
    if (std::ranges::find(row.holders, id) == row.holders.end())
      return "an object in the hardware that no intent names";
  return {};
}

TEST(KeyTableModelTest, CopiesMoveAmongCustodiansWithoutAGapAndLeaveNothingBehind) {
  const std::vector<std::vector<CustodianId>> lists = {
      {kHsm}, {kTpm}, {kHsm, kTpm}, {kHsm, kSafe}, {kSafe}};
  std::map<std::string, CopyModel> seen;
  std::deque<CopyModel> queue{CopyModel{}};
  seen.emplace(queue.front().name(), queue.front());
  while (!queue.empty()) {
    const CopyModel state = queue.front();
    queue.pop_front();
    ASSERT_EQ(broken_promise(state), "") << state.name();
    std::vector<CopyModel> next = reseal_step(state);
    for (const auto& list : lists) {
      next.push_back(
          {must(set_wanted(state.table, wanted_list(list), {commitment_of(5)})), state.hardware});
    }
    for (const CopyModel& model : next)
      if (seen.emplace(model.name(), model).second) queue.push_back(model);
  }
  EXPECT_GT(seen.size(), 100u);
  for (const auto& [name, start] : seen) {
    CopyModel state = start;
    for (int steps = 0; !reseal_step(state).empty(); ++steps) {
      ASSERT_LT(steps, 40) << "never ends from " << name;
      state = reseal_step(state).front();
    }
    EXPECT_EQ(state.hardware.size(), state.table.wanted.size()) << name;
  }
}

}  // namespace
}  // namespace keyward::store
