// An emulated drive, the try ledger of a node, and attaching to it as a process of that node would:
// for tests of the drive operations.
//
//   DriveRig rig({.family = Family::enterprise});
//   std::unique_ptr<Drive> drive = rig.attach();
//   drive->take_ownership(rig.pin('a')).value();
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/text.h"
#include "sed/drive.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/tcg/scripted_drive_fixture.h"

namespace keyward::sed {

MATCHER_P(FailsWith, code, "") {
  if (arg.has_value()) {
    *result_listener << "it did not fail";
    return false;
  }
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code;
}

MATCHER(Succeeds, "") {
  if (!arg.has_value())
    *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.has_value();
}

inline SecretBytes secret_text(std::string_view text) {
  Bytes copy(as_bytes(text).begin(), as_bytes(text).end());
  return SecretBytes::take_from(copy).value();
}

// In memory, and counts what was sent in vain.
class MemoryTryLedger final : public TryLedger {
 public:
  Result<TryRecord> load(const std::string& drive, std::string_view authority) override {
    return records_[drive][std::string(authority)];
  }
  Result<void> store(const std::string& drive, std::string_view authority,
                     const TryRecord& record) override {
    TryRecord& old = records_[drive][std::string(authority)];
    if (record.spent > old.spent) ++in_vain_[std::string(authority)];
    if (record.spent < old.spent) --in_vain_[std::string(authority)];
    old = record;
    return {};
  }
  Result<void> forget(const std::string& drive) override {
    records_.erase(drive);
    return {};
  }

  Result<void> forgive(const std::string& drive) override {
    for (auto& [authority, record] : records_[drive]) record = record.forgiven();
    return {};
  }

  // PINs sent since start_count() that were not taken, or whose outcome nobody knows.
  void start_count() { in_vain_.clear(); }
  int most_in_vain() const {
    int most = 0;
    for (const auto& [authority, count] : in_vain_) most = std::max(most, count);
    return most;
  }

 private:
  std::map<std::string, std::map<std::string, TryRecord>> records_;
  std::map<std::string, int> in_vain_;
};

class DriveRig final {
 public:
  explicit DriveRig(EmulatedDriveOptions options = {}) {
    // In memory where there is such a place: the emulator syncs what it writes.
    const std::filesystem::path memory = "/dev/shm";
    const bool has_memory = ::access(memory.c_str(), W_OK) == 0;
    std::string name =
        (has_memory ? memory : std::filesystem::temp_directory_path()) / "keyward-rig-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    options.backing_file = directory_ / "drive";
    options.sectors = 65536;
    options.shadow_mbr_bytes = 1u << 20;
    drive_ = EmulatedDrive::open(options).value();
  }
  ~DriveRig() {
    drive_.reset();
    std::filesystem::remove_all(directory_);
  }

  EmulatedDrive& drive() { return *drive_; }
  MemoryTryLedger& ledger() { return ledger_; }
  Clock& clock() { return clock_; }
  const NodeId& node() const { return node_; }

  Result<std::unique_ptr<Drive>> try_attach(ByteView known = {}) {
    return attach_drive(drive_->connect(), clock_, {node_, &ledger_, known});
  }
  std::unique_ptr<Drive> attach(ByteView known = {}) { return try_attach(known).value(); }
  std::unique_ptr<Drive> attach_as(const NodeId& node, TryLedger& ledger) {
    return attach_drive(drive_->connect(), clock_, {node, &ledger}).value();
  }

  // The same 32 bytes for the same letter.
  static SecretBytes pin(char letter) { return secret_text(std::string(kOwnerPinBytes, letter)); }
  SecretBytes psid() const { return secret_text(drive_->psid()); }

  Bytes pattern(char fill) const {
    return Bytes(drive_->options().sector_bytes, static_cast<std::byte>(fill));
  }
  BusStatus write(std::uint64_t sector, char fill) { return drive_->write(sector, pattern(fill)); }
  // Empty when the drive refuses.
  Bytes read(std::uint64_t sector) {
    Bytes data = pattern(0);
    return drive_->read(sector, data) == BusStatus::good ? data : Bytes{};
  }
  std::uint64_t commands_of(const std::function<void()>& act) {
    const std::uint64_t before = drive_->commands();
    act();
    return drive_->commands() - before;
  }

 private:
  std::filesystem::path directory_;
  std::unique_ptr<EmulatedDrive> drive_;
  tcg::SteppingClock clock_;
  MemoryTryLedger ledger_;
  NodeId node_ = NodeId::random();
};

}  // namespace keyward::sed
