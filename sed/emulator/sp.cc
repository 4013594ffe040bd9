#include "sed/emulator/sp.h"

#include <algorithm>
#include <array>
#include <optional>

namespace keyward::sed::emulator {
namespace {

using enum CellType;

constexpr Column kTableColumns[] = {{0, "UID", opaque},
                                    {1, "Name", opaque},
                                    {2, "CommonName", opaque},
                                    {3, "TemplateID", opaque},
                                    {4, "Kind", opaque},
                                    {5, "Column", opaque},
                                    {6, "NumColumns", opaque},
                                    {7, "Rows", opaque},
                                    {8, "RowsFree", opaque},
                                    {9, "RowBytes", opaque},
                                    {10, "LastID", opaque},
                                    {11, "MinSize", opaque},
                                    {12, "MaxSize", opaque},
                                    {13, "MandatoryWriteGranularity", opaque},
                                    {14, "RecommendedAccessGranularity", opaque}};
constexpr Column kSpInfoColumns[] = {{0, "UID", opaque},       {1, "SPID", opaque},
                                     {2, "Name", opaque},      {3, "Size", opaque},
                                     {4, "SizeInUse", opaque}, {5, "SPSessionTimeout", opaque},
                                     {6, "Enabled", opaque}};
constexpr Column kSpTemplatesColumns[] = {
    {0, "UID", opaque}, {1, "TemplateID", opaque}, {2, "Name", opaque}, {3, "Version", opaque}};
constexpr Column kMethodIdColumns[] = {
    {0, "UID", opaque}, {1, "Name", opaque}, {2, "CommonName", opaque}, {3, "TemplateID", opaque}};
constexpr Column kAceColumns[] = {{0, "UID", opaque},
                                  {1, "Name", opaque},
                                  {2, "CommonName", opaque},
                                  {3, "BooleanExpr", expression},
                                  {4, "Columns", opaque}};
constexpr Column kAuthorityColumns[] = {
    {0, "UID", opaque},           {1, "Name", opaque},        {2, "CommonName", name},
    {3, "IsClass", opaque},       {4, "Class", opaque},       {5, "Enabled", boolean},
    {6, "Secure", opaque},        {7, "HashAndSign", opaque}, {8, "PresentCertificate", opaque},
    {9, "Operation", opaque},     {10, "Credential", opaque}, {11, "ResponseSign", opaque},
    {12, "ResponseExch", opaque}, {13, "ClockStart", opaque}, {14, "ClockEnd", opaque},
    {15, "Limit", opaque},        {16, "Uses", opaque},       {17, "Log", opaque},
    {18, "LogTo", opaque}};
constexpr Column kCPinColumns[] = {{0, "UID", opaque},        {1, "Name", opaque},
                                   {2, "CommonName", opaque}, {3, "PIN", pin},
                                   {4, "CharSet", opaque},    {5, "TryLimit", CellType::number},
                                   {6, "Tries", opaque},      {7, "Persistence", boolean}};
constexpr Column kSecretProtectColumns[] = {{0, "UID", opaque},
                                            {1, "Table", opaque},
                                            {2, "ColumnNumber", opaque},
                                            {3, "ProtectMechanisms", opaque}};
constexpr Column kTPerInfoColumns[] = {{0, "UID", opaque},
                                       {1, "Bytes", opaque},
                                       {2, "GUDID", opaque},
                                       {3, "Generation", opaque},
                                       {4, "FirmwareVersion", opaque},
                                       {5, "ProtocolVersion", opaque},
                                       {6, "SpaceForIssuance", opaque},
                                       {7, "SSC", opaque},
                                       {8, "ProgrammaticResetEnable", boolean}};
constexpr Column kTemplateColumns[] = {{0, "UID", opaque},
                                       {1, "Name", opaque},
                                       {2, "RevisionNumber", opaque},
                                       {3, "Instances", opaque},
                                       {4, "MaxInstances", opaque}};
constexpr Column kSpColumns[] = {{0, "UID", opaque},
                                 {1, "Name", opaque},
                                 {2, "ORG", opaque},
                                 {3, "EffectiveAuth", opaque},
                                 {4, "DateOfIssue", opaque},
                                 {5, "Bytes", opaque},
                                 {6, "LifeCycleState", opaque},
                                 {7, "Frozen", opaque}};
constexpr Column kLockingInfoColumns[] = {{0, "UID", opaque},
                                          {1, "Name", opaque},
                                          {2, "Version", opaque},
                                          {3, "EncryptSupport", opaque},
                                          {4, "MaxRanges", opaque},
                                          {5, "MaxReEncryptions", opaque},
                                          {6, "KeysAvailableCfg", opaque},
                                          {7, "AlignmentRequired", opaque},
                                          {8, "LogicalBlockSize", opaque},
                                          {9, "AlignmentGranularity", opaque},
                                          {10, "LowestAlignedLBA", opaque},
                                          {0x060000, "SingleUserModeRanges", opaque},
                                          {0x060001, "RangeStartRangeLengthPolicy", opaque}};
constexpr Column kLockingColumns[] = {{0, "UID", opaque},
                                      {1, "Name", opaque},
                                      {2, "CommonName", name},
                                      {3, "RangeStart", CellType::number},
                                      {4, "RangeLength", CellType::number},
                                      {5, "ReadLockEnabled", boolean},
                                      {6, "WriteLockEnabled", boolean},
                                      {7, "ReadLocked", boolean},
                                      {8, "WriteLocked", boolean},
                                      {9, "LockOnReset", resets},
                                      {10, "ActiveKey", opaque},
                                      {11, "NextKey", opaque},
                                      {12, "ReEncryptState", opaque},
                                      {13, "ReEncryptRequest", opaque},
                                      {14, "AdvKeyMode", opaque},
                                      {15, "VerifyMode", opaque},
                                      {16, "ContOnReset", opaque},
                                      {17, "LastReEncryptLBA", opaque},
                                      {18, "LastReEncStat", opaque},
                                      {19, "GeneralStatus", opaque}};
constexpr Column kMbrControlColumns[] = {
    {0, "UID", opaque}, {1, "Enable", boolean}, {2, "Done", boolean}, {3, "DoneOnReset", resets}};
constexpr Column kAesColumns[] = {{0, "UID", opaque},
                                  {1, "Name", opaque},
                                  {2, "CommonName", opaque},
                                  {3, "Key", opaque},
                                  {4, "Mode", opaque}};

// Half-UIDs that name the type of an expression's element (Core 5.1.3.3).
constexpr std::array kAuthorityRef = {std::byte{0}, std::byte{0}, std::byte{0x0C}, std::byte{0x05}};
constexpr std::array kBooleanAce = {std::byte{0}, std::byte{0}, std::byte{0x04}, std::byte{0x0E}};
constexpr std::size_t kExpressionElementsMax = 64;

enum class Operation : std::uint64_t { logical_and = 0, logical_or = 1, logical_not = 2 };

// Runs a postfix expression; none when it is not well-formed.
template <typename Holds>
std::optional<bool> run_expression(const Value& expression, Holds&& holds) {
  std::vector<bool> stack;
  for (const Value& element : expression.items) {
    if (!element.is_named() || !element.name().is_bytes()) return std::nullopt;
    if (std::ranges::equal(element.name().bytes, kAuthorityRef)) {
      const std::optional<Uid> authority = element.value().uid();
      if (!authority) return std::nullopt;
      stack.push_back(holds(*authority));
      continue;
    }
    if (!std::ranges::equal(element.name().bytes, kBooleanAce) || !element.value().is_number() ||
        element.value().number > 2)
      return std::nullopt;
    const auto operation = static_cast<Operation>(element.value().number);
    if (stack.size() < (operation == Operation::logical_not ? 1u : 2u)) return std::nullopt;
    const bool right = stack.back();
    stack.pop_back();
    if (operation == Operation::logical_not) {
      stack.push_back(!right);
      continue;
    }
    const bool left = stack.back();
    stack.back() = operation == Operation::logical_and ? left && right : left || right;
  }
  if (stack.size() != 1) return std::nullopt;
  return stack.back();
}

}  // namespace

std::span<const Column> columns_of(std::uint32_t table) {
  switch (table) {
    case table::kTable:
      return kTableColumns;
    case table::kSpInfo:
      return kSpInfoColumns;
    case table::kSpTemplates:
      return kSpTemplatesColumns;
    case table::kMethodId:
      return kMethodIdColumns;
    case table::kAce:
      return kAceColumns;
    case table::kAuthority:
      return kAuthorityColumns;
    case table::kCPin:
      return kCPinColumns;
    case table::kSecretProtect:
      return kSecretProtectColumns;
    case table::kTPerInfo:
      return kTPerInfoColumns;
    case table::kTemplate:
      return kTemplateColumns;
    case table::kSp:
      return kSpColumns;
    case table::kLockingInfo:
      return kLockingInfoColumns;
    case table::kLocking:
      return kLockingColumns;
    case table::kMbrControl:
      return kMbrControlColumns;
    case table::kAes256:
      return kAesColumns;
    default:
      return {};
  }
}

Value* Sp::cell(Uid row, std::uint32_t column) {
  return const_cast<Value*>(std::as_const(*this).cell(row, column));
}

const Value* Sp::cell(Uid row, std::uint32_t column) const {
  const auto found = rows.find(row);
  if (found == rows.end()) return nullptr;
  const auto value = found->second.find(column);
  return value == found->second.end() ? nullptr : &value->second;
}

std::uint64_t Sp::number_at(Uid row, std::uint32_t column) const {
  const Value* value = cell(row, column);
  return value == nullptr ? 0 : value->number;
}

bool Sp::holds(const Authorities& authenticated, Uid authority) const {
  if (authority == uid::kAnybody || authenticated.contains(authority)) return true;
  return std::ranges::any_of(authenticated, [&](Uid member) {
    const Value* group = cell(member, column::kClass);
    return group != nullptr && group->uid() == authority;
  });
}

bool Sp::satisfies(const Authorities& authenticated, Uid ace) const {
  const Value* expression = cell(ace, column::kAceExpression);
  if (expression == nullptr) return false;
  return run_expression(*expression, [&](Uid authority) { return holds(authenticated, authority); })
      .value_or(false);
}

bool Sp::is_expression(const Value& expression) const {
  if (!expression.is_list() || expression.items.size() > kExpressionElementsMax) return false;
  bool known = true;
  const auto result = run_expression(expression, [&](Uid authority) {
    known = known && table_of(authority) == table::kAuthority && rows.contains(authority);
    return false;
  });
  return result.has_value() && known;
}

Grant Sp::grant(const Authorities& authenticated, Uid invoking, Uid method) const {
  Grant grant;
  const auto found = access->aces.find({invoking, method});
  if (found == access->aces.end()) return grant;
  for (const Uid ace : found->second) {
    if (!satisfies(authenticated, ace)) continue;
    grant.any = true;
    const Value* columns = cell(ace, column::kAceColumns);
    if (columns == nullptr || columns->items.empty()) grant.all_columns = true;
    if (columns == nullptr) continue;
    for (const Value& column : columns->items)
      grant.columns.insert(static_cast<std::uint32_t>(column.number));
  }
  return grant;
}

}  // namespace keyward::sed::emulator
