#include "sed/knowledge.h"

#include <algorithm>
#include <string>

#include "base/text.h"
#include "crypto/kdf.h"
#include "sed/tcg/byte_reader.h"

namespace keyward::sed {
namespace {

using tcg::append_big_endian;

// The last byte is the version.
constexpr std::string_view kMagic = "KWKNOWN1";
constexpr std::size_t kCheckBytes = 16;
constexpr std::uint16_t kOpal1Users = 4;  // Opal 1.00, 4.3: its discovery does not say.
constexpr std::size_t kPropertiesBytes = 28;
constexpr unsigned kHasShadow = 1, kShadowEnabled = 2, kHasBlockSid = 4, kHasProperties = 8,
                   kHasRanges = 16;

// Over the body and the drive that it is about.
Bytes check_of(ByteView body, const DriveIdentity& identity) {
  const std::string about = identity.wwn + "\n" + identity.serial + "\n" + identity.model + "\n" +
                            identity.firmware + "\n";
  const ByteView parts[] = {as_bytes(about), body};
  const auto digest = crypto::sha256(parts);
  return Bytes(digest.begin(), digest.begin() + kCheckBytes);
}

unsigned flag(bool set, unsigned bit) { return set ? bit : 0; }

}  // namespace

Knowledge Knowledge::of(const tcg::Discovery& found) {
  Knowledge known;
  const tcg::SscFeature* ssc = found.ssc();
  if (ssc == nullptr) return known;
  known.ssc = ssc->ssc;
  known.com_id = ssc->base_com_id;
  known.users = ssc->users.value_or(ssc->ssc == tcg::Ssc::opal1 ? kOpal1Users : 0);
  known.has_block_sid = found.block_sid.has_value();
  if (found.locking) {
    known.has_shadow_mbr = !found.locking->mbr_shadow_absent && ssc->ssc != tcg::Ssc::enterprise;
    known.shadow_mbr_enabled = found.locking->mbr_enabled;
  }
  return known;
}

tcg::Discovery Knowledge::discovery() const {
  tcg::Discovery found;
  found.sscs.push_back({.ssc = ssc, .base_com_id = com_id, .com_ids = 1});
  return found;
}

Bytes Knowledge::render(const DriveIdentity& identity) const {
  const ByteView magic = as_bytes(kMagic);
  Bytes out(magic.begin(), magic.end());
  append_big_endian(static_cast<std::uint8_t>(ssc), 1, out);
  append_big_endian(flag(has_shadow_mbr, kHasShadow) | flag(shadow_mbr_enabled, kShadowEnabled) |
                        flag(has_block_sid, kHasBlockSid) |
                        flag(properties.has_value(), kHasProperties) |
                        flag(ranges.has_value(), kHasRanges),
                    1, out);
  append_big_endian(com_id, 2, out);
  append_big_endian(users, 2, out);
  append_big_endian(ranges_max, 4, out);
  append_big_endian(data_store_bytes, 8, out);
  append_big_endian(shadow_mbr_bytes, 8, out);
  append_big_endian(ranges.value_or(0), 8, out);
  const Bytes sizes = properties.value_or(tcg::Properties{}).render();
  out.insert(out.end(), sizes.begin(), sizes.end());
  const Bytes check = check_of(out, identity);
  out.insert(out.end(), check.begin(), check.end());
  return out;
}

std::optional<Knowledge> Knowledge::parse(ByteView bytes, const DriveIdentity& identity) {
  if (bytes.size() < kMagic.size() + kCheckBytes) return std::nullopt;
  const ByteView body = bytes.first(bytes.size() - kCheckBytes);
  if (!std::ranges::equal(bytes.last(kCheckBytes), check_of(body, identity))) return std::nullopt;
  tcg::ByteReader reader(body);
  if (!std::ranges::equal(reader.take(kMagic.size()), as_bytes(kMagic))) return std::nullopt;
  Knowledge known;
  const unsigned ssc = reader.u8();
  const unsigned flags = reader.u8();
  if (ssc > static_cast<unsigned>(tcg::Ssc::ruby)) return std::nullopt;
  known.ssc = static_cast<tcg::Ssc>(ssc);
  known.has_shadow_mbr = (flags & kHasShadow) != 0;
  known.shadow_mbr_enabled = (flags & kShadowEnabled) != 0;
  known.has_block_sid = (flags & kHasBlockSid) != 0;
  known.com_id = reader.u16();
  known.users = reader.u16();
  known.ranges_max = reader.u32();
  known.data_store_bytes = reader.u64();
  known.shadow_mbr_bytes = reader.u64();
  const std::uint64_t ranges = reader.u64();
  if ((flags & kHasRanges) != 0) known.ranges = ranges;
  const ByteView sizes = reader.take(kPropertiesBytes);
  if ((flags & kHasProperties) != 0) known.properties = tcg::Properties::parse(sizes);
  if (reader.ran_out() || reader.left() != 0) return std::nullopt;
  return known;
}

}  // namespace keyward::sed
