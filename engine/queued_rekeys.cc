#include "engine/queued_rekeys.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "api/fields.h"

namespace keyward::engine {
namespace {

struct QueuedDocument {
  std::string job;
  std::vector<std::string> without;
  std::string actor;
  std::string origin;
  UtcTime time{};

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("job", &QueuedDocument::job);
    visit("without", &QueuedDocument::without);
    visit("actor", &QueuedDocument::actor);
    visit("origin", &QueuedDocument::origin);
    visit("time", &QueuedDocument::time);
  }
};

std::string name_of(const Domain& domain) { return fmt::format("rekey-request/{}", domain.text()); }

std::string to_document(const QueuedRekey& queued) {
  QueuedDocument document{
      queued.job.to_text(), {}, queued.caller.actor, queued.caller.origin, queued.time};
  for (const CustodianId& id : queued.without) document.without.push_back(id.text);
  return api::to_json(document);
}

Result<QueuedRekey> from_document(const Domain& domain, std::string_view json) {
  QueuedDocument document = TRY(api::from_json<QueuedDocument>(json));
  QueuedRekey queued{domain,
                     TRY(JobId::parse(document.job)),
                     {},
                     Caller{std::move(document.actor), std::move(document.origin)},
                     document.time};
  for (std::string& id : document.without) queued.without.push_back({std::move(id)});
  return queued;
}

}  // namespace

Result<QueuedRekey> QueuedRekeys::save(const QueuedRekey& queued) {
  store::AuditRecord record = audit_record(queued.caller, "rekey.queue", queued.domain.text());
  record.detail = fmt::format(R"({{"job":"{}"}})", queued.job.to_text());
  auto saved = control_.save({name_of(queued.domain), 0, to_document(queued)}, {&record, 1});
  if (saved) return queued;
  if (saved.error().code == ErrorCode::conflict)
    if (auto waiting = TRY(find(queued.domain))) return *std::move(waiting);
  return std::unexpected(std::move(saved.error()));
}

Result<std::optional<QueuedRekey>> QueuedRekeys::find(const Domain& domain) {
  auto document = control_.load(name_of(domain));
  if (!document) {
    if (document.error().code == ErrorCode::not_found) return std::nullopt;
    return std::unexpected(std::move(document.error()));
  }
  return TRY(from_document(domain, document->json));
}

Result<void> QueuedRekeys::remove(const Domain& domain) {
  auto document = control_.load(name_of(domain));
  if (!document && document.error().code == ErrorCode::not_found) return {};
  auto removed = control_.remove(TRY(std::move(document)), {});
  if (!removed && removed.error().code == ErrorCode::not_found) return {};
  return removed;
}

}  // namespace keyward::engine
