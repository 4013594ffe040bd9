#include "sed/tcg/dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "sed/tcg/uids.h"

namespace keyward::sed::tcg {
namespace {

constexpr Name kStartRow{1, "startRow"}, kEndRow{2, "endRow"}, kStartColumn{3, "startColumn"},
    kEndColumn{4, "endColumn"}, kWhere{0, "Where"}, kValues{1, "Values"};

// By number (Core 5.3 and 5.7, Enterprise 10).
constexpr std::string_view kTableColumns[] = {"UID",
                                              "Name",
                                              "CommonName",
                                              "TemplateID",
                                              "Kind",
                                              "Column",
                                              "NumColumns",
                                              "Rows",
                                              "RowsFree",
                                              "RowBytes",
                                              "LastID",
                                              "MinSize",
                                              "MaxSize",
                                              "MandatoryWriteGranularity",
                                              "RecommendedAccessGranularity"};
constexpr std::string_view kAuthorityColumns[] = {"UID",     "Name",  "CommonName",
                                                  "IsClass", "Class", "Enabled"};
constexpr std::string_view kCPinColumns[] = {"UID",     "Name",     "CommonName", "PIN",
                                             "CharSet", "TryLimit", "Tries",      "Persistence"};
constexpr std::string_view kSpColumns[] = {
    "UID", "Name", "ORG", "EffectiveAuth", "DateofIssue", "Bytes", "LifeCycleState", "Frozen"};
constexpr std::string_view kLockingInfoColumns[] = {"UID",
                                                    "Name",
                                                    "Version",
                                                    "EncryptSupport",
                                                    "MaxRanges",
                                                    "MaxReEncryptions",
                                                    "KeysAvailableCfg",
                                                    "AlignmentRequired",
                                                    "LogicalBlockSize",
                                                    "AlignmentGranularity",
                                                    "LowestAlignedLBA"};
constexpr std::string_view kLockingColumns[] = {"UID",
                                                "Name",
                                                "CommonName",
                                                "RangeStart",
                                                "RangeLength",
                                                "ReadLockEnabled",
                                                "WriteLockEnabled",
                                                "ReadLocked",
                                                "WriteLocked",
                                                "LockOnReset",
                                                "ActiveKey"};

std::span<const std::string_view> columns_of(const Uid& object) {
  switch (table_of(object)) {
    case table::kTable:
      return kTableColumns;
    case table::kAuthority:
      return kAuthorityColumns;
    case table::kCPin:
      return kCPinColumns;
    case table::kSp:
      return kSpColumns;
    case table::kLockingInfo:
      return kLockingInfoColumns;
    case table::kLocking:
      return kLockingColumns;
    default:
      return {};
  }
}

Result<Cell> cell_of(const Value& value) {
  if (const std::uint64_t* number = value.as_number()) return Cell(*number);
  if (const Bytes* content = value.as_bytes()) return Cell(*content);
  if (const List* items = value.as_list()) return Cell(*items);
  return fail(ErrorCode::protocol, "the drive's answer has a cell of no known type");
}

}  // namespace

void Words::begin(const Uid& object, const Uid& method, TokenWriter& out) {
  out.control(Control::call).uid(object).uid(method).control(Control::start_list);
}

void Words::end(TokenWriter& out) {
  out.control(Control::end_list).control(Control::end_of_data);
  out.control(Control::start_list).number(0).number(0).number(0).control(Control::end_list);
}

void Words::name(const Name& name, TokenWriter& out) const {
  if (dialect_ == Dialect::enterprise)
    out.value(text(name.text));
  else
    out.number(name.number);
}

Result<void> Words::column(const Uid& object, std::uint32_t number, TokenWriter& out) const {
  if (dialect_ == Dialect::opal) {
    out.number(number);
    return {};
  }
  const auto columns = columns_of(object);
  if (number >= columns.size())
    return fail(ErrorCode::invalid_argument,
                fmt::format("Enterprise drives have no column {} in table {:04X}h", number,
                            table_of(object)));
  out.value(text(columns[number]));
  return {};
}

std::optional<std::uint32_t> Words::column_number(const Uid& object, const Value& name) const {
  if (const std::uint64_t* number = name.as_number())
    return *number <= UINT32_MAX ? std::optional(static_cast<std::uint32_t>(*number))
                                 : std::nullopt;
  const auto columns = columns_of(object);
  for (std::uint32_t n = 0; n < columns.size(); ++n)
    if (name == text(columns[n])) return n;
  return std::nullopt;
}

void Words::cell_block(const Name& first_name, std::uint64_t first, const Name& last_name,
                       std::uint64_t last, TokenWriter& out) const {
  out.control(Control::start_list).control(Control::start_name);
  name(first_name, out);
  out.number(first).control(Control::end_name).control(Control::start_name);
  name(last_name, out);
  out.number(last).control(Control::end_name).control(Control::end_list);
}

Result<void> Words::get(const Uid& object, Columns columns, TokenWriter& out) const {
  begin(object, dialect_ == Dialect::opal ? method::kGet : method::kEnterpriseGet, out);
  out.control(Control::start_list).control(Control::start_name);
  name(kStartColumn, out);
  TRY(column(object, columns.first, out));
  out.control(Control::end_name).control(Control::start_name);
  name(kEndColumn, out);
  TRY(column(object, columns.last, out));
  out.control(Control::end_name).control(Control::end_list);
  end(out);
  return {};
}

// Opal: Values = [cells]. Enterprise: an empty Where, then a list of rows (Enterprise 10.3).
template <typename Fill>
Result<void> Words::set_row(const Uid& object, TokenWriter& out, const Fill& fill) const {
  if (dialect_ == Dialect::opal) {
    begin(object, method::kSet, out);
    out.control(Control::start_name).number(kValues.number).control(Control::start_list);
    TRY(fill());
    out.control(Control::end_list).control(Control::end_name);
  } else {
    begin(object, method::kEnterpriseSet, out);
    out.control(Control::start_list).control(Control::end_list);
    out.control(Control::start_list).control(Control::start_list);
    TRY(fill());
    out.control(Control::end_list).control(Control::end_list);
  }
  end(out);
  return {};
}

Result<void> Words::set(const Uid& object, const Row& cells, TokenWriter& out) const {
  return set_row(object, out, [&]() -> Result<void> {
    for (const auto& [number, cell] : cells) {
      out.control(Control::start_name);
      TRY(column(object, number, out));
      std::visit([&](const auto& content) { out.value({.data = content}); }, cell);
      out.control(Control::end_name);
    }
    return {};
  });
}

Result<void> Words::set_pin(const Uid& credential, const SecretBytes& pin, TokenWriter& out) const {
  return set_row(credential, out, [&]() -> Result<void> {
    out.control(Control::start_name);
    TRY(column(credential, column::pin::kPin, out));
    out.secret(pin).control(Control::end_name);
    return {};
  });
}

void Words::get_bytes(const Uid& table, std::uint64_t offset, std::size_t size,
                      TokenWriter& out) const {
  begin(table, dialect_ == Dialect::opal ? method::kGet : method::kEnterpriseGet, out);
  cell_block(kStartRow, offset, kEndRow, offset + size - 1, out);
  end(out);
}

void Words::set_bytes(const Uid& table, std::uint64_t offset, ByteView content,
                      TokenWriter& out) const {
  if (dialect_ == Dialect::opal) {
    begin(table, method::kSet, out);
    out.control(Control::start_name).number(kWhere.number).number(offset);
    out.control(Control::end_name).control(Control::start_name).number(kValues.number);
    out.bytes(content).control(Control::end_name);
  } else {
    begin(table, method::kEnterpriseSet, out);
    out.control(Control::start_list).control(Control::start_name);
    name(kStartRow, out);
    out.number(offset).control(Control::end_name).control(Control::end_list).bytes(content);
  }
  end(out);
}

void Words::authenticate(const Uid& authority, const SecretBytes* pin, TokenWriter& out) const {
  begin(kThisSp,
        dialect_ == Dialect::opal ? method::kAuthenticate : method::kEnterpriseAuthenticate, out);
  out.uid(authority);
  if (pin != nullptr) {
    out.control(Control::start_name);
    name({0, "Challenge"}, out);
    out.secret(*pin).control(Control::end_name);
  }
  end(out);
}

// Opal answers with one list of named cells, Enterprise with a list of such rows.
Result<Row> Words::row(const Uid& object, const List& results) const {
  const List* cells = results.empty() ? nullptr : results[0].as_list();
  if (cells != nullptr && cells->size() == 1 && (*cells)[0].as_list() != nullptr)
    cells = (*cells)[0].as_list();
  if (cells == nullptr) return fail(ErrorCode::protocol, "the drive's answer to Get has no row");
  Row row;
  for (const Value& cell : *cells) {
    if (cell.name() == nullptr)
      return fail(ErrorCode::protocol, "the drive's answer to Get has a cell without its column");
    if (const auto number = column_number(object, *cell.name()))
      row[*number] = TRY(cell_of(*cell.value()));
  }
  return row;
}

}  // namespace keyward::sed::tcg
