// One open session with an SP, and a method call in it. Plain data.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "sed/emulator/drive_state.h"
#include "sed/emulator/faults.h"
#include "sed/emulator/media.h"

namespace keyward::sed::emulator {

struct Session {
  std::uint32_t tper_number = 0;
  std::uint32_t host_number = 0;
  std::uint16_t com_id = 0;
  Uid sp = 0;
  bool write = false;
  Authorities authenticated{};
  std::optional<DriveState> transaction{};  // What commits if it does.
  std::chrono::milliseconds timeout{0};     // 0: none.
  MonotonicTime last_used{};
  // What its host took when it was started; a Properties after that is for others (Core 5.2.2.3).
  std::uint32_t response_bytes_max = 0;
};

struct Call {
  Uid invoking = 0;
  Uid method = 0;
  std::vector<Value> parameters{};
};

struct MethodResult {
  Status status = Status::success;
  std::vector<Value> results{};
  bool ends_session = false;  // All of them: an SP was reverted.
  bool power_lost = false;    // The power was cut in the middle of it.
};

// What does not survive a loss of power.
struct VolatileState {
  bool sid_blocked = false;
  bool unblocked_by_hardware_reset = false;
};

// The drive around a method. Owned by the TPer.
struct Surroundings {
  const EmulatedDriveOptions& options;
  DriveState& state;  // Committed.
  Media& media;
  VolatileState& power;
  EmulatorFaults& faults;
  bool& cut_halfway;                  // The power goes in the middle of this command.
  bool& dirty;                        // `state` was changed and must be saved.
  std::uint32_t& response_bytes_max;  // Of the tokens of one answer.
};

}  // namespace keyward::sed::emulator
