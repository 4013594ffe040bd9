// What must hold after a crash or a fault, and what did not.
//
//   Verdict verdict;
//   check_recovery(rig, base, script.told(), nullptr, verdict);   // starts, finishes, stops the
//   rig verdict.lost;    // one line for each broken promise
//
// For tests.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "engine/testing/engine_rig.h"
#include "tests/crash/scenario.h"

namespace keyward::crash {

// The keystore before the rekey began; every point of the matrix starts from it.
struct Base {
  std::filesystem::path state{};
  engine::EngineRig::Memory memory{};
  std::optional<KeyContext> key{};  // The master key that the rekey replaces.
  std::vector<Bytes> old_blobs{};   // What lies under it.
};

struct Verdict {
  std::vector<std::string> lost;     // An acknowledged entry does not decrypt to its value.
  std::vector<std::string> doubled;  // Not exactly one master key is current.
  std::vector<std::string> orphans;  // The hardware holds what no key table knows.
  std::vector<std::string> other;    // Any other promise.

  bool is_clean() const {
    return lost.empty() && doubled.empty() && orphans.empty() && other.empty();
  }
};

// Of a process that lives on after a fault: what was acknowledged can be read.
void check_live(engine::EngineRig& rig, Verdict& verdict);

// The rig is stopped, its state directory what the crash left. Opens it, checks every promise,
// takes the job to its end, checks again, stops. `hook` may go on watching the files.
void check_recovery(engine::EngineRig& rig, const Base& base, const Told& told,
                    store::VfsHook* hook, Verdict& verdict);

}  // namespace keyward::crash
