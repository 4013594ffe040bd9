#include "sed/emulator/wire_host_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace keyward::sed::wire {
namespace {

std::string be(std::uint64_t value, int size) {
  std::string out;
  for (int n = size - 1; n >= 0; --n) out += n < 8 ? static_cast<char>(value >> (8 * n)) : '\0';
  return out;
}

std::uint64_t read_be(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t n = 0; n < size; ++n)
    value = value << 8 | static_cast<unsigned char>(bytes[at + n]);
  return value;
}

std::string wrap(char begin, const std::string& inner, char end) { return begin + inner + end; }

// Flat; what it cannot read ends the list.
std::vector<Token> read_tokens(std::string_view s) {
  std::vector<Token> tokens;
  for (std::size_t at = 0; at < s.size();) {
    const auto head = static_cast<unsigned char>(s[at++]);
    std::size_t size = 0;
    bool is_bytes = false;
    if (head >= 0xF0) {
      tokens.push_back({.control = head});
      continue;
    }
    if (head < 0x40) {
      tokens.push_back({.number = head});
      continue;
    }
    if (head >= 0x80 && head < 0xC0) {
      is_bytes = (head & 0x20) != 0;
      size = head & 0x0F;
    } else if (head >= 0xD0 && head < 0xE0) {
      is_bytes = true;
      size = (head & 7u) << 8 | static_cast<unsigned char>(s[at++]);
    } else if (head == 0xE2) {
      is_bytes = true;
      size = read_be(s, at, 3);
      at += 3;
    } else {
      break;
    }
    if (at + size > s.size()) break;
    const std::string_view data = s.substr(at, size);
    tokens.push_back({.is_bytes = is_bytes,
                      .number = is_bytes ? 0 : read_be(data, 0, size),
                      .bytes = std::string(is_bytes ? data : "")});
    at += size;
  }
  return tokens;
}

template <typename Matches>
std::optional<Token> find_cell(const std::vector<Token>& tokens, Matches matches) {
  for (std::size_t n = 0; n + 2 < tokens.size(); ++n)
    if (tokens[n].control == 0xF2 && tokens[n + 1].control == 0 && matches(tokens[n + 1]))
      return tokens[n + 2];
  return std::nullopt;
}

}  // namespace

Tokens num(std::uint64_t value) {
  if (value < 0x40) return std::string(1, static_cast<char>(value));
  int size = 8;
  while (size > 1 && value >> (8 * (size - 1)) == 0) --size;
  return static_cast<char>(0x80 + size) + be(value, size);
}

Tokens tok(std::string_view bytes) {
  const std::size_t size = bytes.size();
  std::string head;
  if (size < 16)
    head = std::string(1, static_cast<char>(0xA0 + size));
  else if (size < 2048)
    head = be(0xD000 + size, 2);
  else
    head = be(0xE2000000 + size, 4);
  return head + std::string(bytes);
}

Tokens uid(std::uint64_t value) { return tok(be(value, 8)); }
Tokens lst(const Tokens& items) { return wrap('\xF0', items, '\xF1'); }
Tokens nam(const Tokens& name, const Tokens& value) { return wrap('\xF2', name + value, '\xF3'); }

Tokens call(std::uint64_t invoking, std::uint64_t method, const Tokens& parameters) {
  return '\xF8' + uid(invoking) + uid(method) + lst(parameters) + '\xF9' +
         lst(num(0) + num(0) + num(0));
}

std::optional<Token> Reply::cell(std::uint64_t column) const {
  return find_cell(tokens, [&](const Token& t) { return !t.is_bytes && t.number == column; });
}

std::optional<Token> Reply::cell(std::string_view column) const {
  return find_cell(tokens, [&](const Token& t) { return t.is_bytes && t.bytes == column; });
}

std::size_t Reply::atoms() const {
  return static_cast<std::size_t>(std::ranges::count(tokens, 0, &Token::control));
}

bool Reply::is_call_of(std::uint64_t method) const {
  return tokens.size() > 2 && tokens[0].control == 0xF8 && tokens[2].bytes == be(method, 8);
}

WireHost::WireHost(EmulatedDrive& drive)
    : drive_(drive), com_id_(drive.options().family == Family::enterprise ? 0x07FE : 0x1000) {}

std::string WireHost::envelope(const Tokens& tokens, std::uint32_t tsn, std::uint32_t hsn) const {
  const std::string pad((4 - tokens.size() % 4) % 4, '\0');
  const std::string sub = be(0, 8) + be(tokens.size(), 4) + tokens + pad;
  const std::string packet = be(tsn, 4) + be(hsn, 4) + be(0, 12) + be(sub.size(), 4) + sub;
  return be(0, 4) + be(com_id_, 2) + be(0, 10) + be(packet.size(), 4) + packet;
}

