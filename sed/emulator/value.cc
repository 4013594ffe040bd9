#include "sed/emulator/value.h"

#include <algorithm>

#include "base/text.h"

namespace keyward::sed::emulator {
namespace {

// Deeper lists occur in no method; a bound keeps a hostile stream off the stack.
constexpr int kDepthMax = 16;

void append_big_endian(std::uint64_t value, std::size_t size, Bytes& out) {
  for (std::size_t n = size; n-- > 0;) out.push_back(static_cast<std::byte>(value >> (8 * n)));
}

std::uint64_t big_endian(ByteView bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | std::to_integer<std::uint64_t>(byte);
  return value;
}

void append_number(std::uint64_t value, Bytes& out) {
  if (value < 0x40) return out.push_back(static_cast<std::byte>(value));
  std::size_t size = 1;
  while (size < 8 && value >> (8 * size) != 0) ++size;
  out.push_back(static_cast<std::byte>(0x80 | size));
  append_big_endian(value, size, out);
}

void append_negative(std::uint64_t value, Bytes& out) {
  out.push_back(std::byte{0x98});
  append_big_endian(value, 8, out);
}

void append_bytes(ByteView value, Bytes& out) {
  const std::size_t size = value.size();
  if (size < 0x10) {
    out.push_back(static_cast<std::byte>(0xA0 | size));
  } else if (size < 0x800) {
    append_big_endian(0xD000 | size, 2, out);
  } else {
    append_big_endian(0xE2000000 | size, 4, out);
  }
  out.insert(out.end(), value.begin(), value.end());
}

}  // namespace

std::optional<Uid> Value::uid() const {
  if (kind != Kind::bytes || bytes.size() != 8) return std::nullopt;
  return big_endian(bytes);
}

std::optional<bool> Value::boolean() const {
  if (kind != Kind::number || number > 1) return std::nullopt;
  return number == 1;
}

bool Value::is_text(std::string_view text) const {
  return kind == Kind::bytes && std::ranges::equal(bytes, as_bytes(text));
}

Value number(std::uint64_t value) { return {.number = value}; }

Value bytes(ByteView value) {
  return {.kind = Value::Kind::bytes, .bytes = Bytes(value.begin(), value.end())};
}

Value text(std::string_view value) { return bytes(as_bytes(value)); }

Value uid_value(Uid uid) {
  Value value{.kind = Value::Kind::bytes};
  append_big_endian(uid, 8, value.bytes);
  return value;
}

Value list(std::vector<Value> items) {
  return {.kind = Value::Kind::list, .items = std::move(items)};
}

Value named(Value name, Value value) {
  Value pair{.kind = Value::Kind::named};
  pair.items.push_back(std::move(name));
  pair.items.push_back(std::move(value));
  return pair;
}

Value named(std::uint64_t name, Value value) { return named(number(name), std::move(value)); }

void append_tokens(const Value& value, Bytes& out) {
  switch (value.kind) {
    case Value::Kind::number:
      return append_number(value.number, out);
    case Value::Kind::negative:
      return append_negative(value.number, out);
    case Value::Kind::bytes:
      return append_bytes(value.bytes, out);
    case Value::Kind::list:
    case Value::Kind::named:
      append_control(value.is_list() ? kStartList : kStartName, out);
      for (const Value& item : value.items) append_tokens(item, out);
      append_control(value.is_list() ? kEndList : kEndName, out);
  }
}

struct TokenReader::Atom {
  bool is_bytes;
  bool sign_or_continued;
  ByteView data;
};

void TokenReader::skip_empty() {
  while (!rest_.empty() && rest_[0] == std::byte{kEmptyAtom}) rest_ = rest_.subspan(1);
}

bool TokenReader::at_end() {
  skip_empty();
  return rest_.empty();
}

std::optional<Control> TokenReader::peek_control() {
  if (at_end() || rest_[0] < std::byte{kStartList}) return std::nullopt;
  return static_cast<Control>(rest_[0]);
}

bool TokenReader::take(Control control) {
  if (peek_control() != control) return false;
  rest_ = rest_.subspan(1);
  return true;
}

std::optional<Value> TokenReader::value() { return value(0); }

std::optional<Value> TokenReader::value(int depth) {
  if (depth > kDepthMax || at_end()) return std::nullopt;
  if (take(kStartList)) return sequence(kEndList, depth);
  if (take(kStartName)) {
    std::optional<Value> pair = sequence(kEndName, depth);
    if (!pair || pair->items.size() != 2) return std::nullopt;
    const Value& name = pair->name();
    if (name.is_list() || name.is_named()) return std::nullopt;
    return pair;
  }
  return atom();
}

std::optional<Value> TokenReader::sequence(Control end, int depth) {
  Value sequence{.kind = end == kEndList ? Value::Kind::list : Value::Kind::named};
  while (!take(end)) {
    std::optional<Value> item = value(depth + 1);
    if (!item) return std::nullopt;
    sequence.items.push_back(std::move(*item));
  }
  return sequence;
}

// The header says whether it is a byte string, and how many bytes follow (Core 3.2.2.3.1).
std::optional<TokenReader::Atom> TokenReader::one_atom() {
  if (rest_.empty()) return std::nullopt;
  const auto first = std::to_integer<unsigned>(rest_[0]);
  std::size_t header = 1;
  std::size_t size = 0;
  Atom atom{};
  if (first < 0x80) {
    atom = {false, (first & 0x40) != 0, rest_.first(1)};
    rest_ = rest_.subspan(1);
    return atom;
  }
  if (first < 0xC0) {
    atom.is_bytes = (first & 0x20) != 0;
    atom.sign_or_continued = (first & 0x10) != 0;
    size = first & 0x0F;
  } else if (first < 0xE0 && rest_.size() >= 2) {
    header = 2;
    atom.is_bytes = (first & 0x10) != 0;
    atom.sign_or_continued = (first & 0x08) != 0;
    size = big_endian(rest_.first(2)) & 0x7FF;
  } else if (first >= 0xE0 && first < 0xE4 && rest_.size() >= 4) {
    header = 4;
    atom.is_bytes = (first & 0x02) != 0;
    atom.sign_or_continued = (first & 0x01) != 0;
    size = big_endian(rest_.subspan(1, 3));
  } else {
    return std::nullopt;
  }
  if (rest_.size() - header < size) return std::nullopt;
  atom.data = rest_.subspan(header, size);
  rest_ = rest_.subspan(header + size);
  return atom;
}

std::optional<Value> TokenReader::atom() {
  const bool tiny = !rest_.empty() && rest_[0] < std::byte{0x80};
  std::optional<Atom> part = one_atom();
  if (!part) return std::nullopt;
  if (part->is_bytes) {
    Value value{.kind = Value::Kind::bytes};
    value.bytes.assign(part->data.begin(), part->data.end());
    while (part->sign_or_continued) {  // The next atom goes on where this one ends.
      part = one_atom();
      if (!part || !part->is_bytes) return std::nullopt;
      value.bytes.insert(value.bytes.end(), part->data.begin(), part->data.end());
    }
    return value;
  }
  if (tiny) {
    const std::uint64_t low = big_endian(part->data) & 0x3F;
    if (!part->sign_or_continued) return emulator::number(low);
    const std::uint64_t extended = (low & 0x20) != 0 ? low | ~std::uint64_t{0x3F} : low;
    return Value{.kind = Value::Kind::negative, .number = extended};
  }
  if (part->data.empty() || part->data.size() > 16) return std::nullopt;
  const std::size_t high = part->data.size() > 8 ? part->data.size() - 8 : 0;
  // No column of these SPs is wider than 64 bits.
  if (big_endian(part->data.first(high)) != 0) return std::nullopt;
  Value value = emulator::number(big_endian(part->data.subspan(high)));
  if (part->sign_or_continued) {
    value.kind = Value::Kind::negative;
    const std::size_t size = part->data.size() - high;
    if (size < 8 && (part->data[high] & std::byte{0x80}) != std::byte{0})
      value.number |= ~std::uint64_t{0} << (8 * size);
  }
  return value;
}

}  // namespace keyward::sed::emulator
