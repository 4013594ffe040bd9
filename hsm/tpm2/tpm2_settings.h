// The settings of one "tpm2" custodian.
//
//   tcti = "device:/dev/tpmrm0"   # or "swtpm:path=/run/tpm.sock",
//   "swtpm:host=127.0.0.1,port=2321",
//                                 # "tabrmd"
//   pcrs = [7]                    # of the SHA-256 bank; [] binds to the TPM alone
//   pin = "credential:tpm-pin"    # or "file:/etc/keyward/pin"; left out: no PIN
//   srk_handle = 0x81000001
//   nv_index = 0x01800100         # the first of the NV indices that hold the erasure slots
//   nv_indices_max = 8            # defined one by one as they are needed, 18 slots each
//   owner_auth = "file:/…"        # the owner hierarchy's password, where it has one
//   time_limit_s = 30
//   sync_dirs = ["/var/lib/swtpm"]  # a software TPM's state, synced after a slot is written
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "hsm/secret_file.h"

namespace keyward::hsm::tpm2 {

struct Tpm2Settings {
  std::string tcti = "device:/dev/tpmrm0";
  std::vector<std::uint8_t> pcrs = {7};  // Ascending, each once.
  std::optional<SecretFile> pin;
  std::optional<SecretFile> owner_auth;
  std::uint32_t srk_handle = 0x81000001;
  std::uint32_t nv_index = 0x01800100;
  std::uint32_t nv_indices_max = 8;
  std::uint32_t time_limit_s = 30;
  std::vector<std::string> sync_dirs;

  // Whether nothing stands between us and the TPM that starts it, swaps handles and cleans up
  // behind a process that died: then Keyward does so itself, and must have the TPM to itself.
  bool is_bare() const;
};

// `invalid_argument` names the setting and says what is allowed.
Result<Tpm2Settings> parse_tpm2_settings(std::string_view toml);

}  // namespace keyward::hsm::tpm2
