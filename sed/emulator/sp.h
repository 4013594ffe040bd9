// An Sp is one security provider: its rows, and who may do what with them.
//
//   const Grant grant = sp.grant(authenticated, uid::kPinSid, method::kSet);
//   if (!grant.any) return Status::not_authorized;
//   sp.cell(uid::kPinSid, column::kTries)->number = 0;
//
// A plain value: a transaction works on a copy. The access control list does not change, and copies
// share it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "sed/emulator/uid.h"
#include "sed/emulator/value.h"

namespace keyward::sed::emulator {

using Row = std::map<std::uint32_t, Value>;  // By column number.

enum class CellType : std::uint8_t {
  opaque,  // Never set by a method.
  boolean,
  number,
  name,  // Up to 32 bytes.
  pin,   // Up to 32 bytes.
  resets,
  expression,
};

struct Column {
  std::uint32_t number;
  std::string_view name;
  CellType type;
};

// Empty for a table that the emulator does not know.
std::span<const Column> columns_of(std::uint32_t table);

// What the satisfied ACEs of one association allow together.
struct Grant {
  bool any = false;
  bool all_columns = false;
  std::set<std::uint32_t> columns{};

  bool covers(std::uint32_t column) const { return all_columns || columns.contains(column); }
};

using Authorities = std::set<Uid>;
using Association = std::pair<Uid, Uid>;  // InvokingID, MethodID.

struct AccessControl {
  std::map<Association, std::vector<Uid>> aces;
  std::map<Uid, std::uint64_t> byte_tables;  // Sizes in bytes.
};

struct Sp {
  Uid uid = 0;
  std::map<Uid, Row> rows{};
  std::map<Uid, Bytes> media_keys{};  // By the UID of the K_AES_256 row. The Locking SP has them.
  std::shared_ptr<const AccessControl> access{};

  // Null when there is no such row or cell.
  Value* cell(Uid row, std::uint32_t column);
  const Value* cell(Uid row, std::uint32_t column) const;
  // The cell's number, 0 when it is missing.
  std::uint64_t number_at(Uid row, std::uint32_t column) const;

  Grant grant(const Authorities& authenticated, Uid invoking, Uid method) const;
  bool satisfies(const Authorities& authenticated, Uid ace) const;
  // An authority, or a class that one of the authenticated is a member of.
  bool holds(const Authorities& authenticated, Uid authority) const;
  // Reverse Polish, of authorities of this SP, with AND, OR and NOT (Core 5.1.3.3).
  bool is_expression(const Value& expression) const;
};

}  // namespace keyward::sed::emulator
