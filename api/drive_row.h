// Rows and requests of `keyward sed drives …`, and of /api/v1/sed/drives.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

enum class DriveOwner : std::uint8_t { nobody, us, foreign, unknown };
constexpr auto enum_names(DriveOwner) {
  return std::to_array<EnumName<DriveOwner>>({{DriveOwner::nobody, "UNOWNED"},
                                              {DriveOwner::us, "OWNED"},
                                              {DriveOwner::foreign, "FOREIGN"},
                                              {DriveOwner::unknown, "UNKNOWN"}});
}

enum class DriveAccess : std::uint8_t { unlocked, read_only, locked, unknown };
constexpr auto enum_names(DriveAccess) {
  return std::to_array<EnumName<DriveAccess>>({{DriveAccess::unlocked, "UNLOCKED"},
                                               {DriveAccess::read_only, "READ_ONLY"},
                                               {DriveAccess::locked, "LOCKED"},
                                               {DriveAccess::unknown, "UNKNOWN"}});
}

// Which of a drive's PINs the SED keystore has.
enum class DrivePins : std::uint8_t {
  none,
  pending,  // A provisioning that has not ended.
  stored,
  rotating,  // Two: a rotation that has not ended.
};
constexpr auto enum_names(DrivePins) {
  return std::to_array<EnumName<DrivePins>>({{DrivePins::none, "NONE"},
                                             {DrivePins::pending, "PENDING"},
                                             {DrivePins::stored, "STORED"},
                                             {DrivePins::rotating, "ROTATING"}});
}

// A drive as it was last seen. One that is known and away has no node.
struct DriveRow {
  std::string serial;
  std::string wwn;
  std::string model;
  std::string firmware;
  std::string node;  // "/dev/sdaa", today.
  std::string feature;
  DriveOwner owner = DriveOwner::unknown;
  DriveAccess access = DriveAccess::unknown;
  DrivePins pins = DrivePins::none;
  bool psid_recorded = false;
  std::optional<std::uint64_t> tries_left;
  std::optional<UtcTime> last_seen;
  std::vector<std::string> notes;
  std::string error;  // Of the last action, with the next step.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("serial", &DriveRow::serial, "Serial");
    visit("wwn", &DriveRow::wwn);
    visit("model", &DriveRow::model, "Model");
    visit("firmware", &DriveRow::firmware);
    visit("node", &DriveRow::node, "Node");
    visit("feature", &DriveRow::feature, "Feature");
    visit("owner", &DriveRow::owner, "Owner");
    visit("access", &DriveRow::access, "Access");
    visit("pins", &DriveRow::pins, "PINs");
    visit("psid_recorded", &DriveRow::psid_recorded);
    visit("tries_left", &DriveRow::tries_left);
    visit("last_seen", &DriveRow::last_seen);
    visit("notes", &DriveRow::notes);
    visit("error", &DriveRow::error, "Error Info(if any)");
  }
};

// What came of an action on one drive.
struct DriveResult {
  std::string serial;
  std::string wwn;
  std::string node;
  std::uint64_t milliseconds = 0;
  std::string code;   // Of the error; empty: done.
  std::string error;  // With the next step.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("serial", &DriveResult::serial, "Serial");
    visit("wwn", &DriveResult::wwn);
    visit("node", &DriveResult::node, "Node");
    visit("milliseconds", &DriveResult::milliseconds, "ms");
    visit("code", &DriveResult::code);
    visit("error", &DriveResult::error, "Error Info(if any)");
  }
};

// The body of POST /api/v1/sed/drives:unlock and its like.
struct DriveSelection {
  std::vector<std::string> drives;  // Serials or WWNs.
  std::optional<bool> all;          // Instead: all.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("drives", &DriveSelection::drives);
    visit("all", &DriveSelection::all);
  }
};

// The proof of an erase. The signature (Ed25519, RFC 8032) is over the other fields as
// docs/FORMATS.md says.
struct EraseCertificate {
  std::string id;
  std::string serial;
  std::string wwn;
  std::string model;
  std::string firmware;
  std::string method;  // What was done, in the drive's terms: "GenKey of all ranges (TCG Opal)".
  std::string nist;    // NIST SP 800-88 Rev. 1: "Purge (Cryptographic Erase)".
  std::string ieee;    // IEEE 2883-2022: "Purge, cryptographic erase".
  std::string probe_before;  // SHA-256 over the sampled sectors; "not readable", with why, else.
  std::string probe_after;
  std::string verdict;  // What the probes tell: "all 64 sampled sectors changed".
  std::optional<UtcTime> started;
  std::optional<UtcTime> finished;
  std::string actor;
  std::string node;        // The host's name.
  std::string public_key;  // Hexadecimal, 32 bytes.
  std::string signature;   // Hexadecimal, 64 bytes.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("id", &EraseCertificate::id, "Certificate");
    visit("serial", &EraseCertificate::serial, "Serial");
    visit("wwn", &EraseCertificate::wwn);
    visit("model", &EraseCertificate::model, "Model");
    visit("firmware", &EraseCertificate::firmware);
    visit("method", &EraseCertificate::method, "Method");
    visit("nist", &EraseCertificate::nist);
    visit("ieee", &EraseCertificate::ieee);
    visit("probe_before", &EraseCertificate::probe_before);
    visit("probe_after", &EraseCertificate::probe_after);
    visit("verdict", &EraseCertificate::verdict, "Probe");
    visit("started", &EraseCertificate::started);
    visit("finished", &EraseCertificate::finished, "Finished");
    visit("actor", &EraseCertificate::actor, "By");
    visit("node", &EraseCertificate::node);
    visit("public_key", &EraseCertificate::public_key);
    visit("signature", &EraseCertificate::signature);
  }
};

}  // namespace keyward::api
