#include "sed/emulator/drive_core.h"

#include <algorithm>
#include <stop_token>

#include "sed/emulator/ranges.h"

namespace keyward::sed::emulator {
namespace {

bool is_tcg(Protocol protocol) { return protocol != Protocol::ata; }

}  // namespace

DriveCore::DriveCore(EmulatedDriveOptions options, DriveState state, Media media)
    : options_(std::move(options)),
      own_clock_(options_.clock == nullptr ? real_clock() : nullptr),
      clock_(options_.clock == nullptr ? *own_clock_ : *options_.clock),
      state_(std::move(state)),
      media_(std::move(media)),
      ata_(options_, state_),
      tper_(
          {options_, state_, media_, volatile_, faults_, cut_halfway_, dirty_, response_bytes_max_},
          clock_) {}

std::string DriveCore::state_file() const { return options_.backing_file.string() + ".state"; }

Result<void> DriveCore::start() {
  tper_.reset(Reset::power_cycle);
  ata_.reset(Reset::power_cycle);
  return to_result(flush());
}

// Saves what the command has changed; then the tables' writes, which the state file holds until
// they are in the backing file.
BusStatus DriveCore::flush() {
  if (!dirty_) return BusStatus::good;
  dirty_ = false;
  if (!save_state(state_file(), options_, state_)) return BusStatus::media_error;
  if (state_.table_writes.empty()) return BusStatus::good;
  for (const TableWrite& write : state_.table_writes) {
    const Result<void> done = write.data.empty()
                                  ? media_.erase_table(write.table)
                                  : media_.write_table(write.table, write.offset, write.data);
    if (!done) return BusStatus::media_error;
  }
  if (!media_.sync()) return BusStatus::media_error;
  state_.table_writes.clear();
  return BusStatus::good;
}

template <typename Command>
BusStatus DriveCore::command(Command&& run) {
  std::unique_lock lock(mutex_);
  if (faults_.delay.count() != 0) {
    const MonotonicTime due = clock_.monotonic() + faults_.delay;
    lock.unlock();
    clock_.sleep_until(std::stop_token{}, due);
    lock.lock();
  }
  if (!powered_ || faults_.dead) return BusStatus::gone;
  ++commands_;
  tper_.end_idle_sessions();
  const bool cut =
      faults_.cut_at_command != 0 && commands_ - commands_at_faults_ == faults_.cut_at_command;
  if (cut) {
    powered_ = false;
    if (faults_.cut == PowerCut::halfway) return half_command(run);
    if (faults_.cut == PowerCut::before) return BusStatus::gone;
  }
  if (faults_.busy_commands > 0) {
    --faults_.busy_commands;
    return BusStatus::busy;
  }
  BusStatus status = run();
  if (const BusStatus flushed = flush(); flushed != BusStatus::good) status = flushed;
  if (cut) return BusStatus::gone;
  if (faults_.time_outs > 0) {
    --faults_.time_outs;
    return BusStatus::timed_out;
  }
  return status;
}

// Only what says that it stopped in the middle keeps its effect.
template <typename Command>
BusStatus DriveCore::half_command(Command&& run) {
  DriveState before = state_;
  cut_halfway_ = true;
  static_cast<void>(run());
  cut_halfway_ = false;
  if (!tper_.power_lost()) {
    state_ = std::move(before);
    dirty_ = false;
  }
  static_cast<void>(flush());
  return BusStatus::gone;
}

BusStatus DriveCore::security_send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  return command([&] { return tcg_or_ata_send(protocol, specific, payload); });
}

BusStatus DriveCore::tcg_or_ata_send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  if (!is_tcg(protocol)) {
    if (options_.bus != Bus::sata) return BusStatus::unsupported_protocol;
    return after_ata(ata_.sat_send(specific, payload));
  }
  ata_.other_command();
  if (ata_.is_locked()) return BusStatus::aborted;
  if (options_.family == Family::ata_security) return BusStatus::unsupported_protocol;
  return tper_.send(protocol, specific, payload);
}

BusStatus DriveCore::security_receive(Protocol protocol, std::uint16_t specific,
                                      MutableByteView buffer) {
  return command([&] {
    if (!is_tcg(protocol)) {
      if (options_.bus != Bus::sata) return BusStatus::unsupported_protocol;
      ata_.other_command();  // SAT asks the drive to identify itself.
      return ata_.sat_receive(specific, buffer);
    }
    ata_.other_command();
    if (ata_.is_locked()) return BusStatus::aborted;
    if (options_.family == Family::ata_security) return BusStatus::unsupported_protocol;
    return tper_.receive(protocol, specific, buffer);
  });
}

BusStatus DriveCore::ata_security(AtaSecurityCommand ata_command, ByteView words) {
  return command([&] {
    if (options_.bus != Bus::sata) return BusStatus::aborted;
    return after_ata(ata_.command(ata_command, words));
  });
}

BusStatus DriveCore::after_ata(BusStatus status) {
  if (status == BusStatus::good) dirty_ = true;
  const AtaErase erase = ata_.take_erase();
  if (erase == AtaErase::enhanced)
    for (auto& [uid, key] : state_.locking.media_keys) key = new_media_key();
  if (erase == AtaErase::normal && !media_.erase_sectors()) return BusStatus::media_error;
  return status;
}

