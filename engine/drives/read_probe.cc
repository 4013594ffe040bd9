#include "engine/drives/read_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kLabel = "keyward read probe v1\n";

std::array<std::byte, 8> big_endian(std::uint64_t value) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(value >> (8 * (7 - i)));
  return bytes;
}

std::uint64_t drawn(std::string_view seed, std::uint64_t part) {
  const auto number = big_endian(part);
  const std::array<ByteView, 4> parts{as_bytes(kLabel), as_bytes(seed), as_bytes("\n"), number};
  const crypto::Sha256Digest digest = crypto::sha256(parts);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i)
    value = value << 8 | std::to_integer<std::uint64_t>(digest[i]);
  return value;
}

// A locked or absent drive would answer each of the 64 alike, and slowly.
bool concerns_one_sector(const Error& error) { return error.code == ErrorCode::io; }

bool is_blank(ByteView sector) {
  return std::ranges::all_of(sector, [&](std::byte byte) { return byte == sector.front(); });
}

const ProbedSector* find(const ReadProbe& probe, std::uint64_t number) {
  const auto found = std::ranges::find(probe.sectors, number, &ProbedSector::number);
  return found == probe.sectors.end() ? nullptr : &*found;
}

}  // namespace

std::vector<std::uint64_t> probe_sectors(std::uint64_t sector_count, std::string_view seed) {
  std::vector<std::uint64_t> sectors;
  if (sector_count <= kProbeSectors) {
    for (std::uint64_t i = 0; i < sector_count; ++i) sectors.push_back(i);
    return sectors;
  }
  constexpr std::uint64_t kParts = kProbeSectors - 2;
  const std::uint64_t between = sector_count - 2;
  // No product of two large numbers: the remainder goes to the first parts, one sector each.
  const std::uint64_t size = between / kParts;
  const std::uint64_t larger = between % kParts;
  sectors.push_back(0);
  for (std::uint64_t part = 0, first = 1; part < kParts; ++part) {
    const std::uint64_t sectors_here = size + (part < larger ? 1 : 0);
    sectors.push_back(first + drawn(seed, part) % sectors_here);
    first += sectors_here;
  }
  sectors.push_back(sector_count - 1);
  return sectors;
}

ReadProbe ReadProbe::take(sed::BlockAccess* blocks, std::string_view seed) {
  ReadProbe probe;
  if (blocks == nullptr || blocks->sector_bytes() == 0) {
    probe.error = "its sectors cannot be reached";
    return probe;
  }
  const auto numbers = probe_sectors(blocks->sector_count(), seed);
  probe.asked = numbers.size();
  Bytes sector(blocks->sector_bytes());
  for (const std::uint64_t number : numbers) {
    const Result<void> read = blocks->read(number, sector);
    if (read) {
      probe.sectors.push_back({number, crypto::sha256(sector), is_blank(sector)});
      continue;
    }
    if (probe.error.empty()) probe.error = escape_controls(read.error().message);
    if (!concerns_one_sector(read.error())) break;
  }
  return probe;
}

std::string ReadProbe::text() const {
  if (sectors.empty())
    return fmt::format("not readable: {}", error.empty() ? "it has no sectors" : error);
  Bytes all;
  for (const ProbedSector& sector : sectors) {
    const auto number = big_endian(sector.number);
    all.insert(all.end(), number.begin(), number.end());
    all.insert(all.end(), sector.digest.begin(), sector.digest.end());
  }
  const std::string digest = to_hex(crypto::sha256(all));
  if (sectors.size() == asked) return digest;
  return fmt::format("{} ({} of {} sectors: {})", digest, sectors.size(), asked, error);
}

ProbeVerdict compare(const ReadProbe& before, const ReadProbe& after) {
  if (before.sectors.empty() || after.sectors.empty())
    return {fmt::format("nothing to compare: the sectors could not be read {} the erase",
                        before.sectors.empty() ? "before" : "after"),
            false};
  std::size_t compared = 0, changed = 0, blank = 0;
  for (const ProbedSector& old : before.sectors) {
    const ProbedSector* now = find(after, old.number);
    if (now == nullptr) continue;
    ++compared;
    if (now->digest != old.digest)
      ++changed;
    else if (old.is_blank)
      ++blank;
  }
  if (compared == 0) return {"nothing to compare: no sector could be read both times", false};
  if (const std::size_t same = compared - changed - blank; same > 0)
    return {fmt::format("{} of {} sampled sectors still hold the data that they held before", same,
                        compared),
            true};
  if (blank == 0) return {fmt::format("all {} sampled sectors changed", compared), false};
  if (changed == 0)
    return {fmt::format("all {} sampled sectors were blank before and are now: this shows nothing",
                        compared),
            false};
  return {fmt::format("all {} sampled sectors that held data changed; {} were blank before and are "
                      "now",
                      changed, blank),
          false};
}

}  // namespace keyward::engine
