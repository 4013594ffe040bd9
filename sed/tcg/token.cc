#include "sed/tcg/token.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "sed/tcg/byte_reader.h"

namespace keyward::sed::tcg {
namespace {

// No method nests deeper; a bound keeps a hostile stream off the stack.
constexpr int kDepthMax = 16;
// A table's Next may answer with some thousand UIDs; nothing answers with more.
constexpr std::size_t kValuesMax = 65536;

std::uint64_t big_endian(ByteView bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | std::to_integer<std::uint64_t>(byte);
  return value;
}

}  // namespace

TokenWriter& TokenWriter::control(Control control) {
  tokens_.push_back(static_cast<std::byte>(control));
  return *this;
}

TokenWriter& TokenWriter::number(std::uint64_t value) {
  if (value < 0x40) {
    tokens_.push_back(static_cast<std::byte>(value));
    return *this;
  }
  std::size_t size = 1;
  while (size < 8 && value >> (8 * size) != 0) ++size;
  tokens_.push_back(static_cast<std::byte>(0x80 | size));
  append_big_endian(value, size, tokens_);
  return *this;
}

void TokenWriter::negative(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= -32 && value < 32) {
    tokens_.push_back(static_cast<std::byte>(0x40 | (bits & 0x3F)));
    return;
  }
  std::size_t size = 1;
  const auto fits = [&] {
    const std::int64_t limit = std::int64_t{1} << (8 * size - 1);
    return value >= -limit && value < limit;
  };
  while (size < 8 && !fits()) ++size;
  tokens_.push_back(static_cast<std::byte>(0x90 | size));
  append_big_endian(bits, size, tokens_);
}

void TokenWriter::byte_string_header(std::size_t size) {
  CHECK(size <= kTokenBytesMax, "a byte string is longer than a token");
  if (size < 0x10)
    append_big_endian(0xA0 | size, 1, tokens_);
  else if (size < 0x800)
    append_big_endian(0xD000 | size, 2, tokens_);
  else
    append_big_endian(0xE2000000 | size, 4, tokens_);
}

TokenWriter& TokenWriter::bytes(ByteView value) {
  byte_string_header(value.size());
  tokens_.insert(tokens_.end(), value.begin(), value.end());
  return *this;
}

TokenWriter& TokenWriter::secret(const SecretBytes& secret) {
  byte_string_header(secret.size());
  secrets_.push_back({tokens_.size(), &secret});
  secret_bytes_ += secret.size();
  return *this;
}

TokenWriter& TokenWriter::value(const Value& value) {
  if (const auto* items = std::get_if<List>(&value.data)) {
    control(value.named ? Control::start_name : Control::start_list);
    for (const Value& item : *items) this->value(item);
    return control(value.named ? Control::end_name : Control::end_list);
  }
  if (const auto* content = std::get_if<Bytes>(&value.data)) return bytes(*content);
  if (const auto* signed_number = std::get_if<std::int64_t>(&value.data)) {
    negative(*signed_number);
    return *this;
  }
  return number(std::get<std::uint64_t>(value.data));
}

void TokenWriter::copy_to(MutableByteView out) const {
  CHECK(out.size() >= size(), "a buffer is too small for its tokens");
  auto to = out.begin();
  std::size_t done = 0;
  for (const Splice& splice : secrets_) {
    to = std::ranges::copy(ByteView(tokens_).subspan(done, splice.at - done), to).out;
    to = std::ranges::copy(splice.secret->reveal(), to).out;
    done = splice.at;
  }
  std::ranges::copy(ByteView(tokens_).subspan(done), to);
}

// Core 3.2.2.3.1: the header says whether it is a byte string, whether it is signed (a number) or
// goes on in the next atom (a byte string), and how many bytes follow.
struct TokenReader::Atom {
  bool tiny = false;
  bool is_bytes = false;
  bool sign_or_continued = false;
  ByteView data{};
};

std::unexpected<Error> TokenReader::malformed(const char* what) const {
  return fail(ErrorCode::protocol,
              fmt::format("the drive's answer is malformed: {} at byte {} of {}", what,
                          all_.size() - rest_.size(), all_.size()));
}

void TokenReader::skip_empty() {
  while (!rest_.empty() && rest_[0] == static_cast<std::byte>(Control::empty_atom))
    rest_ = rest_.subspan(1);
}

bool TokenReader::at_end() {
  skip_empty();
  return rest_.empty();
}