// Why sectors may not be touched at all, whatever their ranges say.
std::optional<BusStatus> DriveCore::refusal(std::uint64_t first, std::size_t bytes) const {
  if (bytes == 0 || bytes % options_.sector_bytes != 0) return BusStatus::invalid_length;
  const std::uint64_t count = bytes / options_.sector_bytes;
  if (first > options_.sectors || count > options_.sectors - first) return BusStatus::out_of_range;
  if (ata_.is_locked()) return BusStatus::aborted;
  return std::nullopt;
}

BusStatus DriveCore::read(std::uint64_t first, MutableByteView sectors) {
  return command([&] {
    ata_.other_command();
    if (const auto refused = refusal(first, sectors.size())) return *refused;
    return do_read(first, sectors);
  });
}

BusStatus DriveCore::do_read(std::uint64_t first, MutableByteView sectors) {
  if (shadow_is_shown(state_)) {
    read_shadow(first, sectors);
    return BusStatus::good;
  }
  const std::vector<Extent> parts =
      extents(state_, options_, first, sectors.size() / options_.sector_bytes);
  if (std::ranges::any_of(parts, &Extent::read_locked)) return BusStatus::locked;
  for (const Extent& part : parts) {
    const auto at = static_cast<std::size_t>((part.first - first) * options_.sector_bytes);
    const auto size = static_cast<std::size_t>(part.count * options_.sector_bytes);
    if (!media_.read_sectors(part.first, part.key, sectors.subspan(at, size)))
      return BusStatus::media_error;
  }
  return BusStatus::good;
}

// The MBR table from sector 0 on, zeros after it.
void DriveCore::read_shadow(std::uint64_t first, MutableByteView sectors) {
  const std::uint64_t offset = first * options_.sector_bytes;
  std::ranges::fill(sectors, std::byte{0});
  if (offset >= options_.shadow_mbr_bytes) return;
  const std::uint64_t size =
      std::min<std::uint64_t>(sectors.size(), options_.shadow_mbr_bytes - offset);
  static_cast<void>(
      media_.read_table(uid::kMbr, offset, sectors.first(static_cast<std::size_t>(size))));
}

BusStatus DriveCore::write(std::uint64_t first, ByteView sectors) {
  return command([&] {
    ata_.other_command();
    if (const auto refused = refusal(first, sectors.size())) return *refused;
    return do_write(first, sectors);
  });
}

BusStatus DriveCore::do_write(std::uint64_t first, ByteView sectors) {
  if (shadow_is_shown(state_)) return BusStatus::locked;
  const std::size_t sector = options_.sector_bytes;
  const std::vector<Extent> parts = extents(state_, options_, first, sectors.size() / sector);
  if (std::ranges::any_of(parts, &Extent::write_locked)) return BusStatus::locked;
  std::uint64_t left = sectors.size() / sector;
  if (cut_halfway_) left /= 2;
  for (const Extent& part : parts) {
    const std::uint64_t count = std::min(left, part.count);
    const auto at = static_cast<std::size_t>((part.first - first) * sector);
    if (count != 0 &&
        !media_.write_sectors(part.first, part.key,
                              sectors.subspan(at, static_cast<std::size_t>(count * sector))))
      return BusStatus::media_error;
    left -= count;
  }
  return BusStatus::good;
}

Result<Bytes> DriveCore::identify(IdentifyPage page) {
  Result<Bytes> answer = fail(ErrorCode::unavailable, "the drive does not answer");
  const BusStatus status = command([&] {
    // IDENTIFY DEVICE comes between SECURITY ERASE PREPARE and UNIT of no host: it ends the pair.
    ata_.other_command();
    answer = identify_page(page, options_,
                           {.supported = ata_.is_supported(),
                            .enabled = ata_.is_supported() && state_.ata.enabled,
                            .master_id = state_.ata.master_id,
                            .status = ata_.status_word()});
    return BusStatus::good;
  });
  if (status != BusStatus::good) return std::unexpected(to_result(status).error());
  return answer;
}

void DriveCore::power_cycle() {
  const std::lock_guard lock(mutex_);
  powered_ = true;
  tper_.reset(Reset::power_cycle);
  ata_.reset(Reset::power_cycle);
  static_cast<void>(flush());
}

void DriveCore::hardware_reset() {
  const std::lock_guard lock(mutex_);
  if (!powered_) return;
  tper_.reset(Reset::hardware);
  ata_.reset(Reset::hardware);
  static_cast<void>(flush());
}

void DriveCore::set_faults(const EmulatorFaults& faults) {
  const std::lock_guard lock(mutex_);
  faults_ = faults;
  commands_at_faults_ = commands_;
}

std::string DriveCore::psid() const {
  const std::lock_guard lock(mutex_);
  return {reinterpret_cast<const char*>(state_.pins.psid.data()), state_.pins.psid.size()};
}

std::uint64_t DriveCore::commands() const {
  const std::lock_guard lock(mutex_);
  return commands_;
}

}  // namespace keyward::sed::emulator
