#include "engine/read_auditor.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

namespace keyward::engine {
namespace {

constexpr std::chrono::minutes kWindow{10};
// For each of the 16 shards.
constexpr std::size_t kWindowsMax = 512;
constexpr std::size_t kWaitingMax = 64;  // Until they are taken, every two seconds.

std::string window_key(const Domain& domain, const std::string& entry, const Caller& caller) {
  return fmt::format("{}\n{}\n{}\n{}", domain.text(), caller.actor, caller.origin, entry);
}

store::AuditRecord repeated_record(const Domain& domain, const std::string& entry,
                                   const Caller& caller, std::uint64_t count) {
  return audit_record(caller, "entry.get.repeated", domain.text(),
                      {{"entry", api::Json(entry)}, {"count", api::Json(count)}});
}

store::AuditRecord unlisted_record(const Domain& domain, std::uint64_t count) {
  return audit_record({"any", "daemon"}, "entry.get.unlisted", domain.text(),
                      {{"count", api::Json(count)}});
}

}  // namespace

store::AuditRecord read_record(const Domain& domain, const EntryName& name, const Caller& caller) {
  return audit_record(caller, "entry.get", domain.text(), {{"entry", api::Json(name.text())}});
}

void ReadAuditor::note(const Domain& domain, const EntryName& name, const Caller& caller) {
  const MonotonicTime now = clock_.monotonic();
  std::string key = window_key(domain, name.text(), caller);
  Shard& shard = shards_[std::hash<std::string>{}(key) % shards_.size()];
  const std::scoped_lock lock(shard.mutex);
  const auto found = shard.windows.find(key);
  if (found != shard.windows.end() && now < found->second.end) {
    ++found->second.repeated;
    return;
  }
  while (!shard.by_end.empty() &&
         (shard.windows.size() >= kWindowsMax || shard.windows.at(shard.by_end.front()).end <= now))
    close_first(shard);
  shard.by_end.push_back(key);
  shard.windows.emplace(std::move(key), Window{now + kWindow, 0, domain, name.text(), caller});
  enqueue(shard, domain, read_record(domain, name, caller));
}

std::map<Domain, std::vector<store::AuditRecord>> ReadAuditor::take(Take what) {
  const MonotonicTime now = clock_.monotonic();
  std::map<Domain, std::vector<store::AuditRecord>> taken;
  std::map<Domain, std::uint64_t> unlisted;
  for (Shard& shard : shards_) {
    const std::scoped_lock lock(shard.mutex);
    while (!shard.by_end.empty() &&
           (what == Take::all || shard.windows.at(shard.by_end.front()).end <= now))
      close_first(shard);
    for (auto& [domain, records] : std::exchange(shard.waiting, {}))
      std::ranges::move(records, std::back_inserter(taken[domain]));
    shard.waiting_count = 0;
    for (const auto& [domain, count] : std::exchange(shard.unlisted, {})) unlisted[domain] += count;
  }
  for (const auto& [domain, count] : unlisted)
    taken[domain].push_back(unlisted_record(domain, count));
  return taken;
}

void ReadAuditor::close_first(Shard& shard) {
  const auto found = shard.windows.find(shard.by_end.front());
  const Window& window = found->second;
  if (window.repeated > 0)
    enqueue(shard, window.domain,
            repeated_record(window.domain, window.entry, window.caller, window.repeated));
  shard.windows.erase(found);
  shard.by_end.pop_front();
}

void ReadAuditor::enqueue(Shard& shard, const Domain& domain, store::AuditRecord record) {
  if (shard.waiting_count >= kWaitingMax) {
    ++shard.unlisted[domain];
    return;
  }
  shard.waiting[domain].push_back(std::move(record));
  ++shard.waiting_count;
}

}  // namespace keyward::engine
