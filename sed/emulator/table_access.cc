// Get and Set on objects and on byte tables: Core 5.3.3.6 and 5.3.3.7.
#include <algorithm>
#include <cstring>
#include <limits>

#include "sed/emulator/arguments.h"
#include "sed/emulator/methods.h"
#include "sed/emulator/ranges.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::size_t kNameBytesMax = 32;
constexpr std::size_t kPinBytesMax = 32;

MethodResult failed(Status status) { return {.status = status}; }

// The optional fields of a cell block, none of which has to be there.
struct CellBlock {
  const Value* start_row = nullptr;
  const Value* end_row = nullptr;
  const Value* start_column = nullptr;
  const Value* end_column = nullptr;
};

std::optional<CellBlock> parse_cell_block(const Value& value, Family family) {
  static constexpr std::string_view kNames[] = {"Table", "startRow", "endRow", "startColumn",
                                                "endColumn"};
  if (!value.is_list()) return std::nullopt;
  const auto fields = Arguments::parse(value.items, 0, family, kNames);
  // Table is for methods on several tables; these SSCs have none.
  if (!fields || fields->optional(0) != nullptr) return std::nullopt;
  return CellBlock{fields->optional(1), fields->optional(2), fields->optional(3),
                   fields->optional(4)};
}

// By number, or by name in Enterprise. None when the table has no such column.
const Column* find_column(std::uint32_t table, const Value& name, Family family) {
  for (const Column& column : columns_of(table)) {
    const bool matches = family == Family::enterprise
                             ? name.is_text(column.name)
                             : name.is_number() && name.number == column.number;
    if (matches) return &column;
  }
  return nullptr;
}

struct ColumnSpan {
  std::uint32_t first;
  std::uint32_t last;
};

std::optional<ColumnSpan> column_span(std::uint32_t table, const CellBlock& block, Family family) {
  ColumnSpan span{0, std::numeric_limits<std::uint32_t>::max()};
  for (const auto& [asked, bound] :
       {std::pair{block.start_column, &span.first}, std::pair{block.end_column, &span.last}}) {
    if (asked == nullptr) continue;
    const Column* column = find_column(table, *asked, family);
    if (column == nullptr) return std::nullopt;
    *bound = column->number;
  }
  if (span.first > span.last) return std::nullopt;
  return span;
}

// Sets are lists without repetitions. Every SSC asks for {power cycle}; Enterprise allows none.
bool is_reset_list(const Value& value, Family family) {
  if (!value.is_list()) return false;
  std::set<std::uint64_t> seen;
  for (const Value& item : value.items) {
    if (!item.is_number() || !seen.insert(item.number).second) return false;
    if (item.number != static_cast<std::uint64_t>(Reset::power_cycle) &&
        item.number != static_cast<std::uint64_t>(Reset::hardware) &&
        item.number != static_cast<std::uint64_t>(Reset::programmatic))
      return false;
  }
  return seen.contains(0) || (family == Family::enterprise && seen.empty());
}

bool type_fits(const Sp& sp, CellType type, const Value& value, Family family) {
  switch (type) {
    case CellType::boolean:
      return value.boolean().has_value();
    case CellType::number:
      return value.is_number();
    case CellType::name:
      return value.is_bytes() && value.bytes.size() <= kNameBytesMax;
    case CellType::pin:
      return value.is_bytes() && value.bytes.size() <= kPinBytesMax;
    case CellType::resets:
      return is_reset_list(value, family);
    case CellType::expression:
      return sp.is_expression(value);
    case CellType::opaque:
      break;
  }
  return false;
}

struct SetArguments {
  const Value* where = nullptr;
  const Value* values = nullptr;
};

// Opal: two optional names. Enterprise: two lists, of which the second holds the row in a list.
std::optional<SetArguments> parse_set(const Call& call, Family family) {
  static constexpr std::string_view kNames[] = {"Where", "Values"};
  SetArguments set;
  if (family != Family::enterprise) {
    const auto arguments = Arguments::parse(call.parameters, 0, family, kNames);
    if (!arguments) return std::nullopt;
    return SetArguments{arguments->optional(0), arguments->optional(1)};
  }
  if (call.parameters.size() != 2 || !call.parameters[0].is_list()) return std::nullopt;
  set.where = call.parameters[0].items.empty() ? nullptr : &call.parameters[0];
  set.values = &call.parameters[1];
  if (set.values->is_list()) {
    if (set.values->items.size() != 1 || !set.values->items[0].is_list()) return std::nullopt;
    set.values = &set.values->items[0];
  }
  return set;
}

// The row as it would be, or why not.
Status apply_values(const Surroundings& drive, const Sp& sp, Uid object, const Value& values,
                    const Grant& grant, Row& row) {
  const Family family = drive.options.family;
  std::set<std::uint32_t> seen;
  for (const Value& item : values.items) {
    if (!item.is_named()) return Status::invalid_parameter;
    const Column* column = find_column(table_of(object), item.name(), family);
    if (column == nullptr || !seen.insert(column->number).second) return Status::invalid_parameter;
    if (!grant.covers(column->number)) return Status::not_authorized;
    if (!type_fits(sp, column->type, item.value(), family)) return Status::invalid_parameter;
    row[column->number] = item.value();
  }
  if (seen.contains(column::kPin) && table_of(object) == table::kCPin)
    row[column::kTries] = number(0);
  if (table_of(object) == table::kLocking && !range_fits(sp, drive.options, object, row))
    return Status::invalid_parameter;
  if (object == uid::kMbrControl && drive.faults.shadow_mbr_stays &&
      sp.number_at(object, column::kMbrEnable) != 0)
    row[column::kMbrEnable] = number(1);
  return Status::success;
}

