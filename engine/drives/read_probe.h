// A ReadProbe is what 64 sectors of a drive hold, as digests: taken before and after an erase, it
// shows whether the data that were there are still read.
//
//   ReadProbe before = ReadProbe::take(drive->blocks(), certificate_id);
//   TRY(drive->erase(…));
//   ProbeVerdict verdict = compare(before, ReadProbe::take(drive->blocks(), certificate_id));
//
// It proves nothing about sectors that it did not read, nor about what only a laboratory reads. The
// sectors follow from the certificate's id, so that anybody can take the probe again. Values; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/kdf.h"
#include "sed/transport/security_transport.h"

namespace keyward::engine {

inline constexpr std::size_t kProbeSectors = 64;

// The first, the last, and one in each of 62 equal parts of what lies between: in part i it is at
// the first 8 bytes of SHA-256("keyward read probe v1\n" ‖ seed ‖ "\n" ‖ i, 8 bytes), modulo the
// part's size. All of them where the drive has no more than 64. In ascending order.
std::vector<std::uint64_t> probe_sectors(std::uint64_t sector_count, std::string_view seed);

struct ProbedSector {
  std::uint64_t number = 0;
  crypto::Sha256Digest digest{};
  bool is_blank = false;  // One byte value throughout, as unwritten sectors have.
};

struct ReadProbe {
  std::vector<ProbedSector> sectors{};  // Those that could be read.
  std::size_t asked = 0;
  std::string error{};  // Why one could not be read: the first.

  // Null: there is nothing to read. Ends at the first error that concerns the whole drive; a sector
  // that alone cannot be read is left out.
  static ReadProbe take(sed::BlockAccess* blocks, std::string_view seed);
  // For the certificate: SHA-256, in hexadecimal, over each sector's number (8 bytes) and SHA-256;
  // "not readable: why" when there is none.
  std::string text() const;
};

struct ProbeVerdict {
  std::string text;
  // At least one sector that held data still holds them: nothing may be claimed.
  bool data_remain = false;
};
ProbeVerdict compare(const ReadProbe& before, const ReadProbe& after);

}  // namespace keyward::engine
