#include "api/openapi.h"

#include <fmt/format.h>

#include <map>

#include "api/audit.h"
#include "api/custodian_row.h"
#include "api/doctor.h"
#include "api/domain_status.h"
#include "api/drive_row.h"
#include "api/entry_row.h"
#include "api/error_table.h"
#include "api/event.h"
#include "api/fields.h"
#include "api/key_info.h"
#include "api/page.h"
#include "api/problem.h"
#include "api/rekey_requests.h"
#include "api/rekey_status.h"
#include "api/routes.h"
#include "api/sed_status.h"
#include "api/upgrade.h"
#include "api/version.h"

namespace keyward::api {
namespace {

template <typename T>
std::string_view schema_name();

#define KEYWARD_SCHEMA(type)             \
  template <>                            \
  std::string_view schema_name<type>() { \
    return #type;                        \
  }
KEYWARD_SCHEMA(DomainStatus)
KEYWARD_SCHEMA(DomainCreate)
KEYWARD_SCHEMA(RekeyStatus)
KEYWARD_SCHEMA(RekeyStart)
KEYWARD_SCHEMA(RekeySelection)
KEYWARD_SCHEMA(DomainResult)
KEYWARD_SCHEMA(RekeySchedule)
KEYWARD_SCHEMA(RekeyScheduleChange)
KEYWARD_SCHEMA(RekeyLimit)
KEYWARD_SCHEMA(CustodianRow)
KEYWARD_SCHEMA(SedStatus)
KEYWARD_SCHEMA(DriveRow)
KEYWARD_SCHEMA(DriveResult)
KEYWARD_SCHEMA(DriveSelection)
KEYWARD_SCHEMA(EraseCertificate)
KEYWARD_SCHEMA(CustodianAdd)
KEYWARD_SCHEMA(RemovalResult)
KEYWARD_SCHEMA(KeyInfo)
KEYWARD_SCHEMA(EntryRow)
KEYWARD_SCHEMA(EntryWritten)
KEYWARD_SCHEMA(ImportResult)
KEYWARD_SCHEMA(Event)
KEYWARD_SCHEMA(AuditRow)
KEYWARD_SCHEMA(AuditVerdict)
KEYWARD_SCHEMA(DoctorFinding)
KEYWARD_SCHEMA(DoctorRemove)
KEYWARD_SCHEMA(UpgradeState)
KEYWARD_SCHEMA(Version)
KEYWARD_SCHEMA(Problem)
#undef KEYWARD_SCHEMA

// A field's schema in YAML's flow style.
template <typename T>
std::string schema_of(bool nullable = false) {
  const auto type = [&](std::string_view name, std::string_view more = "") {
    return nullable ? fmt::format("{{type: [{}, \"null\"]{}}}", name, more)
                    : fmt::format("{{type: {}{}}}", name, more);
  };
  if constexpr (std::is_same_v<T, bool>) {
    return type("boolean");
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    return type("integer", ", minimum: 0");
  } else if constexpr (std::is_same_v<T, double>) {
    return type("number");
  } else if constexpr (std::is_same_v<T, std::string>) {
    return type("string");
  } else if constexpr (std::is_same_v<T, UtcTime>) {
    return type("string", ", format: date-time");
  } else if constexpr (detail::is_optional<T>) {
    return schema_of<typename T::value_type>(true);
  } else if constexpr (detail::is_vector<T>) {
    return fmt::format("{{type: array, items: {}}}", schema_of<typename T::value_type>());
  } else if constexpr (std::is_enum_v<T>) {
    std::string values;
    for (const auto& name : enum_names(T{}))
      values += fmt::format("{}\"{}\"", values.empty() ? "" : ", ", name.text);
    return type("string", fmt::format(", enum: [{}{}]", values, nullable ? ", null" : ""));
  } else {
    return fmt::format("{{$ref: \"#/components/schemas/{}\"}}", schema_name<T>());
  }
}

template <typename T>
struct SchemaVisitor {
  std::string properties{};
  std::string required{};
  template <typename Member>
  void operator()(std::string_view name, Member T::*, std::string_view = "") {
    properties += fmt::format("        {}: {}\n", name, schema_of<Member>());
    if constexpr (!detail::is_optional<Member> && !detail::is_vector<Member>)
      required += fmt::format("{}{}", required.empty() ? "" : ", ", name);
  }
};

template <typename T>
std::string render_schema(std::string_view name) {
  SchemaVisitor<T> visitor;
  T::fields(visitor);
  std::string out = fmt::format("    {}:\n      type: object\n", name);
  out += "      additionalProperties: false\n";
  if (!visitor.required.empty()) out += fmt::format("      required: [{}]\n", visitor.required);
  return out + "      properties:\n" + visitor.properties;
}

using Schemas = std::map<std::string, std::string, std::less<>>;

template <typename... T>
void add_structs(Schemas& schemas) {
  (schemas.emplace(schema_name<T>(), render_schema<T>(schema_name<T>())), ...);
}

template <typename... T>
void add_pages(Schemas& schemas) {
  const auto add = [&]<typename Row>(const Row*) {
    std::string name = std::string(schema_name<Row>()) + "Page";
    std::string text = render_schema<Page<Row>>(name);
    schemas.emplace(std::move(name), std::move(text));
  };
  (add(static_cast<const T*>(nullptr)), ...);
}

const Schemas& schemas() {
  static const Schemas kSchemas = [] {
    Schemas all;
    add_structs<DomainStatus, DomainCreate, RekeyStatus, RekeyStart, RekeySelection, DomainResult,
                RekeySchedule, RekeyScheduleChange, RekeyLimit, CustodianRow, SedStatus, DriveRow,
                DriveResult, DriveSelection, EraseCertificate, CustodianAdd, RemovalResult, KeyInfo,
                EntryRow, EntryWritten, ImportResult, Event, AuditRow, AuditVerdict, DoctorFinding,
                DoctorRemove, UpgradeState, Version, Problem>(all);
    add_pages<DomainStatus, RekeyStatus, DomainResult, CustodianRow, SedStatus, DriveRow,
              DriveResult, EraseCertificate, KeyInfo, EntryRow, Event, AuditRow, DoctorFinding>(
        all);
    return all;
  }();
  return kSchemas;
}

std::string content_of(std::string_view what) {
  if (what == "secret" || what == "records")
    return "application/octet-stream: {schema: {type: string, format: binary}}";
  if (what == "text") return "text/plain: {schema: {type: string}}";
  if (what == "html") return "text/html: {schema: {type: string}}";
  if (what == "events") return "text/event-stream: {schema: {type: string}}";
  return fmt::format("application/json: {{schema: {{$ref: \"#/components/schemas/{}\"}}}}", what);
}

std::string render_path_parameters(std::string_view path) {
  std::string out;
  for (std::size_t open = path.find('{'); open != std::string_view::npos;
       open = path.find('{', open + 1))
    out +=
        fmt::format("        - {{name: {}, in: path, required: true, schema: {{type: string}}}}\n",
                    path.substr(open + 1, path.find('}', open) - open - 1));
  return out;
}

std::string render_query_parameters(std::string_view query) {
  std::string out;
  while (!query.empty()) {
    const std::string_view item = query.substr(0, query.find(','));
    query.remove_prefix(std::min(query.size(), item.size() + 1));
    const std::string_view name = item.substr(0, item.find(':'));
    const std::string_view type = item.ends_with(":number") ? "{type: integer, minimum: 0}"
                                  : item.ends_with(":flag") ? "{type: boolean}"
                                                            : "{type: string}";
    out += fmt::format("        - {{name: {}, in: query, schema: {}}}\n", name, type);
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (char c : text) out += static_cast<char>(c | 0x20);
  return out;
}

std::string quote(std::string_view text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? "''" : std::string(1, c);
  return out + "'";
}

std::string render_operation(const Route& route) {
  std::string out = fmt::format("    {}:\n      operationId: {}\n      summary: {}\n",
                                lower(method_name(route.method)), route.name, quote(route.summary));
  out += fmt::format("      x-role-min: {}\n", role_name(route.role_min));
  const std::string parameters =
      render_path_parameters(route.path) + render_query_parameters(route.query);
  if (!parameters.empty()) out += "      parameters:\n" + parameters;
  if (!route.request.empty())
    out +=
        fmt::format("      requestBody:\n        required: true\n        content:\n          {}\n",
                    content_of(route.request));
  out +=
      fmt::format("      responses:\n        \"{}\":\n          description: done\n", route.status);
  if (!route.answer.empty())
    out += fmt::format("          content:\n            {}\n", content_of(route.answer));
  return out + "        default: {$ref: \"#/components/responses/Problem\"}\n";
}

std::string render_paths() {
  // Routes of one path stand together, in the order in which the path first appears.
  std::vector<std::string_view> paths;
  std::map<std::string_view, std::string> operations;
  for (const Route& route : routes()) {
    if (!operations.contains(route.path)) paths.push_back(route.path);
    operations[route.path] += render_operation(route);
  }
  std::string out = "paths:\n";
  for (std::string_view path : paths)
    out += fmt::format("  {}:\n{}", quote(path), operations[path]);
  return out;
}

}  // namespace

std::string render_openapi() {
  std::string out = fmt::format(
      "openapi: 3.1.0\n"
      "info:\n"
      "  title: Keyward\n"
      "  version: {}\n"
      "  description: 'Made from the tables in api/ by `keywardd --openapi`; do not edit.'\n",
      kProductVersion);
  out += render_paths();
  out +=
      "components:\n"
      "  responses:\n"
      "    Problem:\n"
      "      description: It did not go well; see RFC 9457.\n"
      "      content:\n"
      "        application/problem+json: {schema: {$ref: \"#/components/schemas/Problem\"}}\n"
      "  schemas:\n";
  for (const auto& [name, text] : schemas()) out += text;
  return out;
}

std::vector<std::string_view> schema_names() {
  std::vector<std::string_view> names;
  for (const auto& [name, text] : schemas()) names.push_back(name);
  return names;
}

}  // namespace keyward::api
