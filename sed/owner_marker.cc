#include "sed/owner_marker.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "crypto/kdf.h"
#include "sed/tcg/byte_reader.h"

namespace keyward::sed {
namespace {

constexpr std::string_view kMagic = "KWOWNER1";
constexpr std::size_t kCheckBytes = 8;
constexpr std::size_t kBodyBytes = OwnerMarker::kBytes - kCheckBytes;
constexpr std::uint32_t kSettled = 1;

void append(ByteView bytes, Bytes& out) { out.insert(out.end(), bytes.begin(), bytes.end()); }

template <std::size_t Size>
std::array<std::byte, Size> take(tcg::ByteReader& reader) {
  std::array<std::byte, Size> field{};
  std::ranges::copy(reader.take(Size), field.begin());
  return field;
}

}  // namespace

Bytes OwnerMarker::render() const {
  Bytes out;
  append(as_bytes(kMagic), out);
  tcg::append_big_endian(settled ? kSettled : 0, 4, out);
  tcg::append_big_endian(users, 4, out);
  tcg::append_big_endian(ranges, 8, out);
  tcg::append_big_endian(generation, 8, out);
  append(node.bytes, out);
  append(tag, out);
  append(next_tag, out);
  append(ByteView(crypto::sha256(out)).first(kCheckBytes), out);
  return out;
}

std::optional<OwnerMarker> OwnerMarker::parse(ByteView bytes) {
  if (bytes.size() < kBytes) return std::nullopt;
  const auto digest = crypto::sha256(bytes.first(kBodyBytes));
  if (!std::ranges::equal(bytes.subspan(kBodyBytes, kCheckBytes),
                          ByteView(digest).first(kCheckBytes)))
    return std::nullopt;
  tcg::ByteReader reader(bytes.first(kBodyBytes));
  if (!std::ranges::equal(reader.take(kMagic.size()), as_bytes(kMagic))) return std::nullopt;
  OwnerMarker marker;
  marker.settled = (reader.u32() & kSettled) != 0;
  marker.users = reader.u32();
  marker.ranges = reader.u64();
  marker.generation = reader.u64();
  marker.node.bytes = take<16>(reader);
  marker.tag = take<16>(reader);
  marker.next_tag = take<16>(reader);
  return marker;
}

}  // namespace keyward::sed
