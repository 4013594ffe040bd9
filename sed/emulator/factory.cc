#include "sed/emulator/factory.h"

#include "base/os_random.h"
#include "sed/emulator/ssc.h"

namespace keyward::sed::emulator {

Uid locking_sp_uid(Family family) {
  return family == Family::enterprise ? uid::kEnterpriseLockingSp : uid::kLockingSp;
}

// Opal numbers its ranges from 0003_0001 on, Enterprise its bands right after the global one.
Uid range_uid(Family family, std::uint32_t n) {
  if (n == 0) return uid::kGlobalRange;
  return make_uid(table::kLocking, family == Family::enterprise ? n + 1 : 0x00030000 + n);
}

Uid range_key_uid(Family family, std::uint32_t n) {
  return make_uid(table::kAes256, static_cast<std::uint32_t>(range_uid(family, n)));
}

Bytes new_media_key() {
  Bytes key(64);
  os_random_fill(key);
  return key;
}

Sp make_admin_sp(const EmulatedDriveOptions& options, const FactoryPins& pins) {
  return options.family == Family::enterprise ? enterprise_admin_sp(options, pins)
                                              : opal_admin_sp(options, pins);
}

Sp make_locking_sp(const EmulatedDriveOptions& options, const FactoryPins& pins) {
  Sp sp = options.family == Family::enterprise ? enterprise_locking_sp(options, pins)
                                               : opal_locking_sp(options);
  for (std::uint32_t n = 0; n <= options.ranges; ++n)
    sp.media_keys[range_key_uid(options.family, n)] = new_media_key();
  return sp;
}

}  // namespace keyward::sed::emulator
