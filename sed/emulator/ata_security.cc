#include "sed/emulator/ata_security.h"

#include <algorithm>
#include <utility>

#include "base/secret_bytes.h"
#include "sed/emulator/com_id.h"
#include "sed/emulator/packet.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::size_t kDataBytes = 512;
constexpr std::size_t kPasswordBytes = 32;
constexpr std::size_t kSatListBytes = 36;
constexpr int kAttempts = 5;
// Words 89 and 90, in units of two minutes.
constexpr unsigned kEraseTime = 1;
// Words are little-endian, so bit 8 of word 0 is bit 0 of byte 1.
constexpr std::byte kMasterBit{0x01};
constexpr std::byte kEnhancedBit{0x02};
constexpr std::byte kMaximumBit{0x01};

bool has(ByteView words, std::size_t byte, std::byte bit) {
  return (words[byte] & bit) != std::byte{0};
}

ByteView password_of(ByteView words) { return words.subspan(2, kPasswordBytes); }

}  // namespace

AtaSecurity::AtaSecurity(const EmulatedDriveOptions& options, DriveState& state)
    : options_(options), state_(state) {
  locked_ = state_.ata.enabled;
}

bool AtaSecurity::is_supported() const {
  if (options_.bus != Bus::sata || options_.family == Family::enterprise) return false;
  return options_.family == Family::ata_security || !state_.locking_is_active();
}

void AtaSecurity::reset(Reset reset) {
  attempts_left_ = kAttempts;
  erase_prepared_ = false;
  if (reset != Reset::power_cycle) return;  // Software settings are preserved (SATA 3.x, 13.5).
  locked_ = state_.ata.enabled;
  frozen_ = false;
}

AtaErase AtaSecurity::take_erase() { return std::exchange(erase_, AtaErase::none); }

bool AtaSecurity::names_master(ByteView words) const { return has(words, 0, kMasterBit); }

bool AtaSecurity::matches(ByteView words) const {
  if (!names_master(words))
    return state_.ata.enabled && constant_time_equal(state_.ata.user_password, password_of(words));
  const Bytes factory(kPasswordBytes);
  const Bytes& master = state_.ata.master_password;
  return constant_time_equal(master.empty() ? factory : master, password_of(words));
}

BusStatus AtaSecurity::command(AtaSecurityCommand command, ByteView words) {
  const bool prepared = std::exchange(erase_prepared_, false);
  if (!is_supported()) return BusStatus::aborted;
  const bool has_data =
      command != AtaSecurityCommand::erase_prepare && command != AtaSecurityCommand::freeze_lock;
  if (has_data && words.size() != kDataBytes) return BusStatus::invalid_length;
  if (frozen_ && command != AtaSecurityCommand::freeze_lock) return BusStatus::aborted;
  switch (command) {
    case AtaSecurityCommand::set_password:
      return locked_ ? BusStatus::aborted : set_password(words);
    case AtaSecurityCommand::unlock:
      return unlock(words);
    case AtaSecurityCommand::erase_prepare:
      erase_prepared_ = true;
      return BusStatus::good;
    case AtaSecurityCommand::erase_unit:
      return prepared ? erase_unit(words) : BusStatus::aborted;
    case AtaSecurityCommand::freeze_lock:
      if (locked_) return BusStatus::aborted;
      frozen_ = true;
      return BusStatus::good;
    case AtaSecurityCommand::disable_password:
      return locked_ ? BusStatus::aborted : disable_password(words);
  }
  return BusStatus::aborted;
}

BusStatus AtaSecurity::set_password(ByteView words) {
  AtaSecurityState& ata = state_.ata;
  const ByteView password = password_of(words);
  if (names_master(words)) {
    ata.master_password.assign(password.begin(), password.end());
    const unsigned low = std::to_integer<unsigned>(words[34]);
    const unsigned id = low | std::to_integer<unsigned>(words[35]) << 8;
    if (id != 0 && id != 0xFFFF) ata.master_id = static_cast<std::uint16_t>(id);
    return BusStatus::good;
  }
  ata.user_password.assign(password.begin(), password.end());
  ata.maximum = has(words, 1, kMaximumBit);
  ata.enabled = true;
  return BusStatus::good;
}

