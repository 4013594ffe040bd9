#include "sed/emulator/emulated_drive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <system_error>

#include "base/file.h"
#include "base/text.h"
#include "sed/emulator/drive_core.h"

namespace keyward::sed {
namespace {

using emulator::DriveCore;

constexpr std::size_t kWwnBytes = 8;
constexpr std::size_t kNguidBytes = 16;

std::unexpected<Error> bad_option(std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("emulated drive: {}", what));
}

Result<void> check(const EmulatedDriveOptions& options) {
  if (options.backing_file.empty()) return bad_option("it needs a backing file");
  if (options.sector_bytes != 512 && options.sector_bytes != 4096)
    return bad_option("sectors have 512 or 4096 bytes");
  if (options.sectors == 0 || options.sectors > std::uint64_t{1} << 40)
    return bad_option("it has 1 to 2^40 sectors");
  if (options.ranges > 255) return bad_option("it has up to 255 ranges");
  if (options.admins == 0 || options.admins > 16 || options.users > 255)
    return bad_option("it has 1 to 16 admins and up to 255 users");
  if (options.data_store_bytes == 0 || options.shadow_mbr_bytes == 0)
    return bad_option("its byte tables have at least one byte");
  if (options.max_com_packet < 1024 || options.max_com_packet > 16u << 20)
    return bad_option("ComPackets have 1 KiB to 16 MiB");
  if (options.max_sessions == 0 || options.max_authentications == 0)
    return bad_option("it has at least one session and one authentication");
  const Result<Bytes> wwn = from_hex(options.identity.wwn);
  if (!wwn || (!wwn->empty() && wwn->size() != kWwnBytes && wwn->size() != kNguidBytes))
    return bad_option("a WWN has 16 or 32 hexadecimal digits");
  return {};
}

// A drive is in one machine: two processes with one state would each undo what the other did.
Result<Descriptor> lock_backing_file(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.is_open() && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return file;
  const int code = errno;
  if (file.is_open() && code == EWOULDBLOCK)
    return fail(
        ErrorCode::busy,
        fmt::format("flock {}: another process has this emulated drive", printable(path.string())),
        "flock", static_cast<std::uint64_t>(code));
  return fail(
      ErrorCode::io,
      fmt::format("open {}: {}", printable(path.string()), std::generic_category().message(code)),
      "open", static_cast<std::uint64_t>(code));
}

class EmulatedTransport final : public SecurityTransport, public BlockAccess {
 public:
  explicit EmulatedTransport(DriveCore& core) : core_(core) {}

  const DriveIdentity& identity() const override { return core_.options().identity; }
  Result<Bytes> identify(IdentifyPage page) override { return core_.identify(page); }

  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override {
    return to_result(core_.security_send(protocol, specific, payload));
  }

  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override {
    const Result<void> received = to_result(core_.security_receive(protocol, specific, buffer));
    if (!received) return std::unexpected(received.error());
    return buffer.size();
  }

  BlockAccess* blocks() override { return this; }

  std::uint32_t sector_bytes() const override { return core_.options().sector_bytes; }
  std::uint64_t sector_count() const override { return core_.options().sectors; }

  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override {
    return to_result(core_.read(first_sector, sectors));
  }

  Result<void> write(std::uint64_t first_sector, ByteView sectors) override {
    return to_result(core_.write(first_sector, sectors));
  }

  Result<void> reread_partitions() override { return {}; }  // No kernel has a copy of them.

 private:
  DriveCore& core_;
};

}  // namespace

class EmulatedDrive::Impl {
 public:
  Impl(Descriptor backing_lock, EmulatedDriveOptions options, emulator::DriveState state,
       emulator::Media media)
      : lock(std::move(backing_lock)),
        core(std::move(options), std::move(state), std::move(media)) {}

  Descriptor lock;
  DriveCore core;
};

EmulatedDrive::EmulatedDrive(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EmulatedDrive::~EmulatedDrive() = default;

Result<std::unique_ptr<EmulatedDrive>> EmulatedDrive::open(const EmulatedDriveOptions& asked) {
  TRY(check(asked));
  EmulatedDriveOptions options = asked;
  if (options.family == Family::pyrite2) options.ranges = 0;
  Descriptor lock = TRY(lock_backing_file(options.backing_file));
  emulator::DriveState state;
  const Result<void> loaded =
      emulator::load_state(options.backing_file.string() + ".state", options, state);
  if (!loaded && loaded.error().code != ErrorCode::not_found)
    return std::unexpected(loaded.error());
  if (!loaded) state = emulator::new_state(options);
  emulator::Media media = TRY(emulator::Media::open(options));
  auto impl = std::make_unique<Impl>(std::move(lock), std::move(options), std::move(state),
                                     std::move(media));
  TRY(impl->core.start());
  return std::unique_ptr<EmulatedDrive>(new EmulatedDrive(std::move(impl)));
}

Result<DriveLabel> EmulatedDrive::label(const std::filesystem::path& backing_file) {
  EmulatedDriveOptions options{.backing_file = backing_file};
  emulator::DriveState state;
  TRY(emulator::load_state(backing_file.string() + ".state", options, state));
  const Bytes& psid = state.pins.psid;
  return DriveLabel{std::move(options),
                    std::string(reinterpret_cast<const char*>(psid.data()), psid.size())};
}

std::unique_ptr<SecurityTransport> EmulatedDrive::connect() {
  return std::make_unique<EmulatedTransport>(impl_->core);
}

BusStatus EmulatedDrive::security_send(std::uint8_t protocol, std::uint16_t specific,
                                       ByteView payload) {
  return impl_->core.security_send(static_cast<Protocol>(protocol), specific, payload);
}

BusStatus EmulatedDrive::security_receive(std::uint8_t protocol, std::uint16_t specific,
                                          MutableByteView buffer) {
  return impl_->core.security_receive(static_cast<Protocol>(protocol), specific, buffer);
}

BusStatus EmulatedDrive::ata_security(AtaSecurityCommand command, ByteView words) {
  return impl_->core.ata_security(command, words);
}

BusStatus EmulatedDrive::read(std::uint64_t first_sector, MutableByteView sectors) {
  return impl_->core.read(first_sector, sectors);
}

BusStatus EmulatedDrive::write(std::uint64_t first_sector, ByteView sectors) {
  return impl_->core.write(first_sector, sectors);
}

Result<Bytes> EmulatedDrive::identify(IdentifyPage page) { return impl_->core.identify(page); }

void EmulatedDrive::power_cycle() { impl_->core.power_cycle(); }
void EmulatedDrive::hardware_reset() { impl_->core.hardware_reset(); }
void EmulatedDrive::set_faults(const EmulatorFaults& faults) { impl_->core.set_faults(faults); }
const EmulatedDriveOptions& EmulatedDrive::options() const { return impl_->core.options(); }
std::string EmulatedDrive::psid() const { return impl_->core.psid(); }
std::uint64_t EmulatedDrive::commands() const { return impl_->core.commands(); }

}  // namespace keyward::sed