bool TokenReader::take(Control control) {
  if (at_end() || rest_[0] != static_cast<std::byte>(control)) return false;
  rest_ = rest_.subspan(1);
  return true;
}

Result<Value> TokenReader::value(int depth) {
  if (depth > kDepthMax) return malformed("too many lists within lists");
  if (++values_ > kValuesMax) return malformed("too many values");
  if (take(Control::start_list)) return Value{.data = TRY(sequence(Control::end_list, depth))};
  if (!take(Control::start_name)) return atom();
  List pair = TRY(sequence(Control::end_name, depth));
  if (pair.size() != 2 || std::holds_alternative<List>(pair[0].data))
    return malformed("no name with one value");
  return Value{.data = std::move(pair), .named = true};
}

Result<List> TokenReader::sequence(Control end, int depth) {
  List items;
  while (!take(end)) items.push_back(TRY(value(depth + 1)));
  return items;
}

Result<TokenReader::Atom> TokenReader::one_atom() {
  if (at_end()) return malformed("the end comes too early");
  const auto first = std::to_integer<unsigned>(rest_[0]);
  Atom atom;
  std::size_t header = 1;
  std::size_t size = 0;
  if (first < 0x80) {
    atom = {true, false, (first & 0x40) != 0, rest_.first(1)};
    rest_ = rest_.subspan(1);
    return atom;
  }
  if (first < 0xC0) {
    atom.is_bytes = (first & 0x20) != 0;
    atom.sign_or_continued = (first & 0x10) != 0;
    size = first & 0x0F;
  } else if (first < 0xE0) {
    header = 2;
    if (rest_.size() < header) return malformed("a header that is cut off");
    atom.is_bytes = (first & 0x10) != 0;
    atom.sign_or_continued = (first & 0x08) != 0;
    size = static_cast<std::size_t>(big_endian(rest_.first(2)) & 0x7FF);
  } else if (first < 0xE4) {
    header = 4;
    if (rest_.size() < header) return malformed("a header that is cut off");
    atom.is_bytes = (first & 0x02) != 0;
    atom.sign_or_continued = (first & 0x01) != 0;
    size = static_cast<std::size_t>(big_endian(rest_.subspan(1, 3)));
  } else {
    return malformed("no value");
  }
  if (rest_.size() - header < size) return malformed("an atom that is cut off");
  atom.data = rest_.subspan(header, size);
  rest_ = rest_.subspan(header + size);
  return atom;
}

Result<Value> TokenReader::atom() {
  const Atom atom = TRY(one_atom());
  return atom.is_bytes ? byte_string(atom) : integer(atom);
}

Result<Value> TokenReader::byte_string(Atom first) {
  Bytes content(first.data.begin(), first.data.end());
  while (first.sign_or_continued) {
    first = TRY(one_atom());
    if (!first.is_bytes) return malformed("a byte string that does not go on");
    content.insert(content.end(), first.data.begin(), first.data.end());
  }
  return Value{.data = std::move(content)};
}

Result<Value> TokenReader::integer(const Atom& atom) const {
  if (atom.tiny) {
    const std::uint64_t low = big_endian(atom.data) & 0x3F;
    if (!atom.sign_or_continued) return Value{.data = low};
    return Value{.data = static_cast<std::int64_t>(low) - ((low & 0x20) != 0 ? 0x40 : 0)};
  }
  if (atom.data.empty()) return malformed("a number without bytes");
  const std::size_t over = atom.data.size() > 8 ? atom.data.size() - 8 : 0;
  const std::uint64_t low = big_endian(atom.data.subspan(over));
  const bool minus = atom.sign_or_continued && (atom.data[0] & std::byte{0x80}) != std::byte{0};
  const auto filler = minus ? std::byte{0xFF} : std::byte{0};
  if (std::ranges::any_of(atom.data.first(over), [&](std::byte b) { return b != filler; }))
    return malformed("a number of more than 64 bits");
  if (!atom.sign_or_continued) return Value{.data = low};
  const std::size_t bits = 8 * (atom.data.size() - over);
  const std::uint64_t extended = minus && bits < 64 ? low | ~std::uint64_t{0} << bits : low;
  if (over != 0 && (extended >> 63 != 0) != minus)
    return malformed("a number of more than 64 bits");
  return Value{.data = static_cast<std::int64_t>(extended)};
}

}  // namespace keyward::sed::tcg
