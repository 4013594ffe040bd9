// Values of the TCG Storage Core specification: UIDs, columns and cells. Pure; token.h encodes
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace keyward::sed::tcg {

using Uid = std::array<std::byte, 8>;

// "Uid" from its 64 bits, as the specifications print them: uid(0x0000'0205'0000'0002).
constexpr Uid uid(std::uint64_t bits) {
  Uid out{};
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<std::byte>(bits >> (8 * (out.size() - 1 - i)));
  return out;
}

// One value of a method's arguments or results: a number, a byte string, a list, or a named value.
struct Value;
using List = std::vector<Value>;

struct Value {
  // A named value is a list of two with `named` set: name and value.
  std::variant<std::uint64_t, std::int64_t, Bytes, List> data;
  bool named = false;

  bool operator==(const Value&) const = default;
};

using Cell = std::variant<std::uint64_t, Bytes, List>;  // A boolean is 0 or 1.
using Row = std::map<std::uint32_t, Cell>;              // By column number.

struct Columns {
  std::uint32_t first;
  std::uint32_t last;
};

}  // namespace keyward::sed::tcg
