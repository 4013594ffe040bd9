// `keyward sed drives … --direct`: the drives from here, without the daemon; for an initramfs, a
// bench, and the day that the daemon does not start.
//
//   return run_direct(options, "unlock", {"S3Z1"}, json);
//
// The owner PIN comes from a descriptor: 32 bytes, or 64 hexadecimal digits. No credential is
// changed here but by psid-revert. A drive that the daemon has open answers `busy`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::cli {

struct DirectOptions {
  bool wanted = false;
  std::string emulated{};  // A directory of emulated drives, in place of the machine's own.
  // Where tries are counted. In an initramfs this is lost with the power, as most drives' own
  // counters are.
  std::string ledger = "/run/keyward/drives";
  int descriptor = 0;
};

Result<int> list_direct(const DirectOptions& options, bool json);
// `verb`: "unlock", "lock" or "verify". No names: all that answer to be ours.
Result<int> run_direct(const DirectOptions& options, std::string_view verb,
                       const std::vector<std::string>& drives, bool json);
Result<int> psid_revert_direct(const DirectOptions& options, const std::string& drive,
                               const SecretBytes& psid, bool json);

}  // namespace keyward::cli
