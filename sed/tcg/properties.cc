#include "sed/tcg/properties.h"

#include <algorithm>
#include <limits>

#include "sed/tcg/byte_reader.h"
#include "sed/tcg/method_answer.h"
#include "sed/tcg/packet.h"
#include "sed/tcg/uids.h"

namespace keyward::sed::tcg {
namespace {

constexpr Name kHostProperties{0, "HostProperties"};
// Less than any specification's least: what says so is damaged.
constexpr std::uint32_t kComPacketBytesMin = 512;
constexpr auto kComHeader = static_cast<std::uint32_t>(kComPacketHeaderBytes);
constexpr auto kInnerHeaders =
    static_cast<std::uint32_t>(kPacketHeaderBytes + kSubPacketHeaderBytes);

bool is_sane(const Properties& properties) {
  return properties.com_packet_bytes_max >= kComPacketBytesMin &&
         properties.response_bytes_max >= kComPacketBytesMin &&
         properties.packet_bytes_max >= kComPacketBytesMin - kComHeader &&
         properties.token_bytes_max >= kComPacketBytesMin - kComHeader - kInnerHeaders;
}

// None when it is not there, or is 0, which stands for "no limit" or "not told".
std::optional<std::uint32_t> find(const List& properties, std::string_view name) {
  for (const Value& property : properties) {
    if (property.name() == nullptr || *property.name() != text(name)) continue;
    const std::uint64_t* value = property.value()->as_number();
    if (value == nullptr || *value == 0) return std::nullopt;
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(*value, std::numeric_limits<std::uint32_t>::max()));
  }
  return std::nullopt;
}

Properties take_tper(const List& told, Dialect dialect) {
  Properties taken = least_properties(dialect);
  const auto take = [&](std::string_view name, std::uint32_t& value) {
    value = find(told, name).value_or(value);
  };
  take("MaxComPacketSize", taken.com_packet_bytes_max);
  taken.packet_bytes_max =
      taken.com_packet_bytes_max - std::min(taken.com_packet_bytes_max, kComHeader);
  take("MaxPacketSize", taken.packet_bytes_max);
  taken.token_bytes_max = taken.packet_bytes_max - std::min(taken.packet_bytes_max, kInnerHeaders);
  take("MaxIndTokenSize", taken.token_bytes_max);
  // A named value is an aggregate token too, and holds our byte strings.
  taken.token_bytes_max = std::min(taken.token_bytes_max,
                                   find(told, "MaxAggTokenSize").value_or(taken.token_bytes_max));
  taken.response_bytes_max = taken.com_packet_bytes_max;
  take("MaxResponseComPacketSize", taken.response_bytes_max);
  take("MaxSessions", taken.sessions_max);
  take("MaxAuthentications", taken.authentications_max);
  take("MaxTransactionLimit", taken.transactions_max);
  return taken;
}

}  // namespace

Bytes Properties::render() const {
  Bytes out;
  for (const std::uint32_t value :
       {com_packet_bytes_max, packet_bytes_max, token_bytes_max, response_bytes_max, sessions_max,
        authentications_max, transactions_max})
    append_big_endian(value, 4, out);
  return out;
}

std::optional<Properties> Properties::parse(ByteView bytes) {
  ByteReader reader(bytes);
  const Properties parsed{reader.u32(), reader.u32(), reader.u32(), reader.u32(),
                          reader.u32(), reader.u32(), reader.u32()};
  if (reader.ran_out() || reader.left() != 0 || !is_sane(parsed)) return std::nullopt;
  return parsed;
}

Properties least_properties(Dialect dialect) {
  Properties least;
  if (dialect == Dialect::opal) return least;
  least.com_packet_bytes_max = least.response_bytes_max = 1024;
  least.packet_bytes_max = 1004;
  least.token_bytes_max = 968;
  return least;
}

void write_properties_call(Dialect dialect, TokenWriter& out) {
  Words::begin(kSessionManager, method::kProperties, out);
  out.control(Control::start_name);
  Words(dialect).name(kHostProperties, out);
  out.value(
      list({named(text("MaxComPacketSize"), number(kComPacketBytesMax)),
            named(text("MaxPacketSize"), number(kComPacketBytesMax - kComHeader)),
            named(text("MaxIndTokenSize"), number(kComPacketBytesMax - kComHeader - kInnerHeaders)),
            named(text("MaxPackets"), number(1)), named(text("MaxSubpackets"), number(1)),
            named(text("MaxMethods"), number(1))}));
  out.control(Control::end_name);
  Words::end(out);
}

std::optional<PropertiesAnswer> parse_properties(Dialect dialect, ByteView tokens) {
  const Result<MethodAnswer> answer = parse_method_answer(tokens);
  if (!answer || answer->status != 0 || answer->called != method::kProperties ||
      answer->results.empty() || answer->results[0].as_list() == nullptr)
    return std::nullopt;
  PropertiesAnswer told;
  told.tper = take_tper(*answer->results[0].as_list(), dialect);
  if (!is_sane(told.tper)) return std::nullopt;
  // The drive repeats what it took of ours, which is never less than the least (Core 5.2.2.3);
  // without that it took nothing.
  const std::uint32_t least = least_properties(dialect).com_packet_bytes_max;
  std::uint32_t repeated = least;
  const Value* host = answer->results.size() > 1 ? answer->results[1].value() : nullptr;
  if (host != nullptr && host->as_list() != nullptr)
    repeated = std::max(find(*host->as_list(), "MaxComPacketSize").value_or(least), least);
  told.host_com_packet_bytes_max =
      std::min({repeated, told.tper.response_bytes_max, kComPacketBytesMax});
  return told;
}

}  // namespace keyward::sed::tcg
