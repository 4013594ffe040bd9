// A Script plays one rekey of a small keystore, with what happens beside it, act by act on one
// thread, until it has ended, the process is gone, or the store refuses to go on.
//
//   Script script(rig, kScenarios[1]);
//   script.play([&] { return power.has_cut(); });
//   check_recovery(rig, script.told(), …);
//
// The same scenario makes the same calls in the same order as long as nothing fails: that is what
// makes the Nth of them meaningful. The store's writer thread works beside the script, so each act
// ends by waiting until that thread has nothing left to do. For tests.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "engine/testing/engine_rig.h"

namespace keyward::crash {

inline constexpr int kEntries = 16;

struct Scenario {
  std::string_view name;
  int cancel_at = -1;    // In which round somebody cancels.
  int add_at = -1;       // In which round a third custodian is wanted; a reseal follows the rekey.
  bool traffic = false;  // Puts and deletes between the steps.
};

inline constexpr std::array kScenarios = {
    Scenario{.name = "plain"},
    Scenario{.name = "cancelled", .cancel_at = 3},
    Scenario{.name = "custodian-added", .add_at = 3},
    Scenario{.name = "traffic", .traffic = true},
};

// What the one who asked was answered.
struct Told {
  bool begun = false;         // "The rekey has begun": it must not vanish.
  bool cancel_asked = false;  // It may have taken effect or not.
  bool asked_to_add = false;
  bool finished = false;
};

// Fills the keystore that the script works on. Entries of some sizes, one with overflow pages.
void fill(engine::EngineRig& rig);

class Script final {
 public:
  Script(engine::EngineRig& rig, const Scenario& scenario) : rig_(rig), scenario_(scenario) {}

  // True when the rekey, and the reseal where one belongs to it, has ended.
  bool play(const std::function<bool()>& gone);
  const Told& told() const { return told_; }

 private:
  Result<void> round(int number);
  Result<void> traffic(int number);
  Result<void> begin();
  Result<void> ask_for_changes(int number);
  Result<void> work();
  void settle();

  engine::EngineRig& rig_;
  const Scenario& scenario_;
  Told told_;
  bool asked_ = false;  // The cancel or the third custodian was answered.
};

}  // namespace keyward::crash
