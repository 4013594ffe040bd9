// Values of the TCG Storage Core specification: UIDs, columns and cells. Pure; token.h encodes
// them.
//
//   List arguments = {number(1), named(number(3), bytes(name)), list({})};
//   if (const std::uint64_t* answer = results[0].as_number()) …
//   std::optional<std::uint64_t> tries = number_in(row, column::pin::kTries);
//
// None of these holds a PIN: Session takes those as SecretBytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
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

  // Null when it is of another kind. A named value is none of them.
  const std::uint64_t* as_number() const { return std::get_if<std::uint64_t>(&data); }
  const Bytes* as_bytes() const { return std::get_if<Bytes>(&data); }
  const List* as_list() const { return named ? nullptr : std::get_if<List>(&data); }
  // Null unless it is a named value.
  const Value* name() const { return named ? &std::get<List>(data)[0] : nullptr; }
  const Value* value() const { return named ? &std::get<List>(data)[1] : nullptr; }
};

inline Value number(std::uint64_t value) { return {.data = value}; }
inline Value bytes(ByteView value) { return {.data = Bytes(value.begin(), value.end())}; }
inline Value text(std::string_view value) {
  return bytes(std::as_bytes(std::span(value.data(), value.size())));
}
inline Value list(List items) { return {.data = std::move(items)}; }
inline Value named(Value name, Value value) {
  List pair;
  pair.push_back(std::move(name));
  pair.push_back(std::move(value));
  return {.data = std::move(pair), .named = true};
}
inline Value named(std::uint64_t name, Value value) {
  return named(number(name), std::move(value));
}

using Cell = std::variant<std::uint64_t, Bytes, List>;  // A boolean is 0 or 1.
using Row = std::map<std::uint32_t, Cell>;              // By column number.

struct Columns {
  std::uint32_t first;
  std::uint32_t last;
};

// None or null when the cell is absent, or of another kind.
inline std::optional<std::uint64_t> number_in(const Row& row, std::uint32_t column) {
  const auto found = row.find(column);
  const auto* value = found == row.end() ? nullptr : std::get_if<std::uint64_t>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}
inline const Bytes* bytes_in(const Row& row, std::uint32_t column) {
  const auto found = row.find(column);
  return found == row.end() ? nullptr : std::get_if<Bytes>(&found->second);
}
inline const List* list_in(const Row& row, std::uint32_t column) {
  const auto found = row.find(column);
  return found == row.end() ? nullptr : std::get_if<List>(&found->second);
}

}  // namespace keyward::sed::tcg
