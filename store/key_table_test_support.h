// Key tables for tests: two custodians, an old key and a new one. For tests only.
#pragma once

#include <gmock/gmock.h>

#include <string>
#include <utility>
#include <vector>

#include "store/key_table.h"

namespace keyward::store::key_table_testing {

inline const CustodianId kHsm{"pkcs11:hsm1"};
inline const CustodianId kTpm{"tpm2:board"};
inline const CustodianId kSafe{"passphrase:safe"};

// The value, or the test ends here: for what must succeed.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << error_code_name(result.error().code) << ": " << result.error().message;
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

inline KeyId key_number(int number) {
  KeyId id;
  id.bytes[0] = std::byte{0x40};
  id.bytes[15] = static_cast<std::byte>(number);
  return id;
}
inline const KeyId kOld = key_number(1);
inline const KeyId kNew = key_number(2);

inline Domain domain_named(std::string_view text) { return must(Domain::parse(text)); }

inline KeyCommitment commitment_of(int number) {
  KeyCommitment commitment;
  commitment.fill(static_cast<std::byte>(number));
  return commitment;
}

inline SealedKey copy_by(const CustodianId& custodian, int number) {
  return {custodian, Bytes(100, static_cast<std::byte>(number))};
}

inline std::vector<WantedCustodian> wanted_list(const std::vector<CustodianId>& ids) {
  std::vector<WantedCustodian> wanted;
  for (const CustodianId& id : ids) wanted.push_back({id, "identity of " + id.text});
  return wanted;
}

inline KeyRow current_row(const std::vector<CustodianId>& custodians) {
  KeyRow row;
  row.id = kOld;
  row.state = KeyState::current;
  row.commitment = commitment_of(1);
  row.wanted_mac = commitment_of(11);
  for (const CustodianId& id : custodians) row.copies.push_back(copy_by(id, 1));
  row.holders = custodians;
  return row;
}

inline KeyTable idle_table(std::string_view domain = "S3") {
  StoreId store;
  store.bytes[3] = std::byte{7};
  return must(first_table(store, domain_named(domain), current_row({kHsm, kTpm}),
                          wanted_list({kHsm, kTpm})));
}

inline Announcement announcement_of(const KeyId& key) {
  return {.key = key, .job = JobId{{std::byte{9}}}, .actor = "uid:0", .now = UtcTime{}};
}
inline std::vector<SealedKey> new_copies() { return {copy_by(kHsm, 2), copy_by(kTpm, 2)}; }

inline KeyTable preparing_table() { return must(announce(idle_table(), announcement_of(kNew))); }
inline KeyTable reencrypting_table() {
  return must(
      begin_reencrypt(preparing_table(), new_copies(), commitment_of(2), commitment_of(12)));
}
inline KeyTable verifying_table() { return must(begin_verify(reencrypting_table())); }
inline KeyTable destroying_table() { return must(switch_over(verifying_table())); }
inline KeyTable destroyed_table() {
  KeyTable table = must(record_destroyed(destroying_table(), kOld, kHsm, Destruction::confirmed));
  return must(record_destroyed(std::move(table), kOld, kTpm, Destruction::confirmed));
}

}  // namespace keyward::store::key_table_testing
