// DriveRecords keep what is known of drives from one start to the next, without secrets: documents
// "drive/<key>" of the control store.
//
//   DriveRecord record = TRY(records.load(key));
//   record.firmware = identity.firmware;
//   TRY(records.save(record));                    // Writes only what is worth a write.
//
// Safe from any thread; a drive's record is changed by its worker alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "sed/owner_pin.h"
#include "store/control_store.h"

namespace keyward::engine {

struct DriveRecord {
  std::string key;  // sed::drive_key().
  std::string serial;
  std::string wwn;
  std::string model;
  std::string firmware;
  std::string feature;
  std::string knowledge;  // Of Drive::knowledge(), in hexadecimal.
  // The tag of a PIN that the drive refused: it is not sent again before a person orders a verify.
  std::string refused_pin;
  // What restored() answered when the drive was last verified.
  std::string verified_restore;
  std::optional<UtcTime> last_seen;  // To a day.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("key", &DriveRecord::key);
    visit("serial", &DriveRecord::serial);
    visit("wwn", &DriveRecord::wwn);
    visit("model", &DriveRecord::model);
    visit("firmware", &DriveRecord::firmware);
    visit("feature", &DriveRecord::feature);
    visit("knowledge", &DriveRecord::knowledge);
    visit("refused_pin", &DriveRecord::refused_pin);
    visit("verified_restore", &DriveRecord::verified_restore);
    visit("last_seen", &DriveRecord::last_seen);
  }
};

class DriveRecords final {
 public:
  // There since the state directory was restored from a backup, with a text that no other restore
  // has. No PIN is sent to a drive before a verify of it succeeded under the same text.
  static constexpr std::string_view kRestored = "drives/restored";

  DriveRecords(store::ControlStore& control, Clock& clock) : control_(control), clock_(clock) {}

  Result<std::vector<DriveRecord>> load_all();
  // A drive that was never seen has an empty record; the key is set.
  Result<DriveRecord> load(const std::string& key);
  // Durable on return. A record that differs in nothing but its day is written once a day.
  Result<void> save(DriveRecord record);

  // The text of "drives/restored"; empty where there is none.
  Result<std::string> restored();
  // Whoever restores a state directory puts a file `restored` into it: nothing in a copy says by
  // itself that it is one. At the next start the file becomes the document, and is removed. True
  // when there was one.
  Result<bool> take_restored_mark(const std::string& state_directory);

 private:
  store::ControlStore& control_;
  Clock& clock_;
};

}  // namespace keyward::engine
