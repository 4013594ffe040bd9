#include "cli/direct_drives.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>

#include "api/drive_row.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "sed/drive.h"
#include "sed/transport/emulated/emulated_drive_bus.h"
#include "sed/transport/socket_drive_bus.h"
#include "sed/transport/sysfs_drive_bus.h"

namespace keyward::cli {
namespace {

constexpr std::size_t kPinTextMax = 2 * sed::kOwnerPinBytes + 1;

// False: that drive is not meant.
using Act = std::function<Result<bool>(sed::Drive&)>;

struct Bench {
  std::unique_ptr<Clock> clock;
  std::unique_ptr<sed::DriveBus> bus;
  std::unique_ptr<sed::FileTryLedger> ledger;
};

Result<Bench> open_bench(const DirectOptions& options) {
  Bench bench{real_clock(), nullptr, nullptr};
  std::error_code error;
  std::filesystem::create_directories(options.ledger, error);
  if (!error)
    std::filesystem::permissions(options.ledger, std::filesystem::perms::owner_all, error);
  if (error)
    return fail(ErrorCode::io,
                fmt::format("the ledger of tries, {}, cannot be kept: {}. Give another place with "
                            "--ledger; without one no PIN is sent.",
                            options.ledger, error.message()));
  if (options.emulated.empty())
    bench.bus = std::make_unique<sed::SysfsDriveBus>(*bench.clock);
  else if (std::filesystem::is_socket(options.emulated, error))
    bench.bus = std::make_unique<sed::SocketDriveBus>(options.emulated, *bench.clock);
  else
    bench.bus = TRY(sed::EmulatedDriveBus::scan(options.emulated, *bench.clock));
  bench.ledger = std::make_unique<sed::FileTryLedger>(options.ledger);
  return bench;
}

Result<std::unique_ptr<sed::Drive>> attach(Bench& bench, const sed::DriveAddress& address) {
  // A node's id is of no use here: whose marker it is does not matter.
  return sed::attach_drive(TRY(bench.bus->open(address)), *bench.clock,
                           {NodeId{}, bench.ledger.get()});
}

int nibble(std::byte digit) {
  const int c = std::to_integer<int>(digit);
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<SecretBytes> read_owner_pin(int descriptor) {
  SecretBytes text = TRY(read_secret(descriptor, "Owner PIN: ", kPinTextMax));
  if (text.size() == sed::kOwnerPinBytes) return text;
  if (text.size() == kPinTextMax && text.reveal().back() == std::byte{'\n'})
    text.truncate(kPinTextMax - 1);
  SecretBytes pin = TRY(SecretBytes::allocate(sed::kOwnerPinBytes));
  bool good = text.size() == 2 * sed::kOwnerPinBytes;
  for (std::size_t i = 0; good && i < pin.size(); ++i) {
    const int high = nibble(text.reveal()[2 * i]);
    const int low = nibble(text.reveal()[2 * i + 1]);
    good = high >= 0 && low >= 0;
    if (good) pin.reveal_mutable()[i] = static_cast<std::byte>(high << 4 | low);
  }
  if (good) return pin;
  return fail(ErrorCode::invalid_argument,
              "The owner PIN has 32 bytes, or 64 hexadecimal digits. Nothing was sent.");
}

bool is_named(const sed::DriveIdentity& identity, const std::vector<std::string>& names) {
  return names.empty() || std::ranges::any_of(names, [&](const std::string& name) {
           return name == identity.serial || name == identity.wwn;
         });
}

api::DriveResult act_on(Bench& bench, const sed::DriveAddress& address,
                        const std::vector<std::string>& names, const Act& act, bool& is_meant) {
  api::DriveResult result{
      .serial = {}, .wwn = {}, .node = address.node, .milliseconds = 0, .code = {}, .error = {}};
  const MonotonicTime began = bench.clock->monotonic();
  const auto done = [&]() -> Result<void> {
    const std::unique_ptr<sed::Drive> drive = TRY(attach(bench, address));
    result.serial = drive->identity().serial;
    result.wwn = drive->identity().wwn;
    if (!is_named(drive->identity(), names)) return {};
    is_meant = !names.empty();
    is_meant = TRY(act(*drive)) || is_meant;
    return {};
  }();
  result.milliseconds = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(bench.clock->monotonic() - began)
          .count());
  if (!done) {
    // One without a security feature is not what was meant by "all".
    is_meant = is_meant || (names.empty() && done.error().code != ErrorCode::unsupported);
    result.code = error_code_name(done.error().code);
    result.error = done.error().message;
  }
  return result;
}

// All drives at once: one that is slow or dead holds up nobody.
Result<int> act_on_all(Bench& bench, const std::vector<std::string>& names, const Act& act,
                       bool json) {
  const std::vector<sed::DriveAddress> addresses = TRY(bench.bus->list());
  std::vector<api::DriveResult> results(addresses.size());
  std::vector<char> meant(addresses.size(), 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < addresses.size(); ++i)
      threads.emplace_back([&, i] {
        bool is_meant = false;
        results[i] = act_on(bench, addresses[i], names, act, is_meant);
        meant[i] = is_meant ? 1 : 0;
      });
  }
  std::vector<api::DriveResult> shown;
  int code = api::kExitDone;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (meant[i] == 0) continue;
    if (code == api::kExitDone && !results[i].code.empty())
      code = api::exit_code(api::error_code_of(results[i].code).value_or(ErrorCode::protocol));
    shown.push_back(std::move(results[i]));
  }
  if (shown.size() < names.size())
    return fail(ErrorCode::not_found,
                "Not every drive named is there, or one did not answer. See: keyward sed drives "
                "list --direct");
  show_rows(shown, json);
  return code;
}

