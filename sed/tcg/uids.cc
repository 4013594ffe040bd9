#include "sed/tcg/uids.h"

#include <fmt/format.h>

namespace keyward::sed::tcg {
namespace {

std::string authority_name(std::uint32_t row) {
  const auto is = [&](const Uid& known) { return row == row_of(known); };
  if (is(authority::kAnybody)) return "Anybody";
  if (is(authority::kAdmins)) return "Admins";
  if (is(authority::kMakers)) return "Makers";
  if (is(authority::kSid)) return "SID";
  if (is(authority::kPsid)) return "PSID";
  if (is(authority::kAdminSpAdmin1)) return "the Admin SP's Admin1";
  if (is(authority::kUsers)) return "Users";
  if (is(authority::kEraseMaster)) return "EraseMaster";
  if (row > 0x00010000 && row < 0x0001FF00) return fmt::format("Admin{}", row - 0x00010000);
  if (row > 0x00030000 && row < 0x00040000) return fmt::format("User{}", row - 0x00030000);
  if (row >= 0x8001 && row < 0x8401) return fmt::format("BandMaster{}", row - 0x8001);
  return {};
}

std::string range_name(std::uint32_t row) {
  if (row == row_of(range::kGlobal)) return "the global range";
  if (row > 0x00030000) return fmt::format("range {}", row - 0x00030000);
  return fmt::format("band {}", row - 1);
}

}  // namespace

std::string name_of(const Uid& uid) {
  const std::uint32_t row = row_of(uid);
  std::string name;
  switch (table_of(uid)) {
    case table::kAuthority:
      name = authority_name(row);
      break;
    case table::kCPin:
      name = row == row_of(pin::kMsid) ? "MSID" : authority_name(uid == pin::kSid ? 6 : row);
      if (!name.empty()) name.insert(0, "the PIN of ");
      break;
    case table::kLocking:
      name = range_name(row);
      break;
    case table::kSp:
      name = row == row_of(sp::kAdmin) ? "the Admin SP" : "the Locking SP";
      break;
    case table::kMbrControl:
      return "the MBR control";
    case table::kMbr:
      return "the shadow MBR";
    case table::kDataStore:
      return "the DataStore";
    case table::kLockingInfo:
      return "the locking info";
    default:
      if (uid == kThisSp) return "the SP";
  }
  return name.empty() ? fmt::format("object {:08X}:{:08X}", table_of(uid), row) : name;
}

}  // namespace keyward::sed::tcg
