#include "sed/tcg/discovery.h"

#include <fmt/format.h>

#include <algorithm>

#include "sed/tcg/byte_reader.h"

namespace keyward::sed::tcg {
namespace {

constexpr std::uint16_t kDiscoveryComId = 0x0001;
constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kBufferBytes = 2048;
constexpr std::size_t kBufferBytesMax = 65536;
constexpr std::size_t kBlockBytes = 512;

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::protocol, fmt::format("Level 0 discovery is malformed: {}", what));
}

bool bit(std::uint8_t byte, unsigned position) { return (byte >> position & 1u) != 0; }

struct Descriptor {
  std::uint16_t code;
  std::uint8_t version;        // Major.
  std::uint8_t minor_version;  // Of the SSC descriptors.
  ByteView body;
};

// The parsers of bodies. One that runs out of bytes makes the whole answer malformed.

void parse_tper(ByteReader& body, Discovery& found) {
  const std::uint8_t flags = body.u8();
  found.tper = {.synchronous = bit(flags, 0),
                .asynchronous = bit(flags, 1),
                .ack_nak = bit(flags, 2),
                .buffer_management = bit(flags, 3),
                .streaming = bit(flags, 4),
                .com_id_management = bit(flags, 6)};
}

void parse_locking(ByteReader& body, Discovery& found) {
  const std::uint8_t flags = body.u8();
  found.locking = {.supported = bit(flags, 0),
                   .enabled = bit(flags, 1),
                   .locked = bit(flags, 2),
                   .media_encryption = bit(flags, 3),
                   .mbr_enabled = bit(flags, 4),
                   .mbr_done = bit(flags, 5),
                   .mbr_shadow_absent = bit(flags, 6),
                   .hardware_reset_supported = bit(flags, 7)};
}

GeometryFeature parse_geometry(ByteReader& body) {
  GeometryFeature geometry;
  geometry.alignment_required = bit(body.u8(), 0);
  body.skip(7);
  geometry.logical_block_bytes = body.u32();
  geometry.alignment_blocks = body.u64();
  geometry.lowest_aligned_block = body.u64();
  return geometry;
}

Ssc ssc_of(std::uint16_t code) {
  switch (code) {
    case 0x0100:
      return Ssc::enterprise;
    case 0x0200:
      return Ssc::opal1;
    case 0x0203:
      return Ssc::opal2;
    case 0x0301:
      return Ssc::opalite;
    case 0x0302:
      return Ssc::pyrite1;
    case 0x0303:
      return Ssc::pyrite2;
    case 0x0304:
      return Ssc::ruby;
    default:
      return Ssc::none;
  }
}

// All SSCs begin alike, and Opal 2 and those after it have their SID indicators in one place.
void parse_ssc(const Descriptor& descriptor, ByteReader& body, Discovery& found) {
  SscFeature feature;
  feature.ssc = ssc_of(descriptor.code);
  feature.minor_version = descriptor.minor_version;
  feature.base_com_id = body.u16();
  feature.com_ids = body.u16();
  const bool has_users = feature.ssc == Ssc::opal2 || feature.ssc == Ssc::ruby;
  const bool has_ranges = has_users || feature.ssc == Ssc::opal1 || feature.ssc == Ssc::enterprise;
  // Enterprise and Opal 1 descriptors may end after the ComIDs.
  const std::uint8_t crossing = body.left() > 0 ? body.u8() : std::uint8_t{0};
  feature.range_crossing_refused = has_ranges && bit(crossing, 0);
  if (feature.ssc != Ssc::opal1 && feature.ssc != Ssc::enterprise) {
    const std::uint16_t admins = body.u16();
    const std::uint16_t users = body.u16();
    if (has_users) feature.admins = admins;
    if (has_users) feature.users = users;
    feature.first_sid_pin_is_msid = body.u8() == 0x00;
    feature.reverted_sid_pin_is_msid = body.u8() == 0x00;
  }
  const bool repeated = std::ranges::any_of(
      found.sscs, [&](const SscFeature& other) { return other.ssc == feature.ssc; });
  if (!repeated) found.sscs.push_back(feature);
}

void parse_single_user(ByteReader& body, Discovery& found) {
  SingleUserFeature feature;
  feature.ranges_supported = body.u32();
  const std::uint8_t flags = body.u8();
  feature.any = bit(flags, 0);
  feature.all = bit(flags, 1);
  feature.admins_place_ranges = bit(flags, 2);
  found.single_user = feature;
}

void parse_data_store(ByteReader& body, Discovery& found) {
  DataStoreFeature feature;
  body.skip(2);
  feature.tables_max = body.u16();
  feature.bytes_max = body.u32();
  feature.alignment_bytes = body.u32();
  found.data_store = feature;
}

void parse_block_sid(ByteReader& body, Discovery& found) {
  const std::uint8_t state = body.u8();
  const std::uint8_t reset = body.u8();
  found.block_sid = {.sid_pin_changed = bit(state, 0),
                     .sid_blocked = bit(state, 1),
                     .freeze_supported = bit(state, 2),
                     .frozen = bit(state, 3),
                     .unblocked_by_hardware_reset = bit(reset, 0)};
}

void parse_namespace_locking(ByteReader& body, Discovery& found) {
  NamespaceLockingFeature feature;
  const std::uint8_t flags = body.u8();
  feature.range_configured = bit(flags, 7);
  feature.range_permitted = bit(flags, 6);
  feature.single_user = bit(flags, 5);
  body.skip(3);
  feature.keys_max = body.u32();
  feature.keys_unused = body.u32();
  feature.ranges_per_namespace_max = body.u32();
  found.namespace_locking = feature;
}

