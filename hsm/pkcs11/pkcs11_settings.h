// The settings of one "pkcs11" custodian.
//
//   module = "/usr/lib/softhsm/libsofthsm2.so"
//   token = "pkcs11:token=mktok;serial=5a1b0c3d9e8f7a6b"   # label and/or serial number, no slot
//   pin = "file:/etc/keyward/hsm1.pin"                     # or "credential:NAME"
//   mechanism = "auto"                   # or "gcm", "keywrap": how a key is sealed
//   environment = { SOFTHSM2_CONF = "/etc/softhsm/softhsm2.conf" }   # of the helper; no secrets
//   network = false                      # true for a module that talks to its HSM over sockets
//   sync_dirs = ["/var/lib/softhsm"]     # a software token's files, synced after every change
//   helper = "/usr/libexec/keyward/keyward-p11"   # default: beside this program, then there
//   call_limit_ms = 5000                 # for one call to the token
//   slow_limit_ms = 30000                # for opening it and for making a key
//   reconnect_min_ms = 200               # pause after a failure, doubled up to the maximum
//   reconnect_max_ms = 30000
//
// Values; any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "hsm/pkcs11/helper_protocol.h"
#include "hsm/pkcs11/pin_source.h"
#include "hsm/pkcs11/token_uri.h"

namespace keyward::hsm::pkcs11 {

struct Pkcs11Settings {
  std::string module;
  TokenUri token;
  PinSource pin;
  Mechanism mechanism = Mechanism::automatic;
  std::vector<std::string> environment{};  // "NAME=value".
  bool network = false;
  std::vector<std::string> sync_dirs{};
  std::string helper{};
  std::chrono::milliseconds call_limit{5000};
  std::chrono::milliseconds slow_limit{30000};
  std::chrono::milliseconds reconnect_min{200};
  std::chrono::milliseconds reconnect_max{30000};
};

// `invalid_argument` names the setting and says what is allowed.
Result<Pkcs11Settings> parse_pkcs11_settings(std::string_view toml_text);

}  // namespace keyward::hsm::pkcs11
