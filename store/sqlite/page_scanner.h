// The page scanner looks through the raw bytes of a state directory for what must not be there any
// more: canary secrets, deleted rows, old ciphertext, sealed copies of destroyed keys.
//
//   std::vector<ScanHit> hits = TRY(scan_files_for(directory, needles));
//   // {"/var/lib/keyward/keystores/S3.db", 81920, needle 2}
//
// It reads every file below the directory — databases, WALs, journals, whatever else lies there —
// and follows no symbolic link. Time: one pass, however many needles. Files that change meanwhile
// are read as they are found. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward::store {

inline constexpr std::size_t kNeedleBytesMin = 8;

struct ScanHit {
  std::string path;
  std::uint64_t offset = 0;
  std::size_t needle = 0;  // Its index.
  bool operator==(const ScanHit&) const = default;
};

// By path and offset. At most `hits_max` of them. `invalid_argument` for a needle of less than 8
// bytes, which random bytes would contain by chance.
Result<std::vector<ScanHit>> scan_files_for(const std::string& directory,
                                            std::span<const ByteView> needles,
                                            std::size_t hits_max = 1000);

}  // namespace keyward::store
