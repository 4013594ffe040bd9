// EmulatedDriveBus is a machine whose drives are emulated: the backing files of a directory, or
// drives that a test hands over.
//
//   auto bus = TRY(EmulatedDriveBus::scan("/var/lib/drives", clock));   // [drives] emulated = …
//   for (const DriveAddress& address : TRY(bus->list())) …
//
//   EmulatedDriveBus bus(clock);                                        // A test's machine.
//   bus.add({.node = "/dev/sda", .controller = "hba0"}, drive);
//   bus.remove("/dev/sda");                                             // Its transport:
//   `unavailable`.
//
// A directory's drives are its files "*.drive", as `keyward emulator create` makes them, and those
// of its subdirectories, which stand for controllers. The directory is looked at once a second and
// by every list(). A drive is powered on when it is opened first and stays so until its file is
// taken away or the bus is destroyed: what was unlocked stays unlocked between two opens.
//
// Safe from any thread. Transports may outlive the bus; their drives stay powered on with them.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/transport/drive_bus.h"

namespace keyward::sed {

class EmulatedDriveBus final : public DriveBus {
 public:
  static Result<std::unique_ptr<EmulatedDriveBus>> scan(std::filesystem::path directory,
                                                        Clock& clock);
  explicit EmulatedDriveBus(Clock& clock) : clock_(clock) {}
  ~EmulatedDriveBus() override;

  Result<std::vector<DriveAddress>> list() override;
  // `busy` while there is another transport to the drive, or another process has it powered on.
  Result<std::unique_ptr<SecurityTransport>> open(const DriveAddress& address) override;
  void watch(Watcher watcher) override;

  // Plugs a drive in at `address.node`, where none may be.
  void add(const DriveAddress& address, std::shared_ptr<EmulatedDrive> drive);
  // Pulls it out: it has lost its power when this returns, and a command under way was its last.
  // False when there is none.
  bool remove(const std::string& node);
  // What stands behind a node, powered on if it was not yet: to cut its power or set its faults.
  Result<std::shared_ptr<EmulatedDrive>> drive(const std::string& node);

  class Slot;

 private:
  using Change = std::pair<DriveAddress, DriveChange>;
  using Slots = std::map<std::string, std::shared_ptr<Slot>>;

  Result<void> look_again();
  void insert(std::shared_ptr<Slot> slot);
  Slots::iterator erase(Slots::iterator slot);
  std::shared_ptr<Slot> find(const std::string& node);
  void run(std::stop_token stop, const Watcher& watcher);

  Clock& clock_;
  std::filesystem::path directory_;  // Empty: only what was added.
  std::mutex scan_mutex_;            // Taken before mutex_: one look at the directory at a time.
  std::mutex mutex_;
  Slots slots_;
  bool is_watched_ = false;
  std::deque<Change> changes_;  // Not yet told to the watcher.
  std::condition_variable_any wake_;
  std::jthread watcher_;
};

}  // namespace keyward::sed
