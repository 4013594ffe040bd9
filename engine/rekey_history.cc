#include "engine/rekey_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/fields.h"
#include "base/text.h"

namespace keyward::engine {
namespace {

constexpr std::size_t kPage = 200;

// As it stands in the document.
struct RecordDocument {
  std::string domain;
  std::string job;
  std::string actor;
  UtcTime started{};
  std::uint64_t started_ms = 0;  // The same time in full, which the document is named by.
  std::optional<UtcTime> finished;
  std::optional<std::uint64_t> finished_ms;  // In full too; older documents do not have it.
  bool cancelled = false;
  std::string old_key;
  std::string new_key;
  std::uint64_t entries_done = 0;
  std::uint64_t entries_total = 0;
  std::vector<std::string> custodians;
  std::vector<std::string> except;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("domain", &RecordDocument::domain);
    visit("job", &RecordDocument::job);
    visit("actor", &RecordDocument::actor);
    visit("started", &RecordDocument::started);
    visit("started_ms", &RecordDocument::started_ms);
    visit("finished", &RecordDocument::finished);
    visit("finished_ms", &RecordDocument::finished_ms);
    visit("cancelled", &RecordDocument::cancelled);
    visit("old_key", &RecordDocument::old_key);
    visit("new_key", &RecordDocument::new_key);
    visit("entries_done", &RecordDocument::entries_done);
    visit("entries_total", &RecordDocument::entries_total);
    visit("custodians", &RecordDocument::custodians);
    visit("except", &RecordDocument::except);
  }
};

std::vector<std::string> to_texts(const std::vector<CustodianId>& ids) {
  std::vector<std::string> texts;
  for (const CustodianId& id : ids) texts.push_back(id.text);
  return texts;
}

std::vector<CustodianId> to_ids(std::vector<std::string> texts) {
  std::vector<CustodianId> ids;
  for (std::string& text : texts) ids.push_back({std::move(text)});
  return ids;
}

std::string prefix_of(const std::string& domain) { return fmt::format("history/{}/", domain); }

std::string document_name(const std::string& domain, UtcTime started, const JobId& job) {
  return fmt::format("{}{}.{:03}-{}", prefix_of(domain), to_iso8601(started),
                     started.time_since_epoch().count() % 1000, job.to_text());
}

std::optional<std::uint64_t> to_ms(const std::optional<UtcTime>& time) {
  if (!time) return std::nullopt;
  return static_cast<std::uint64_t>(time->time_since_epoch().count());
}

std::string to_document(const RekeyRecord& record) {
  return api::to_json(RecordDocument{
      .domain = record.domain,
      .job = record.job.to_text(),
      .actor = record.actor,
      .started = record.started,
      .started_ms = static_cast<std::uint64_t>(record.started.time_since_epoch().count()),
      .finished = record.finished,
      .finished_ms = to_ms(record.finished),
      .cancelled = record.cancelled,
      .old_key = record.old_key.to_text(),
      .new_key = record.new_key.to_text(),
      .entries_done = record.entries_done,
      .entries_total = record.entries_total,
      .custodians = to_texts(record.custodians),
      .except = to_texts(record.except)});
}

Result<RekeyRecord> from_document(const store::Document& document) {
  RecordDocument read = TRY(api::from_json<RecordDocument>(document.json));
  if (read.finished_ms) read.finished = UtcTime(std::chrono::milliseconds(*read.finished_ms));
  return RekeyRecord{.domain = std::move(read.domain),
                     .job = TRY(JobId::parse(read.job)),
                     .actor = std::move(read.actor),
                     .started = UtcTime(std::chrono::milliseconds(read.started_ms)),
                     .finished = read.finished,
                     .cancelled = read.cancelled,
                     .old_key = TRY(KeyId::parse(read.old_key)),
                     .new_key = TRY(KeyId::parse(read.new_key)),
                     .entries_done = read.entries_done,
                     .entries_total = read.entries_total,
                     .custodians = to_ids(std::move(read.custodians)),
                     .except = to_ids(std::move(read.except))};
}

}  // namespace

Result<void> save_rekey_record(store::ControlStore& control, const RekeyRecord& record) {
  const std::string name = document_name(record.domain, record.started, record.job);
  Result<store::Document> old = control.load(name);
  if (!old && old.error().code != ErrorCode::not_found)
    return std::unexpected(std::move(old.error()));
  TRY(control.save({name, old ? old->version : 0, to_document(record)}, {}));
  return {};
}

Result<RekeyRecord> load_rekey_record(store::ControlStore& control, const std::string& domain,
                                      UtcTime started, const JobId& job) {
  return from_document(TRY(control.load(document_name(domain, started, job))));
}

Result<std::vector<RekeyRecord>> rekey_history(store::ControlStore& control, const Domain& domain,
                                               std::size_t count_max) {
  std::vector<RekeyRecord> records;
  std::string after;
  for (;;) {
    const auto page = TRY(control.list(prefix_of(domain.text()), after, kPage));
    for (const store::Document& document : page) {
      RekeyRecord record = TRY(from_document(document));
      if (record.finished) records.push_back(std::move(record));
    }
    // Only the newest are kept on the way: their names sort by the time of the start.
    if (records.size() > count_max)
      records.erase(records.begin(), records.end() - static_cast<std::ptrdiff_t>(count_max));
    if (page.size() < kPage) break;
    after = page.back().name;
  }
  std::ranges::reverse(records);
  return records;
}

}  // namespace keyward::engine
