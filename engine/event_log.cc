#include "engine/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "api/event.h"
#include "base/log.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kPrefix = "event/";
constexpr std::size_t kPage = 500;
// Counts of what is raised again and again are stored this seldom.
constexpr std::chrono::minutes kRepeatsStored{1};
constexpr std::chrono::seconds kStoreRetry{30};

// Wide enough for every id, so that names sort as ids do.
std::string document_name(std::uint64_t id) { return fmt::format("{}{:020}", kPrefix, id); }

std::optional<std::uint64_t> id_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::string_view digits = name.substr(kPrefix.size());
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return id;
}

std::string to_document(const Event& event) {
  return api::to_json(api::Event{.id = event.id,
                                 .time = event.time,
                                 .severity = static_cast<api::EventSeverity>(event.severity),
                                 .name = event.name,
                                 .subject = event.subject,
                                 .text = event.text,
                                 .next_step = event.next_step,
                                 .count = event.count,
                                 .open = event.open});
}

Result<Event> from_document(std::string_view json) {
  const api::Event stored = TRY(api::from_json<api::Event>(json));
  return Event{.id = stored.id,
               .time = stored.time,
               .name = stored.name,
               .subject = stored.subject,
               .text = stored.text,
               .severity = static_cast<Severity>(stored.severity),
               .count = stored.count,
               .open = stored.open,
               .next_step = stored.next_step};
}

LogLevel log_level(Severity severity) {
  switch (severity) {
    case Severity::error:
      return LogLevel::error;
    case Severity::warning:
      return LogLevel::warning;
    case Severity::info:
      break;
  }
  return LogLevel::notice;
}

}  // namespace

class EventLog::Impl {
 public:
  Impl(store::ControlStore& control, Clock& clock, std::size_t events_max)
      : control_(control), clock_(clock), events_max_(events_max) {
    if (auto loaded = load(); !loaded) {
      stores_ = false;
      log(LogLevel::error, "stored events cannot be read, new ones are kept in memory only: {}",
          loaded.error().message);
    }
    flusher_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
  }

  ~Impl() {
    flusher_.request_stop();
    flusher_.join();
    static_cast<void>(flush());
  }

  void raise(const EventKind& kind, std::string_view subject, std::string_view text) {
    const std::lock_guard in_order(publishing_);
    publish(record(kind, subject, text));
  }

  void clear(const EventKind& kind, std::string_view subject) {
    const std::lock_guard in_order(publishing_);
    if (const auto closed = close({std::string(kind.name), std::string(subject)})) publish(*closed);
  }

  std::vector<Event> list(std::uint64_t after, std::size_t count_max) const {
    const std::lock_guard lock(mutex_);
    std::vector<Event> page;
    for (auto it = kept_.upper_bound(after); it != kept_.end() && page.size() < count_max; ++it)
      page.push_back(it->second.event);
    return page;
  }

  std::vector<Event> newest(std::size_t count_max) const {
    const std::lock_guard lock(mutex_);
    std::vector<Event> page;
    for (auto it = kept_.rbegin(); it != kept_.rend() && page.size() < count_max; ++it)
      page.push_back(it->second.event);
    return page;
  }

  std::uint64_t subscribe(Subscriber subscriber) {
    const std::lock_guard in_order(publishing_);
    subscribers_.emplace(++last_subscriber_, std::move(subscriber));
    return last_subscriber_;
  }

  void unsubscribe(std::uint64_t subscriber) {
    const std::lock_guard in_order(publishing_);
    subscribers_.erase(subscriber);
  }

  Result<void> flush() {
    const std::lock_guard one_at_a_time(storing_);
    if (!stores_) return {};
    auto stored = store_changes();
    if (!stored && !is_failing_)
      log(LogLevel::error, "events cannot be stored now, and are kept in memory until they can: {}",
          stored.error().message);
    is_failing_ = !stored;
    return stored;
  }

 private:
  using Key = std::pair<std::string, std::string>;  // Name and subject.

  struct Kept {
    Event event;
    std::uint64_t version = 0;   // Of its document; 0 while there is none.
    std::uint64_t revision = 0;  // Goes up with every change.
  };

