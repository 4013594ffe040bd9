// SpBuilder writes down an SP as a specification's tables have it: rows, ACEs and associations.
//
//   SpBuilder builder(uid::kAdminSp);
//   builder.ace(uid::kAceAnybody, "ACE_Anybody", {uid::kAnybody});
//   builder.pin(uid::kPinMsid, "C_PIN_MSID", msid, {});
//   builder.allow(uid::kPinMsid, method::kGet, {kAceMsidGet});
//   return std::move(builder).finish();
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "sed/emulator/sp.h"

namespace keyward::sed::emulator {

struct TryRule {
  std::uint32_t limit = 0;  // 0: no limit.
  bool persistent = false;  // Tries survive a power cycle.
};

class SpBuilder final {
 public:
  explicit SpBuilder(Uid sp);

  // A row of the SP, with its UID in column 0.
  void row(Uid uid, Row cells);
  // An object table's own row in the Table table, readable by Anybody, with Next for Anybody.
  void object_table(std::uint32_t table, std::string_view name);
  void byte_table(Uid table, std::string_view name, std::uint64_t size);
  void methods(std::initializer_list<std::pair<Uid, std::string_view>> methods);
  // `group` 0: no member of a class.
  void authority(Uid uid, std::string_view name, Uid group, bool enabled, Uid credential);
  void authority_class(Uid uid, std::string_view name);
  void pin(Uid uid, std::string_view name, ByteView value, const TryRule& rule);
  void ace(Uid uid, std::string_view name, std::initializer_list<Uid> any_of,
           std::initializer_list<std::uint32_t> columns = {});
  void allow(Uid invoking, Uid method, std::initializer_list<Uid> aces);

  Sp finish() &&;

 private:
  Sp sp_;
  AccessControl access_;
};

// The column numbers of C_PIN that are readable beside the PIN itself.
inline constexpr std::initializer_list<std::uint32_t> kAllButPin = {0, 4, 5, 6, 7};

// An ACE's row: `any_of` joined by OR. No columns: all of them.
Row ace_row(Uid uid, std::string_view name, std::initializer_list<Uid> any_of,
            std::initializer_list<std::uint32_t> columns);

Value boolean_value(bool value);
Value reset_list(std::initializer_list<Reset> resets);

}  // namespace keyward::sed::emulator
