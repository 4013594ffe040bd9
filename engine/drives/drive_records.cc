#include "engine/drives/drive_records.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "api/fields.h"
#include "base/ids.h"
#include "engine/caller.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kPrefix = "drive/";
constexpr std::size_t kPage = 1000;

std::string document_name(const std::string& key) { return std::string(kPrefix) + key; }

Result<DriveRecord> parse(const store::Document& document) {
  return api::from_json<DriveRecord>(document.json);
}

// None where there is no such document.
Result<std::optional<store::Document>> find(store::ControlStore& control, std::string_view name) {
  auto document = control.load(name);
  if (document) return std::optional(*std::move(document));
  if (document.error().code == ErrorCode::not_found) return std::optional<store::Document>();
  return std::unexpected(std::move(document.error()));
}

}  // namespace

Result<std::vector<DriveRecord>> DriveRecords::load_all() {
  std::vector<DriveRecord> records;
  std::string after;
  while (true) {
    const auto page = TRY(control_.list(kPrefix, after, kPage));
    for (const store::Document& document : page) {
      after = document.name;
      records.push_back(TRY(parse(document)));
    }
    if (page.size() < kPage) return records;
  }
}

Result<DriveRecord> DriveRecords::load(const std::string& key) {
  const auto document = TRY(find(control_, document_name(key)));
  if (document) return parse(*document);
  DriveRecord empty;
  empty.key = key;
  return empty;
}

Result<void> DriveRecords::save(DriveRecord record) {
  const std::string name = document_name(record.key);
  const auto before = TRY(find(control_, name));
  record.last_seen = std::chrono::floor<std::chrono::days>(clock_.now());
  const std::string json = api::to_json(record);
  if (before && before->json == json) return {};
  TRY(control_.save({name, before ? before->version : 0, json}, {}));
  return {};
}

Result<std::string> DriveRecords::restored() {
  const auto document = TRY(find(control_, kRestored));
  return document ? document->json : std::string();
}

// A crash before the file is gone only makes another text the next time.
Result<bool> DriveRecords::take_restored_mark(const std::string& state_directory) {
  const std::string mark = state_directory + "/restored";
  std::error_code error;
  if (!std::filesystem::exists(mark, error) && !error) return false;
  const auto before = TRY(find(control_, kRestored));
  const std::string json = fmt::format("{{\"restore\":\"{}\"}}", NodeId::random().to_text());
  const store::AuditRecord audit = audit_record({"fleet", "daemon"}, "drives.restored", "drives");
  if (!error)
    TRY(control_.save({std::string(kRestored), before ? before->version : 0, json}, {&audit, 1}));
  if (!error) std::filesystem::remove(mark, error);
  if (!error) return true;
  return fail(ErrorCode::io, fmt::format("the mark {}: {}", mark, error.message()));
}

}  // namespace keyward::engine
