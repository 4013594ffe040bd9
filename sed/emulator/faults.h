// What goes wrong with an emulated drive, and the quirks of drives in the field.
//
//   EmulatorFaults faults;
//   faults.cut_at_command = 7;                      // The seventh from now …
//   faults.cut = PowerCut::halfway;                 // … is half done when the power goes.
//   drive->set_faults(faults);
//   …
//   drive->power_cycle();                           // Power is back; faults stay as they are.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace keyward::sed {

enum class PowerCut : std::uint8_t {
  before,   // The command has no effect.
  halfway,  // A revert has made new media keys and nothing more; a PIN's try is counted and the PIN
            // not looked at; a write has done its first half. All else: as `before`.
  after,    // The effect is whole, and its answer is lost.
};

struct EmulatorFaults {
  bool dead = false;                    // Nothing ever answers.
  std::chrono::milliseconds delay{0};   // Before every command.
  std::uint32_t busy_commands = 0;      // That many commands are answered with busy.
  std::uint32_t time_outs = 0;          // That many take effect and time out.
  std::uint32_t outstanding_polls = 0;  // Every answer takes that many polls more (Length 0,
                                        // OutstandingData 1, MinTransfer 0).
  std::uint32_t dropped_replies = 0;    // That many answers are never there.

  std::uint64_t cut_at_command = 0;  // Counted from set_faults(), from 1. 0: never.
  PowerCut cut = PowerCut::before;

  std::optional<std::uint8_t> next_method_status{};  // What the next method answers, undone.
  bool locked_out = false;                           // Every PIN is out of tries.

  // Quirks, with where they were seen.
  bool lock_out_says_not_authorized = false;  // DTA sedutil issue 124.
  bool silent_after_stack_reset = false;      // PM9D3a: go-tcg-storage PR 158.
  bool no_authenticate_method = false;        // Innodisk 4TE3: go-tcg-storage PR 183.
  bool short_properties = false;              // WD HUH7212: go-tcg-storage issue 116.
  bool shadow_mbr_stays = false;              // MX200, disabling is ignored: DTA issue 125.
};

}  // namespace keyward::sed