  Result<void> load() {
    std::string after;
    while (true) {
      const auto page = TRY(control_.list(kPrefix, after, kPage));
      for (const auto& document : page) take_in(document);
      if (page.size() < kPage) return {};
      after = page.back().name;
    }
  }

  void take_in(const store::Document& document) {
    const auto id = id_of(document.name);
    if (!id) return;
    last_id_ = std::max(last_id_, *id);
    auto event = from_document(document.json);
    if (!event || event->id != *id) {
      log(LogLevel::warning, "the stored event {} cannot be read and is left out", document.name);
      return;
    }
    // Whoever owns the state raises it again if it still holds.
    if (std::exchange(event->open, false)) carried_[{event->name, event->subject}] = *id;
    kept_.emplace(*id, Kept{std::move(*event), document.version});
  }

  Event record(const EventKind& kind, std::string_view subject, std::string_view text) {
    const std::lock_guard lock(mutex_);
    Key key{std::string(kind.name), std::string(subject)};
    if (kind.span == EventSpan::state) {
      if (const auto open = open_.find(key); open != open_.end())
        return count_up(kept_.at(open->second), text);
      if (const auto carried = carried_.extract(key); !carried.empty()) {
        if (const auto kept = kept_.find(carried.mapped()); kept != kept_.end()) {
          open_[std::move(key)] = kept->first;
          kept->second.event.open = true;
          return count_up(kept->second, text);
        }
      }
    }
    return make_new(kind, std::move(key), text);
  }

  Event count_up(Kept& kept, std::string_view text) {
    ++kept.event.count;
    kept.event.text = text;
    touch(kept);
    return kept.event;
  }

  Event make_new(const EventKind& kind, Key key, std::string_view text) {
    Event event{.id = ++last_id_,
                .time = clock_.now(),
                .name = key.first,
                .subject = key.second,
                .text = std::string(text),
                .severity = kind.severity,
                .count = 1,
                .open = kind.span == EventSpan::state,
                .next_step = std::string(kind.next_step)};
    if (event.open) open_[std::move(key)] = event.id;
    touch(kept_.emplace(event.id, Kept{event}).first->second);
    trim();
    is_urgent_ = true;
    log(log_level(kind.severity), "{} {}: {}", event.name, event.subject, event.text);
    return event;
  }

  std::optional<Event> close(const Key& key) {
    const std::lock_guard lock(mutex_);
    auto found = open_.extract(key);
    if (found.empty()) found = carried_.extract(key);
    if (found.empty()) return std::nullopt;
    const auto kept = kept_.find(found.mapped());
    if (kept == kept_.end()) return std::nullopt;
    kept->second.event.open = false;
    touch(kept->second);
    is_urgent_ = true;
    return kept->second.event;
  }

  void publish(const Event& event) {
    for (const auto& [id, subscriber] : subscribers_) subscriber(event);
  }

  void touch(Kept& kept) {
    ++kept.revision;
    changed_.insert(kept.event.id);
    wake_.notify_all();
  }

  // The oldest closed event goes first.
  void trim() {
    while (kept_.size() > events_max_) {
      auto victim =
          std::ranges::find_if(kept_, [](const auto& kept) { return !kept.second.event.open; });
      if (victim == kept_.end()) victim = kept_.begin();
      const Event& event = victim->second.event;
      std::erase_if(open_, [&](const auto& open) { return open.second == event.id; });
      changed_.erase(event.id);
      if (victim->second.version > 0) removed_[event.id] = victim->second.version;
      kept_.erase(victim);
    }
  }

  Result<void> store_changes() {
    while (const auto next = next_changed()) TRY(store_one(*next));
    while (const auto next = next_removed()) TRY(remove_one(next->first, next->second));
    return {};
  }

  std::optional<std::pair<store::Document, std::uint64_t>> next_changed() {
    const std::lock_guard lock(mutex_);
    is_urgent_ = false;
    if (changed_.empty()) return std::nullopt;
    const Kept& kept = kept_.at(*changed_.begin());
    return std::pair{
        store::Document{document_name(kept.event.id), kept.version, to_document(kept.event)},
        kept.revision};
  }