void parse_data_removal(ByteReader& body, Discovery& found) {
  DataRemovalFeature feature;
  body.skip(1);
  const std::uint8_t state = body.u8();
  feature.processing = bit(state, 0);
  feature.interrupted = bit(state, 1);
  feature.mechanisms = body.u8();
  const std::uint8_t in_minutes = body.u8();
  for (std::size_t n = 0; n < feature.seconds.size(); ++n) {
    const std::uint32_t time = body.u16();
    // Two seconds are the unit, or two minutes (Pyrite 2.00, 3.1.1.5).
    feature.seconds[n] = time * (bit(in_minutes, static_cast<unsigned>(n)) ? 120 : 2);
  }
  found.data_removal = feature;
}

void parse_ports(ByteReader& body, Discovery& found) {
  while (body.left() >= 8) {
    SeagatePort port;
    port.number = body.u32();
    port.locked = body.u8() != 0;
    body.skip(3);
    found.ports.push_back(port);
  }
}

// The first of several with one code counts.
template <typename Feature, typename Parse>
void parse_once(std::optional<Feature>& place, ByteReader& body, Discovery& found,
                const Parse& parse) {
  if (!place) parse(body, found);
}

void parse_feature(const Descriptor& descriptor, ByteReader& body, Discovery& found) {
  if (ssc_of(descriptor.code) != Ssc::none) return parse_ssc(descriptor, body, found);
  switch (descriptor.code) {
    case 0x0001:
      return parse_once(found.tper, body, found, parse_tper);
    case 0x0002:
      return parse_once(found.locking, body, found, parse_locking);
    case 0x0003:
      if (!found.geometry) found.geometry = parse_geometry(body);
      return;
    case 0x0201:
      return parse_once(found.single_user, body, found, parse_single_user);
    case 0x0202:
      return parse_once(found.data_store, body, found, parse_data_store);
    case 0x0402:
      return parse_once(found.block_sid, body, found, parse_block_sid);
    case 0x0403:
      return parse_once(found.namespace_locking, body, found, parse_namespace_locking);
    case 0x0404:
      return parse_once(found.data_removal, body, found, parse_data_removal);
    case 0x0405:
      if (!found.namespace_geometry) found.namespace_geometry = parse_geometry(body);
      return;
    case 0xC001:
      if (found.ports.empty()) parse_ports(body, found);
      return;
    default:
      found.others.push_back({descriptor.code, descriptor.version,
                              Bytes(descriptor.body.begin(), descriptor.body.end())});
  }
}

}  // namespace

std::string_view ssc_name(Ssc ssc) {
  switch (ssc) {
    case Ssc::enterprise:
      return "Enterprise";
    case Ssc::opal1:
      return "Opal 1";
    case Ssc::opal2:
      return "Opal 2";
    case Ssc::opalite:
      return "Opalite";
    case Ssc::pyrite1:
      return "Pyrite 1";
    case Ssc::pyrite2:
      return "Pyrite 2";
    case Ssc::ruby:
      return "Ruby";
    case Ssc::none:
      break;
  }
  return "none";
}

std::string_view feature_name(std::uint16_t code) {
  switch (code) {
    case 0x0004:
      return "Secure Messaging";
    case 0x0305:
      return "Key Per I/O";
    case 0x0401:
      return "Locking LBA ranges";
    case 0x0406:
      return "SIIS";
    case 0x0407:
      return "Shadow MBR for several namespaces";
    default:
      return code >= 0xC000 ? "vendor's own" : "unknown";
  }
}

const SscFeature* Discovery::ssc() const {
  for (const Ssc wanted : {Ssc::opal2, Ssc::ruby, Ssc::opal1, Ssc::opalite, Ssc::pyrite2,
                           Ssc::pyrite1, Ssc::enterprise})
    for (const SscFeature& feature : sscs)
      if (feature.ssc == wanted) return &feature;
  return nullptr;
}

Result<Discovery> parse_discovery(ByteView bytes) {
  ByteReader header(bytes);
  const std::uint32_t length = header.u32();  // Of all that follows this field.
  const ByteView all = header.take(length);
  if (header.ran_out()) return malformed("it is shorter than it says");
  if (length + sizeof(length) < kHeaderBytes) return malformed("its header is cut off");
  ByteReader features(all.subspan(kHeaderBytes - sizeof(length)));
  Discovery found;
  while (features.left() > 0) {
    Descriptor descriptor{};
    descriptor.code = features.u16();
    const std::uint8_t versions = features.u8();
    descriptor.version = versions >> 4;
    descriptor.minor_version = versions & 0x0F;
    descriptor.body = features.take(features.u8());
    if (features.ran_out()) return malformed("a feature is longer than the whole");
    if (descriptor.code == 0) continue;  // Reserved: padding.
    ByteReader body(descriptor.body);
    parse_feature(descriptor, body, found);
    if (body.ran_out())
      return malformed(fmt::format("feature {:04X}h is cut off", descriptor.code));
  }
  return found;
}

Result<Discovery> discover(SecurityTransport& transport) {
  Bytes buffer(kBufferBytes);
  for (;;) {
    const std::size_t size =
        TRY(transport.receive(Protocol::tcg, kDiscoveryComId, MutableByteView(buffer)));
    const ByteView answer = ByteView(buffer).first(std::min(size, buffer.size()));
    const std::size_t needed = std::size_t{ByteReader(answer).u32()} + 4;
    // All zeros is what drives and bridges without TCG give.
    if (needed == 4)
      return fail(ErrorCode::unsupported, "the drive answers Level 0 discovery with nothing");
    if (needed <= buffer.size() || needed > kBufferBytesMax) return parse_discovery(answer);
    buffer.resize((needed + kBlockBytes - 1) / kBlockBytes * kBlockBytes);
  }
}

}  // namespace keyward::sed::tcg