std::string_view feature_or_none(const sed::DriveState& state) {
  return state.feature.empty() ? std::string_view("none") : std::string_view(state.feature);
}

api::DriveRow describe(Bench& bench, const sed::DriveAddress& address) {
  api::DriveRow row;
  row.node = address.node;
  if (!address.in_use.empty()) row.notes.push_back(address.in_use);
  const auto looked = [&]() -> Result<void> {
    const std::unique_ptr<sed::Drive> drive = TRY(attach(bench, address));
    row.serial = drive->identity().serial;
    row.wwn = drive->identity().wwn;
    row.model = drive->identity().model;
    row.firmware = drive->identity().firmware;
    const sed::DriveState state = TRY(drive->state());
    row.feature = feature_or_none(state);
    // Without the daemon's store nobody knows whose PIN it is.
    row.owner =
        state.owner == sed::Owner::nobody ? api::DriveOwner::nobody : api::DriveOwner::unknown;
    row.access = state.access == sed::Access::unlocked    ? api::DriveAccess::unlocked
                 : state.access == sed::Access::read_only ? api::DriveAccess::read_only
                                                          : api::DriveAccess::locked;
    if (state.tries_left) row.tries_left = *state.tries_left;
    row.notes.insert(row.notes.end(), state.notes.begin(), state.notes.end());
    return {};
  }();
  if (!looked) row.error = looked.error().message;
  return row;
}

}  // namespace

Result<int> list_direct(const DirectOptions& options, bool json) {
  Bench bench = TRY(open_bench(options));
  const std::vector<sed::DriveAddress> addresses = TRY(bench.bus->list());
  std::vector<api::DriveRow> rows(addresses.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < addresses.size(); ++i)
      threads.emplace_back([&, i] { rows[i] = describe(bench, addresses[i]); });
  }
  return show_rows(rows, json);
}

Result<int> run_direct(const DirectOptions& options, std::string_view verb,
                       const std::vector<std::string>& drives, bool json) {
  const SecretBytes pin = TRY(read_owner_pin(options.descriptor));
  Bench bench = TRY(open_bench(options));
  const sed::PinTag tag = TRY(sed::pin_tag(pin));
  const Act act = [&](sed::Drive& drive) -> Result<bool> {
    // Each drive has a PIN of its own: no other drive's try is spent on this one.
    const sed::DriveState state = TRY(drive.state());
    const bool is_its_own = state.pin == tag || state.next_pin == tag;
    if (drives.empty() && !is_its_own) return false;
    if (state.pin && !is_its_own)
      return fail(ErrorCode::conflict,
                  "the marker on this drive says that its PIN is another one; nothing was sent");
    if (verb == "verify") {
      TRY(drive.prove(pin));
      return true;
    }
    TRY(drive.set_access(pin, verb == "lock" ? sed::Access::locked : sed::Access::unlocked));
    // What is on it can be read only now. A partition table that is not read anew is no failure of
    // the unlocking.
    if (verb == "unlock" && drive.blocks() != nullptr)
      static_cast<void>(drive.blocks()->reread_partitions());
    return true;
  };
  return act_on_all(bench, drives, act, json);
}

Result<int> psid_revert_direct(const DirectOptions& options, const std::string& drive,
                               const SecretBytes& psid, bool json) {
  Bench bench = TRY(open_bench(options));
  return act_on_all(
      bench, {drive},
      [&](sed::Drive& found) -> Result<bool> {
        TRY(found.erase(sed::EraseMethod::psid_revert, psid, sed::Destroy::all_data));
        return true;
      },
      json);
}

}  // namespace keyward::cli