  Result<void> store_one(const std::pair<store::Document, std::uint64_t>& next) {
    const auto& [document, revision] = next;
    auto version = control_.save(document, {});
    if (!version && version.error().code == ErrorCode::conflict) {
      // A save whose answer was lost: look what is there, and write over it.
      const store::Document there = TRY(control_.load(document.name));
      version = control_.save({document.name, there.version, document.json}, {});
    }
    const std::uint64_t stored = TRY(std::move(version));
    const std::lock_guard lock(mutex_);
    const std::uint64_t id = *id_of(document.name);
    const auto kept = kept_.find(id);
    if (kept == kept_.end()) {
      removed_[id] = stored;  // Trimmed in the meantime.
      return {};
    }
    kept->second.version = stored;
    if (kept->second.revision == revision) changed_.erase(id);
    return {};
  }

  std::optional<std::pair<std::uint64_t, std::uint64_t>> next_removed() {
    const std::lock_guard lock(mutex_);
    if (removed_.empty()) return std::nullopt;
    return *removed_.begin();
  }

  Result<void> remove_one(std::uint64_t id, std::uint64_t version) {
    auto removed = control_.remove({document_name(id), version, ""}, {});
    if (!removed && removed.error().code != ErrorCode::not_found) return removed;
    const std::lock_guard lock(mutex_);
    removed_.erase(id);
    return {};
  }

  void run(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      const MonotonicTime now = clock_.monotonic();
      const bool is_waiting = stores_ && (!changed_.empty() || !removed_.empty());
      if (is_waiting && now >= not_before_ && (is_urgent_ || now >= repeats_due_)) {
        lock.unlock();
        const bool is_stored = flush().has_value();
        lock.lock();
        const MonotonicTime then = clock_.monotonic();
        repeats_due_ = then + kRepeatsStored;
        not_before_ = is_stored ? then : then + kStoreRetry;
        is_urgent_ = is_urgent_ || !is_stored;
        continue;
      }
      const MonotonicTime due = is_waiting ? std::max(not_before_, is_urgent_ ? now : repeats_due_)
                                           : MonotonicTime::max();
      clock_.wait_until(lock, wake_, stop, due);
    }
  }

  store::ControlStore& control_;
  Clock& clock_;
  const std::size_t events_max_;
  bool stores_ = true;

  std::mutex publishing_;  // Before `mutex_`. Keeps the order in which subscribers see events.
  std::map<std::uint64_t, Subscriber> subscribers_;
  std::uint64_t last_subscriber_ = 0;

  std::mutex storing_;  // Before `mutex_`. One flush at a time.
  bool is_failing_ = false;

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<std::uint64_t, Kept> kept_;
  std::map<Key, std::uint64_t> open_;
  std::map<Key, std::uint64_t> carried_;  // Open when the last process ended.
  std::set<std::uint64_t> changed_;
  std::map<std::uint64_t, std::uint64_t> removed_;  // Id and version of documents to remove.
  std::uint64_t last_id_ = 0;
  bool is_urgent_ = false;
  MonotonicTime repeats_due_{};
  MonotonicTime not_before_{};

  std::jthread flusher_;
};

EventLog::EventLog(store::ControlStore& control, Clock& clock, std::size_t events_max)
    : impl_(std::make_unique<Impl>(control, clock, events_max)) {}

EventLog::~EventLog() = default;

void EventLog::raise(const EventKind& kind, std::string_view subject, std::string_view text) {
  impl_->raise(kind, subject, text);
}

void EventLog::clear(const EventKind& kind, std::string_view subject) {
  impl_->clear(kind, subject);
}

std::vector<Event> EventLog::list(std::uint64_t after, std::size_t count_max) const {
  return impl_->list(after, count_max);
}

std::vector<Event> EventLog::newest(std::size_t count_max) const {
  return impl_->newest(count_max);
}

Result<void> EventLog::flush() { return impl_->flush(); }

std::shared_ptr<void> EventLog::subscribe(Subscriber subscriber) {
  const std::uint64_t id = impl_->subscribe(std::move(subscriber));
  // The token is never looked into: its end is what counts.
  return {static_cast<void*>(this), [impl = impl_.get(), id](void*) { impl->unsubscribe(id); }};
}

}  // namespace keyward::engine
