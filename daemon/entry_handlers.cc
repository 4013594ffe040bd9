#include <fmt/format.h>

#include <charconv>

#include "api/entry_row.h"
#include "api/page.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

namespace keyward::daemon::handlers {
namespace {

struct EntryPath {
  Domain domain;
  EntryName name;
};

Result<EntryPath> read_path(const Request& request) {
  Domain domain = TRY(Domain::parse(request.parameters[0]));
  EntryName name = TRY(EntryName::parse(request.parameters[1]));
  return EntryPath{std::move(domain), std::move(name)};
}

// "7" with its quotes, as an ETag is written.
Result<std::uint64_t> read_etag(std::string_view text) {
  std::uint64_t version = 0;
  if (text.size() > 2 && text.front() == '"' && text.back() == '"') {
    const auto [end, error] =
        std::from_chars(text.data() + 1, text.data() + text.size() - 1, version);
    if (error == std::errc{} && end == text.data() + text.size() - 1) return version;
  }
  return fail(
      ErrorCode::invalid_argument,
      "If-Match takes one entry's version in quotes, as the ETag gave it: If-Match: \"7\".");
}

Result<std::optional<std::uint64_t>> read_condition(const Request& request) {
  const std::optional<std::uint64_t> version = TRY(request.query.number("if_version"));
  if (version.has_value() + !request.if_match.empty() + !request.if_none_match.empty() > 1)
    return fail(ErrorCode::invalid_argument,
                "Give one condition only: if_version, If-Match or If-None-Match.");
  if (!request.if_match.empty()) return std::optional(TRY(read_etag(request.if_match)));
  if (request.if_none_match.empty()) return version;
  if (request.if_none_match == "*") return std::optional<std::uint64_t>(0);
  return fail(ErrorCode::invalid_argument, "If-None-Match takes * only: write a new entry.");
}

// A condition that was not met has a status of its own.
Result<Response> answer_change(const Error& error, bool conditional) {
  if (conditional && (error.code == ErrorCode::conflict || error.code == ErrorCode::already_exists))
    return problem_response(error, 412);
  return std::unexpected(error);
}

}  // namespace

Result<Response> get_entry(Services& services, const Request& request) {
  const EntryPath path = TRY(read_path(request));
  std::uint64_t version = 0;
  SecretBytes secret = TRY(services.keyring.get(path.domain, path.name, request.caller, &version));
  return Response{.status = 200,
                  .content_type = "application/octet-stream",
                  .body = {},
                  .secret = std::move(secret),
                  .version = version};
}

Result<Response> put_entry(Services& services, const Request& request) {
  const EntryPath path = TRY(read_path(request));
  const std::optional<std::uint64_t> condition = TRY(read_condition(request));
  const Result<std::uint64_t> version =
      services.keyring.put(path.domain, path.name, *request.secret, condition, request.caller);
  if (!version) return answer_change(version.error(), condition.has_value());
  Response response = json_response(api::EntryWritten{*version});
  response.version = *version;
  return response;
}

Result<Response> delete_entry(Services& services, const Request& request) {
  const EntryPath path = TRY(read_path(request));
  const std::optional<std::uint64_t> condition = TRY(read_condition(request));
  const engine::EntryEdit edit{path.name, nullptr, condition};
  const Result<void> done = services.keyring.edit(path.domain, {&edit, 1}, request.caller);
  if (!done) return answer_change(done.error(), condition.has_value());
  return Response{.status = 204, .content_type = {}, .body = {}};
}

Result<Response> list_entries(Services& services, const Request& request) {
  const Domain domain = TRY(Domain::parse(request.parameters[0]));
  const std::size_t limit = TRY(read_limit(request.query, 100, 1'000));
  std::optional<EntryName> after;
  if (const auto text = request.query.find("after")) after = TRY(EntryName::parse(*text));
  const std::vector<store::EntryInfo> infos = TRY(services.keyring.list(domain, after, limit));
  api::Page<api::EntryRow> page;
  for (const store::EntryInfo& info : infos)
    page.items.push_back({info.name.text(), info.version, info.key.to_text(),
                          info.blob_bytes - std::min(info.blob_bytes, store::kBlobOverhead)});
  if (infos.size() == limit) page.next = infos.back().name.text();
  return json_response(page);
}

}  // namespace keyward::daemon::handlers
