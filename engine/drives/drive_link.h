// A DriveLink is what a worker has of its drive: the attached Drive, what it told when it was asked
// last, and its record.
//
//   DriveLink link(parts, address);
//   TRY(link.attach());                              // Nothing to do when it is attached.
//   if (link.state().owner == sed::Owner::nobody) TRY(link.drive().take_ownership(pin));
//   TRY(link.look());
//
// Used by the worker's thread alone.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "api/drive_row.h"
#include "base/clock.h"
#include "base/result.h"
#include "engine/drives/drive_fleet.h"
#include "engine/drives/drive_records.h"
#include "engine/event_log.h"
#include "sed/drive.h"
#include "sed/transport/drive_bus.h"
#include "sed/try_ledger.h"

namespace keyward::engine {

class DriveLink final {
 public:
  struct Parts {
    sed::DriveBus& bus;
    sed::TryLedger& ledger;
    DriveRecords& records;
    EventLog& events;
    Clock& clock;
    NodeId node;
    DriveFleet::Attach attach;
  };
  DriveLink(Parts parts, sed::DriveAddress address);

  const sed::DriveAddress& address() const { return address_; }
  // Where the drive is now, and whether it is in use.
  void set_address(sed::DriveAddress address) { address_ = std::move(address); }

  // Opens, attaches and, unless this link has seen the drive before, looks. Commands are saved
  // where the record knows the drive. Waits a little while somebody else speaks to it: udev does,
  // and `keyward sed --direct`.
  Result<void> attach();
  // Lets others speak to the drive: udev reads its partitions no sooner. What it told still counts.
  void release() { drive_.reset(); }
  // It did not answer as it should: what it told counts no longer.
  void detach();
  // Asks the drive's state; no try is spent.
  Result<void> look();

  // Of the drive that is, or was, attached. Empty: it never answered.
  const std::string& key() const { return record_.key; }
  bool is_attached() const { return drive_ != nullptr; }
  bool has_seen() const { return has_seen_; }
  sed::Drive& drive() { return *drive_; }
  const sed::DriveState& state() const { return state_; }
  // What set_access() made of it; so that nobody need ask.
  void note_access(sed::Access access);
  DriveRecord& record() { return record_; }
  const Parts& parts() const { return parts_; }
  // True once for a drive of which there was no record.
  bool take_new() { return std::exchange(is_new_, false); }

  // The record is stored if it changed; that it could not be is no error of the drive's.
  void keep_record();

  // For people; kept up to date by whoever acts on the drive.
  api::DriveRow& row() { return row_; }
  // A note of what was done, beside those of the drive.
  void add_note(std::string note);

 private:
  Result<void> open();
  Result<std::unique_ptr<sed::SecurityTransport>> open_transport();
  Result<void> meet(const sed::DriveIdentity& identity);
  void show_state();

  Parts parts_;
  sed::DriveAddress address_;
  std::unique_ptr<sed::Drive> drive_;
  sed::DriveState state_;
  DriveRecord record_;
  bool has_seen_ = false;  // `state_` is this drive's.
  bool is_new_ = false;
  api::DriveRow row_;
};

}  // namespace keyward::engine