BusStatus WireHost::send_raw(const std::string& com_packet) {
  return drive_.security_send(1, com_id_, std::as_bytes(std::span(com_packet)));
}

Reply WireHost::fetch(std::size_t buffer) {
  std::string raw(buffer, '\xEE');
  EXPECT_EQ(drive_.security_receive(1, com_id_, std::as_writable_bytes(std::span(raw))),
            BusStatus::good);
  Reply reply;
  EXPECT_EQ(read_be(raw, 4, 2), com_id_);
  reply.outstanding = static_cast<std::uint32_t>(read_be(raw, 8, 4));
  reply.min_transfer = static_cast<std::uint32_t>(read_be(raw, 12, 4));
  const std::uint64_t length = read_be(raw, 16, 4);
  reply.empty = length == 0;
  if (reply.empty) return reply;
  reply.tper_session = static_cast<std::uint32_t>(read_be(raw, 20, 4));
  reply.host_session = static_cast<std::uint32_t>(read_be(raw, 24, 4));
  EXPECT_EQ(length, 24 + read_be(raw, 40, 4));
  const std::uint64_t size = read_be(raw, 52, 4);
  EXPECT_EQ(read_be(raw, 40, 4), 12 + (size + 3) / 4 * 4);
  reply.payload = raw.substr(56, size);
  reply.tokens = read_tokens(reply.payload);
  const std::size_t count = reply.tokens.size();
  if (count >= 6 && reply.tokens[count - 6].control == 0xF9)
    reply.status = static_cast<int>(reply.tokens[count - 4].number);
  return reply;
}

Reply WireHost::control(const Tokens& tokens) {
  EXPECT_EQ(send_raw(envelope(tokens, 0, 0)), BusStatus::good);
  return fetch();
}

Reply WireHost::stream(const Tokens& tokens) {
  EXPECT_EQ(send_raw(envelope(tokens, tsn_, hsn_)), BusStatus::good);
  return fetch();
}

Reply WireHost::start(std::uint64_t sp, const StartOptions& options) {
  const bool enterprise = drive_.options().family == Family::enterprise;
  const auto name = [&](std::uint64_t number, std::string_view text) {
    return enterprise ? tok(text) : num(number);
  };
  Tokens parameters = num(hsn_) + uid(sp) + num(options.write ? 1 : 0);
  if (options.authority != 0 && !options.pin.empty())
    parameters += nam(name(0, "HostChallenge"), tok(options.pin));
  if (options.authority != 0)
    parameters += nam(name(3, "HostSigningAuthority"), uid(options.authority));
  Reply reply = control(call(0xFF, 0xFF02, parameters + options.more));
  tsn_ = 0;
  if (reply.status == 0 && reply.tokens.size() > 5)
    tsn_ = static_cast<std::uint32_t>(reply.tokens[5].number);
  return reply;
}

Reply WireHost::end() { return stream("\xFA"); }

Reply WireHost::invoke(std::uint64_t object, std::uint64_t method, const Tokens& parameters) {
  return stream(call(object, 0x0000000600000000 + method, parameters));
}

Reply WireHost::get(std::uint64_t object, std::uint64_t first, std::uint64_t last) {
  return invoke(object, 0x16, lst(nam(3, num(first)) + nam(4, num(last))));
}

Reply WireHost::set(std::uint64_t object, std::uint64_t column, const Tokens& value) {
  return set_row(object, nam(column, value));
}

Reply WireHost::set_row(std::uint64_t object, const Tokens& pairs) {
  return invoke(object, 0x17, nam(1, lst(pairs)));
}

std::string WireHost::msid() {
  start(0x0000020500000001);
  const Reply reply = get(0x0000000B00008402, 3, 3);
  end();
  return reply.cell(3).value_or(Token{}).bytes;
}

// Bytes as sedutil 1.20 sends them, so that the test's own encoder is not taken on trust.
TEST(WireHostTest, AStartSessionIsWhatToolsOfTheFieldSend) {
  const Tokens expected(
      "\xF8\xA8\x00\x00\x00\x00\x00\x00\x00\xFF\xA8\x00\x00\x00\x00\x00\x00\xFF\x02"
      "\xF0\x81\x69\xA8\x00\x00\x02\x05\x00\x00\x00\x01\x01\xF1\xF9\xF0\x00\x00\x00\xF1",
      39);
  EXPECT_EQ(call(0xFF, 0xFF02, num(0x69) + uid(0x0000020500000001) + num(1)), expected);
}

}  // namespace keyward::sed::wire