struct RowSpan {
  std::uint64_t first;
  std::uint64_t count;
};

std::optional<RowSpan> row_span(const CellBlock& block, std::uint64_t size) {
  if (block.start_column != nullptr || block.end_column != nullptr) return std::nullopt;
  std::uint64_t first = 0;
  std::uint64_t last = size - 1;
  if (block.start_row != nullptr) {
    if (!block.start_row->is_number()) return std::nullopt;
    first = block.start_row->number;
  }
  if (block.end_row != nullptr) {
    if (!block.end_row->is_number()) return std::nullopt;
    last = block.end_row->number;
  }
  if (first > last || last >= size) return std::nullopt;
  return RowSpan{first, last - first + 1};
}

// What a transaction has written lies over what the file holds.
void lay_over(const std::vector<TableWrite>& writes, Uid table, std::uint64_t offset,
              MutableByteView out) {
  for (const TableWrite& write : writes) {
    if (write.table != table) continue;
    if (write.data.empty()) {
      std::ranges::fill(out, std::byte{0});
      continue;
    }
    const std::uint64_t begin = std::max(write.offset, offset);
    const std::uint64_t end = std::min(write.offset + write.data.size(), offset + out.size());
    if (begin < end)
      std::memcpy(out.data() + (begin - offset), write.data.data() + (begin - write.offset),
                  static_cast<std::size_t>(end - begin));
  }
}

// Where of a byte table: the first row. None when it is no number.
std::optional<std::uint64_t> first_row(const Value* where, Family family) {
  if (where == nullptr) return 0;
  if (family != Family::enterprise)
    return where->is_number() ? std::optional(where->number) : std::nullopt;
  const auto block = parse_cell_block(*where, family);
  if (!block || (block->start_row != nullptr && !block->start_row->is_number()))
    return std::nullopt;
  return block->start_row == nullptr ? 0 : block->start_row->number;
}

}  // namespace

MethodResult get_cells(const Surroundings& drive, const Sp& sp, const Call& call,
                       const Grant& grant) {
  const Family family = drive.options.family;
  if (call.parameters.size() != 1) return failed(Status::invalid_parameter);
  const auto block = parse_cell_block(call.parameters[0], family);
  if (!block || block->start_row != nullptr || block->end_row != nullptr)
    return failed(Status::invalid_parameter);
  const std::uint32_t table = table_of(call.invoking);
  const auto span = column_span(table, *block, family);
  if (!span) return failed(Status::invalid_parameter);
  Value row = list({});
  for (const auto& [number, cell] : sp.rows.at(call.invoking)) {
    if (number < span->first || number > span->last || !grant.covers(number)) continue;
    Value name = family == Family::enterprise ? text(columns_of(table)[number].name)
                                              : emulator::number(number);
    row.items.push_back(named(std::move(name), cell));
  }
  // Enterprise answers with a list of rows.
  if (family == Family::enterprise) row = list({std::move(row)});
  return {.results = {std::move(row)}};
}

MethodResult set_cells(const Surroundings& drive, Sp& sp, const Call& call, const Grant& grant) {
  const auto arguments = parse_set(call, drive.options.family);
  if (!arguments || arguments->where != nullptr) return failed(Status::invalid_parameter);
  if (arguments->values == nullptr) return {};
  if (!arguments->values->is_list()) return failed(Status::invalid_parameter);
  Row row = sp.rows.at(call.invoking);
  const Status status = apply_values(drive, sp, call.invoking, *arguments->values, grant, row);
  if (status == Status::success) sp.rows[call.invoking] = std::move(row);
  return failed(status);
}

MethodResult get_table(const Surroundings& drive, const DriveState& state, const Call& call) {
  if (call.parameters.size() != 1) return failed(Status::invalid_parameter);
  const auto block = parse_cell_block(call.parameters[0], drive.options.family);
  const std::uint64_t size = state.locking.access->byte_tables.at(call.invoking);
  const auto span = block ? row_span(*block, size) : std::nullopt;
  if (!span) return failed(Status::invalid_parameter);
  if (span->count > drive.response_bytes_max) return failed(Status::response_overflow);
  Value content = bytes(Bytes(static_cast<std::size_t>(span->count)));
  if (!drive.media.read_table(call.invoking, span->first, content.bytes))
    return failed(Status::tper_malfunction);
  lay_over(state.table_writes, call.invoking, span->first, content.bytes);
  return {.results = {std::move(content)}};
}

MethodResult set_table(Surroundings& drive, Session& session, const Call& call) {
  const Family family = drive.options.family;
  const auto arguments = parse_set(call, family);
  if (!arguments || arguments->values == nullptr || !arguments->values->is_bytes())
    return failed(Status::invalid_parameter);
  const auto row = first_row(arguments->where, family);
  const Bytes& data = arguments->values->bytes;
  const std::uint64_t size = drive.state.locking.access->byte_tables.at(call.invoking);
  if (!row || *row > size || data.size() > size - *row) return failed(Status::invalid_parameter);
  if (data.empty()) return {};
  if (session.transaction) {
    session.transaction->table_writes.push_back({call.invoking, *row, data});
    return {};
  }
  const ByteView whole = data;
  const ByteView part = drive.cut_halfway ? whole.first(data.size() / 2) : whole;
  if (!drive.media.write_table(call.invoking, *row, part)) return failed(Status::tper_malfunction);
  return {.power_lost = drive.cut_halfway};
}

}  // namespace keyward::sed::emulator
