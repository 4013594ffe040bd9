#include "sed/transport/emulated/emulated_drive_bus.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <optional>
#include <system_error>

#include "base/check.h"
#include "base/log.h"
#include "base/text.h"

namespace keyward::sed {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kLookEvery{1};
constexpr std::string_view kController = "emulated";

std::unexpected<Error> gone(const std::string& node) {
  return fail(ErrorCode::unavailable, fmt::format("{}: the drive is gone", printable(node)));
}

// Which file a name means: one that was replaced is another drive.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};

std::optional<FileId> file_id(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

struct FoundFile {
  FileId id;
  std::string controller;
};

using FoundFiles = std::map<std::string, FoundFile>;

Result<void> look_into(const fs::path& directory, const std::string& controller, FoundFiles& out,
                       std::vector<fs::path>* subdirectories) {
  std::error_code failed;
  for (fs::directory_iterator entry(directory, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const fs::path& path = entry->path();
    std::error_code unknown;
    if (subdirectories != nullptr && entry->is_directory(unknown)) subdirectories->push_back(path);
    if (path.extension() != ".drive") continue;
    // Without its state it is not made yet; opening it would make it an ordinary new drive.
    if (!file_id(path.string() + ".state")) continue;
    if (const auto id = file_id(path)) out[path.string()] = {*id, controller};
  }
  if (!failed) return {};
  const bool missing = failed == std::errc::no_such_file_or_directory;
  return fail(missing ? ErrorCode::not_found : ErrorCode::io,
              fmt::format("opendir {}: {}", printable(directory.string()), failed.message()),
              "opendir", static_cast<std::uint64_t>(failed.value()));
}

Result<FoundFiles> files_of(const fs::path& directory) {
  FoundFiles files;
  std::vector<fs::path> controllers;
  TRY(look_into(directory, std::string(kController), files, &controllers));
  for (const fs::path& path : controllers) {
    const auto looked = look_into(path, path.filename().string(), files, nullptr);
    // A subdirectory may be taken away meanwhile.
    if (!looked && looked.error().code != ErrorCode::not_found)
      return std::unexpected(looked.error());
  }
  return files;
}

}  // namespace

// One place for a drive. Slots outlive their removal while a transport holds them.
class EmulatedDriveBus::Slot final {
 public:
  Slot(DriveAddress address, FileId file, Clock& clock)
      : address_(std::move(address)), file_(file), clock_(&clock) {}
  Slot(DriveAddress address, std::shared_ptr<EmulatedDrive> drive)
      : address_(std::move(address)), drive_(std::move(drive)) {}

  const DriveAddress& address() const { return address_; }
  bool is(const FileId& file) const { return file_ == file; }
  bool is_file() const { return file_.has_value(); }

  // False when another transport has it.
  bool lease() { return !leased_.exchange(true); }
  void release() { leased_ = false; }

  Result<std::shared_ptr<EmulatedDrive>> power_on() {
    const std::lock_guard lock(mutex_);
    if (!present_) return gone(address_.node);
    if (drive_ == nullptr)
      drive_ = TRY(EmulatedDrive::open({.backing_file = address_.node, .clock = clock_}));
    return drive_;
  }

  void pull_out() {
    const std::lock_guard lock(mutex_);
    present_ = false;
    // What it had in memory is lost. A file's drive is powered on anew by whoever has it next; it
    // saves nothing more here, where its file may be another's already.
    if (!is_file() && drive_ != nullptr) drive_->power_cycle();
    drive_.reset();
  }

  bool present() const { return present_; }

 private:
  const DriveAddress address_;
  const std::optional<FileId> file_;
  Clock* clock_ = nullptr;
  std::atomic<bool> leased_ = false;
  std::atomic<bool> present_ = true;
  std::mutex mutex_;
  std::shared_ptr<EmulatedDrive> drive_;
};

namespace {

// The one connection that a drive has on this bus.
class LeasedTransport final : public SecurityTransport, public BlockAccess {
 public:
  LeasedTransport(std::shared_ptr<EmulatedDriveBus::Slot> slot,
                  std::shared_ptr<EmulatedDrive> drive)
      : slot_(std::move(slot)), drive_(std::move(drive)), target_(drive_->connect()) {}
  ~LeasedTransport() override {
    // The next one finds the drive's file closed if this was a removed drive's last holder.
    target_.reset();
    drive_.reset();
    slot_->release();
  }

  const DriveIdentity& identity() const override { return target_->identity(); }
  Result<Bytes> identify(IdentifyPage page) override {
    return while_present([&] { return target_->identify(page); });
  }
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override {
    return while_present([&] { return target_->send(protocol, specific, payload); });
  }
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override {
    return while_present([&] { return target_->receive(protocol, specific, buffer); });
  }
  BlockAccess* blocks() override { return this; }

  std::uint32_t sector_bytes() const override { return drive_->options().sector_bytes; }
  std::uint64_t sector_count() const override { return drive_->options().sectors; }
  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override {
    return while_present([&] { return target_->blocks()->read(first_sector, sectors); });
  }
  Result<void> write(std::uint64_t first_sector, ByteView sectors) override {
    return while_present([&] { return target_->blocks()->write(first_sector, sectors); });
  }
  Result<void> reread_partitions() override {
    return while_present([&] { return target_->blocks()->reread_partitions(); });
  }

 private:
  // A drive that is pulled out during a command has not answered it.
  template <typename Command>
  auto while_present(Command&& command) -> decltype(command()) {
    if (!slot_->present()) return gone(slot_->address().node);
    auto answer = command();
    if (!slot_->present()) return gone(slot_->address().node);
    return answer;
  }

  std::shared_ptr<EmulatedDriveBus::Slot> slot_;
  std::shared_ptr<EmulatedDrive> drive_;
  std::unique_ptr<SecurityTransport> target_;
};

}  // namespace

Result<std::unique_ptr<EmulatedDriveBus>> EmulatedDriveBus::scan(fs::path directory, Clock& clock) {
  auto bus = std::make_unique<EmulatedDriveBus>(clock);
  bus->directory_ = std::move(directory);
  TRY(bus->look_again());
  return bus;
}

EmulatedDriveBus::~EmulatedDriveBus() = default;

Result<std::vector<DriveAddress>> EmulatedDriveBus::list() {
  TRY(look_again());
  const std::lock_guard lock(mutex_);
  std::vector<DriveAddress> all;
  for (const auto& [node, slot] : slots_) all.push_back(slot->address());
  return all;
}

Result<std::unique_ptr<SecurityTransport>> EmulatedDriveBus::open(const DriveAddress& address) {
  const std::shared_ptr<Slot> slot = find(address.node);
  if (slot == nullptr) return gone(address.node);
  if (!slot->lease())
    return fail(ErrorCode::busy,
                fmt::format("{}: somebody else speaks to the drive", printable(address.node)));
  auto drive = slot->power_on();
  if (!drive) {
    slot->release();
    return std::unexpected(with_context(std::move(drive).error(), printable(address.node)));
  }
  return std::make_unique<LeasedTransport>(slot, *std::move(drive));
}

void EmulatedDriveBus::add(const DriveAddress& address, std::shared_ptr<EmulatedDrive> drive) {
  CHECK(drive != nullptr, "no drive to plug in");
  const std::lock_guard lock(mutex_);
  CHECK(!slots_.contains(address.node), "a drive is plugged in there");
  insert(std::make_shared<Slot>(address, std::move(drive)));
}

bool EmulatedDriveBus::remove(const std::string& node) {
  const std::lock_guard lock(mutex_);
  const auto slot = slots_.find(node);
  if (slot == slots_.end()) return false;
  erase(slot);
  return true;
}

Result<std::shared_ptr<EmulatedDrive>> EmulatedDriveBus::drive(const std::string& node) {
  const std::shared_ptr<Slot> slot = find(node);
  return slot == nullptr ? gone(node) : slot->power_on();
}

std::shared_ptr<EmulatedDriveBus::Slot> EmulatedDriveBus::find(const std::string& node) {
  const std::lock_guard lock(mutex_);
  const auto slot = slots_.find(node);
  return slot == slots_.end() ? nullptr : slot->second;
}

void EmulatedDriveBus::insert(std::shared_ptr<Slot> slot) {
  if (is_watched_) changes_.emplace_back(slot->address(), DriveChange::added);
  slots_.emplace(slot->address().node, std::move(slot));
  wake_.notify_all();
}

EmulatedDriveBus::Slots::iterator EmulatedDriveBus::erase(Slots::iterator slot) {
  slot->second->pull_out();
  if (is_watched_) changes_.emplace_back(slot->second->address(), DriveChange::removed);
  wake_.notify_all();
  return slots_.erase(slot);
}

Result<void> EmulatedDriveBus::look_again() {
  if (directory_.empty()) return {};
  const std::lock_guard scanning(scan_mutex_);
  FoundFiles files = TRY(files_of(directory_));
  const std::lock_guard lock(mutex_);
  for (auto slot = slots_.begin(); slot != slots_.end();) {
    const auto file = files.find(slot->first);
    const bool stays = file != files.end() && slot->second->is(file->second.id);
    if (stays) files.erase(file);
    slot = stays || !slot->second->is_file() ? std::next(slot) : erase(slot);
  }
  for (const auto& [path, file] : files)
    insert(std::make_shared<Slot>(DriveAddress{path, file.controller, ""}, file.id, clock_));
  return {};
}

void EmulatedDriveBus::watch(Watcher watcher) {
  const std::lock_guard lock(mutex_);
  CHECK(!is_watched_, "a bus has one watcher");
  is_watched_ = true;
  watcher_ = std::jthread(
      [this, watcher = std::move(watcher)](std::stop_token stop) { run(stop, watcher); });
}

void EmulatedDriveBus::run(std::stop_token stop, const Watcher& watcher) {
  MonotonicTime look_due = clock_.monotonic() + kLookEvery;
  if (directory_.empty()) look_due = MonotonicTime::max();
  bool is_failing = false;
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (!changes_.empty()) {
      const Change change = std::move(changes_.front());
      changes_.pop_front();
      lock.unlock();
      watcher(change.first, change.second);
      lock.lock();
    } else if (clock_.monotonic() < look_due) {
      clock_.wait_until(lock, wake_, stop, look_due);
    } else {
      lock.unlock();
      const Result<void> looked = look_again();
      if (!looked && !std::exchange(is_failing, true))
        log(LogLevel::warning, "emulated drives: {}", looked.error().message);
      if (looked) is_failing = false;
      look_due = clock_.monotonic() + kLookEvery;
      lock.lock();
    }
  }
}

}  // namespace keyward::sed
