// Values of the TCG Storage Core specification, and their tokens (Core 3.2.2).
//
//   Value row = list({named(number(3), bytes(pin))});
//   Bytes stream;
//   append_tokens(row, stream);                  // F0 F2 03 A4 … F3 F1
//   TokenReader reader(stream);
//   std::optional<Value> again = reader.value();   // None: not well-formed.
//
// Cells of tables are kept as such values, so that Get answers what Set took. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace keyward::sed::emulator {

// A 64-bit name of an object, a table, a method: a byte string of 8 on the wire.
using Uid = std::uint64_t;

struct Value {
  enum class Kind : std::uint8_t { number, negative, bytes, list, named };

  Kind kind = Kind::number;
  std::uint64_t number = 0;  // `negative` holds the two's complement.
  Bytes bytes{};
  std::vector<Value> items{};  // Of a list; name and value of a named one.

  bool operator==(const Value&) const = default;

  bool is_number() const { return kind == Kind::number; }
  bool is_bytes() const { return kind == Kind::bytes; }
  bool is_list() const { return kind == Kind::list; }
  bool is_named() const { return kind == Kind::named; }
  const Value& name() const { return items[0]; }
  const Value& value() const { return items[1]; }
  // None when it is no byte string of 8.
  std::optional<Uid> uid() const;
  // None when it is no number of 0 or 1: booleans are numbers (Core 5.1.3).
  std::optional<bool> boolean() const;
  bool is_text(std::string_view text) const;
};

Value number(std::uint64_t value);
Value bytes(ByteView value);
Value text(std::string_view value);
Value uid_value(Uid uid);
Value list(std::vector<Value> items);
Value named(Value name, Value value);
Value named(std::uint64_t name, Value value);

enum Control : std::uint8_t {
  kStartList = 0xF0,
  kEndList = 0xF1,
  kStartName = 0xF2,
  kEndName = 0xF3,
  kCall = 0xF8,
  kEndOfData = 0xF9,
  kEndOfSession = 0xFA,
  kStartTransaction = 0xFB,
  kEndTransaction = 0xFC,
  kEmptyAtom = 0xFF,
};

// Always the shortest form.
void append_tokens(const Value& value, Bytes& out);
inline void append_control(Control control, Bytes& out) { out.push_back(std::byte{control}); }

// Reads tokens one after another. Longer forms than needed are taken, as the specification allows;
// whatever is cut off, reserved or out of place is not well-formed. Empty atoms are passed over.
class TokenReader final {
 public:
  explicit TokenReader(ByteView stream) : rest_(stream) {}

  bool at_end();
  // The control token that comes next, without taking it.
  std::optional<Control> peek_control();
  // True when it was next; takes it then.
  bool take(Control control);
  // One atom, list or named value.
  std::optional<Value> value();

 private:
  std::optional<Value> value(int depth);
  std::optional<Value> sequence(Control end, int depth);
  std::optional<Value> atom();
  struct Atom;
  std::optional<Atom> one_atom();
  void skip_empty();

  ByteView rest_;
};

}  // namespace keyward::sed::emulator