BusStatus AtaSecurity::unlock(ByteView words) {
  if (!state_.ata.enabled) return BusStatus::good;
  if (attempts_left_ == 0) return BusStatus::aborted;
  const bool allowed = !(names_master(words) && state_.ata.maximum);
  if (allowed && matches(words)) {
    locked_ = false;
    return BusStatus::good;
  }
  if (locked_) --attempts_left_;
  return BusStatus::aborted;
}

BusStatus AtaSecurity::erase_unit(ByteView words) {
  if (attempts_left_ == 0) return BusStatus::aborted;
  if (!matches(words)) {
    if (locked_) --attempts_left_;
    return BusStatus::aborted;
  }
  erase_ = has(words, 0, kEnhancedBit) ? AtaErase::enhanced : AtaErase::normal;
  state_.ata.enabled = false;
  state_.ata.maximum = false;
  state_.ata.user_password.clear();
  locked_ = false;
  return BusStatus::good;
}

BusStatus AtaSecurity::disable_password(ByteView words) {
  if (!state_.ata.enabled) return BusStatus::good;
  if ((names_master(words) && state_.ata.maximum) || !matches(words)) return BusStatus::aborted;
  state_.ata.enabled = false;
  state_.ata.maximum = false;
  state_.ata.user_password.clear();
  return BusStatus::good;
}

std::uint16_t AtaSecurity::status_word() const {
  if (!is_supported()) return 0;
  const bool enabled = state_.ata.enabled;
  unsigned word = 1u | 1u << 5;  // Supported, and enhanced erase too.
  if (enabled) word |= 1u << 1;
  if (locked_) word |= 1u << 2;
  if (frozen_) word |= 1u << 3;
  if (attempts_left_ == 0) word |= 1u << 4;
  if (enabled && state_.ata.maximum) word |= 1u << 8;
  return static_cast<std::uint16_t>(word);
}

// SAT-3, ATA Security: big-endian lists of 36 bytes, which become the ATA commands' data.
BusStatus AtaSecurity::sat_send(std::uint16_t specific, ByteView parameters) {
  if (specific < 1 || specific > 6) return BusStatus::invalid_com_id;
  const auto number = static_cast<AtaSecurityCommand>(0xF0 + specific);
  const bool has_data =
      number != AtaSecurityCommand::erase_prepare && number != AtaSecurityCommand::freeze_lock;
  Bytes words(kDataBytes);
  if (has_data) {
    if (parameters.size() < kSatListBytes) return BusStatus::invalid_length;
    if (has(parameters, 1, std::byte{1})) words[0] |= kMasterBit;
    const bool flag = has(parameters, 0, std::byte{1});
    if (flag && number == AtaSecurityCommand::set_password) words[1] |= kMaximumBit;
    if (flag && number == AtaSecurityCommand::erase_unit) words[0] |= kEnhancedBit;
    std::ranges::copy(parameters.subspan(2, kPasswordBytes), words.begin() + 2);
    words[34] = parameters[35];
    words[35] = parameters[34];
  }
  return command(number, words);
}

BusStatus AtaSecurity::sat_receive(std::uint16_t specific, MutableByteView buffer) const {
  if (specific != 0) return BusStatus::invalid_com_id;
  const std::uint16_t word = status_word();
  Bytes answer;
  append_field(0, 1, answer);
  append_field(0x0E, 1, answer);
  append_field(kEraseTime, 2, answer);
  append_field(kEraseTime, 2, answer);
  append_field(state_.ata.master_id, 2, answer);
  append_field(word >> 8 & 1, 1, answer);
  append_field(word & 0x3F, 1, answer);
  answer.resize(16);
  fill_padded(answer, buffer);
  return BusStatus::good;
}

}  // namespace keyward::sed::emulator
