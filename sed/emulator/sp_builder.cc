#include "sed/emulator/sp_builder.h"

#include <utility>

namespace keyward::sed::emulator {
namespace {

constexpr std::uint64_t kKindObject = 1;
constexpr std::uint64_t kKindByte = 2;
constexpr std::uint64_t kOperationNone = 0;
constexpr std::uint64_t kOperationPassword = 1;

// A typed element of a boolean expression: the type's half-UID names it.
Value element(std::uint32_t half_uid, Value value) {
  const Bytes name = {std::byte{0}, std::byte{0}, static_cast<std::byte>(half_uid >> 8),
                      static_cast<std::byte>(half_uid)};
  return named(bytes(name), std::move(value));
}

}  // namespace

Value boolean_value(bool value) { return number(value ? 1 : 0); }

Value reset_list(std::initializer_list<Reset> resets) {
  Value result = list({});
  for (const Reset reset : resets)
    result.items.push_back(number(static_cast<std::uint64_t>(reset)));
  return result;
}

Row ace_row(Uid uid, std::string_view name, std::initializer_list<Uid> any_of,
            std::initializer_list<std::uint32_t> columns) {
  Value expression = list({});
  for (const Uid authority : any_of) {
    const bool first = expression.items.empty();
    expression.items.push_back(element(0x0C05, uid_value(authority)));
    if (!first) expression.items.push_back(element(0x040E, number(1)));
  }
  Value column_list = list({});
  for (const std::uint32_t column : columns) column_list.items.push_back(number(column));
  return {{column::kUid, uid_value(uid)},
          {1, text(name)},
          {3, std::move(expression)},
          {4, std::move(column_list)}};
}

SpBuilder::SpBuilder(Uid sp) { sp_.uid = sp; }

void SpBuilder::row(Uid uid, Row cells) {
  cells.emplace(column::kUid, uid_value(uid));
  sp_.rows[uid] = std::move(cells);
}

void SpBuilder::object_table(std::uint32_t table, std::string_view name) {
  const Uid uid = make_uid(table::kTable, table);
  row(uid, {{1, text(name)},
            {4, number(kKindObject)},
            {6, number(columns_of(table).size())},
            {13, number(0)},
            {14, number(0)}});
  allow(uid, method::kGet, {uid::kAceAnybody});
  allow(make_uid(table, 0), method::kNext, {uid::kAceAnybody});
}

void SpBuilder::byte_table(Uid table, std::string_view name, std::uint64_t size) {
  const Uid uid = make_uid(table::kTable, table_of(table));
  row(uid, {{1, text(name)},
            {4, number(kKindByte)},
            {6, number(1)},
            {7, number(size)},
            {13, number(1)},
            {14, number(1)}});
  allow(uid, method::kGet, {uid::kAceAnybody});
  access_.byte_tables[table] = size;
}

void SpBuilder::methods(std::initializer_list<std::pair<Uid, std::string_view>> methods) {
  for (const auto& [uid, name] : methods) {
    row(uid, {{1, text(name)}});
    allow(uid, method::kGet, {uid::kAceAnybody});
  }
}

void SpBuilder::authority(Uid uid, std::string_view name, Uid group, bool enabled, Uid credential) {
  row(uid, {{1, text(name)},
            {2, text("")},
            {3, boolean_value(false)},
            {4, uid_value(group)},
            {5, boolean_value(enabled)},
            {6, number(0)},
            {7, number(0)},
            {8, boolean_value(false)},
            {9, number(credential == 0 ? kOperationNone : kOperationPassword)},
            {10, uid_value(credential)}});
}

void SpBuilder::authority_class(Uid uid, std::string_view name) {
  authority(uid, name, 0, true, 0);
  sp_.cell(uid, column::kIsClass)->number = 1;
}

void SpBuilder::pin(Uid uid, std::string_view name, ByteView value, const TryRule& rule) {
  row(uid, {{1, text(name)},
            {3, bytes(value)},
            {4, uid_value(0)},
            {5, number(rule.limit)},
            {6, number(0)},
            {7, boolean_value(rule.persistent)}});
}

void SpBuilder::ace(Uid uid, std::string_view name, std::initializer_list<Uid> any_of,
                    std::initializer_list<std::uint32_t> columns) {
  sp_.rows[uid] = ace_row(uid, name, any_of, columns);
}

void SpBuilder::allow(Uid invoking, Uid method, std::initializer_list<Uid> aces) {
  access_.aces[{invoking, method}] = aces;
}

Sp SpBuilder::finish() && {
  sp_.access = std::make_shared<const AccessControl>(std::move(access_));
  return std::move(sp_);
}

}  // namespace keyward::sed::emulator
