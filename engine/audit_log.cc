#include "engine/audit_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "engine/audit_checkpoint.h"
#include "engine/caller.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kControl = "control";
constexpr std::string_view kCheckpointPrefix = "checkpoint/";
constexpr std::string_view kCheckpointAction = "audit.checkpoint";
constexpr std::size_t kPage = 256;
// A list that finds little ends after this many records and goes on with its `next`, so that one
// request never walks years.
constexpr std::size_t kScannedMax = 50'000;
constexpr std::chrono::hours kCheckpointEvery{24};
constexpr std::chrono::minutes kCheckpointRetry{15};

Caller audit_caller() { return {"audit", "daemon"}; }

// One trail, and whatever keeps it open.
struct Trail {
  std::string name;
  std::string store;  // Empty for control.
  std::shared_ptr<store::Keystore> keystore;
  store::AuditTrail* trail = nullptr;
};

struct Trails {
  std::vector<Trail> open;
  std::vector<std::string> notes;  // Which are not open, and why.
};

Trails open_trails(store::ControlStore& control, Keyring& keyring) {
  Trails trails;
  trails.open.push_back({std::string(kControl), "", nullptr, &control.audit_trail()});
  for (const auto& status : keyring.status()) {
    const auto domain = Domain::parse(status.domain);
    if (!domain) continue;
    auto keystore = keyring.keystore(*domain);
    auto table =
        keystore ? (*keystore)->keys() : Result<store::KeyTable>(std::unexpected(keystore.error()));
    if (!table) {
      trails.notes.push_back(fmt::format("the trail of {} was not looked at: {}", status.domain,
                                         table.error().message));
      continue;
    }
    store::AuditTrail& trail = (*keystore)->audit_trail();
    trails.open.push_back({status.domain, table->store.to_text(), *std::move(keystore), &trail});
  }
  return trails;
}

// Where a list goes on: the last sequence seen of each trail, "control=12,S3=40".
using Position = std::map<std::string, std::uint64_t, std::less<>>;

std::string position_to_text(const Position& position) {
  std::string text;
  for (const auto& [trail, sequence] : position)
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", trail, sequence);
  return text;
}

bool parse_sequence(std::string_view digits, std::uint64_t& sequence) {
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, sequence);
  return parsed.ec == std::errc{} && parsed.ptr == end;
}

Result<Position> position_from_text(std::string_view text) {
  Position position;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    const std::size_t equals = part.find('=');
    std::uint64_t sequence = 0;
    if (equals == std::string_view::npos || !parse_sequence(part.substr(equals + 1), sequence))
      return fail(
          ErrorCode::invalid_argument,
          "the place to go on from is not one that an audit list gave: start again without");
    position[std::string(part.substr(0, equals))] = sequence;
  }
  return position;
}

bool fits(const AuditQuery& query, const store::StoredRecord& stored) {
  return (!query.since || stored.time >= *query.since) &&
         (!query.until || stored.time <= *query.until) &&
         (query.actor.empty() || stored.record.actor == query.actor) &&
         (query.subject.empty() || stored.record.subject == query.subject) &&
         (query.action.empty() || stored.record.action == query.action);
}

// Reads one trail in order, a page at a time.
class TrailReader {
 public:
  TrailReader(store::AuditTrail& trail, std::uint64_t after) : trail_(trail), after_(after) {}

  // None at the end. Stays valid until pop().
  Result<const store::StoredRecord*> peek() {
    if (next_ == page_.size() && !at_end_) {
      page_ = TRY(trail_.read(after_, kPage));
      next_ = 0;
      at_end_ = page_.size() < kPage;
      if (!page_.empty()) after_ = page_.back().sequence;
    }
    return next_ < page_.size() ? &page_[next_] : nullptr;
  }
  store::StoredRecord pop() { return std::move(page_[next_++]); }

 private:
  store::AuditTrail& trail_;
  std::uint64_t after_;
  std::vector<store::StoredRecord> page_;
  std::size_t next_ = 0;
  bool at_end_ = false;
};

// The trail whose next record is the oldest; none when all are read.
Result<std::optional<std::size_t>> oldest(std::vector<TrailReader>& readers) {
  std::optional<std::size_t> best;
  UtcTime best_time{};
  for (std::size_t i = 0; i < readers.size(); ++i) {
    const store::StoredRecord* next = TRY(readers[i].peek());
    if (next == nullptr || (best && next->time >= best_time)) continue;
    best = i;
    best_time = next->time;
  }
  return best;
}

Domain keyward_domain() { return Domain::parse("KEYWARD").value(); }
EntryName signing_key_name() { return EntryName::parse("audit/signing-key").value(); }

Result<SecretBytes> load_signing_key(Keyring& keyring) {
  return keyring.get(keyward_domain(), signing_key_name(), audit_caller());
}

Result<SecretBytes> load_or_make_signing_key(Keyring& keyring) {
  auto seed = load_signing_key(keyring);
  if (seed || seed.error().code != ErrorCode::not_found) return seed;
  const SecretBytes made = TRY(SecretBytes::random(32));
  // Somebody else may have made it meanwhile: then theirs counts.
  auto put = keyring.put(keyward_domain(), signing_key_name(), made, 0, audit_caller());
  if (!put && put.error().code != ErrorCode::conflict) return std::unexpected(put.error());
  return load_signing_key(keyring);
}

Result<std::vector<AuditCheckpoint>> load_checkpoints(store::ControlStore& control,
                                                      std::vector<std::string>& defects) {
  std::vector<AuditCheckpoint> checkpoints;
  std::string after;
  while (true) {
    const auto page = TRY(control.list(kCheckpointPrefix, after, kPage));
    for (const auto& document : page) {
      auto checkpoint = checkpoint_from_json(document.json);
      if (checkpoint && checkpoint_name(checkpoint->number) == document.name)
        checkpoints.push_back(*std::move(checkpoint));
      else
        defects.push_back(fmt::format("{} cannot be read: it was edited", document.name));
    }
    if (page.size() < kPage) return checkpoints;
    after = page.back().name;
  }
}

// Checks all trails and checkpoints against each other, and collects what does not fit.
class Verification {
 public:
  Verification(store::ControlStore& control, Keyring& keyring, std::stop_token stop)
      : control_(control), keyring_(keyring), stop_(std::move(stop)) {}

  Result<AuditVerdict> run() {
    // What was not looked for is not gone.
    if (!keyring_.is_listed())
      return fail(ErrorCode::unavailable, "the keystores could not be listed yet");
    Trails trails = open_trails(control_, keyring_);
    verdict_.notes = std::move(trails.notes);
    for (auto& trail : trails.open) {
      if (stop_.stop_requested()) return stopped();
      TRY(verify_trail(trail));
    }
    for (auto& trail : trails.open) trails_.emplace(trail.name, std::move(trail));
    TRY(read_control_records());
    const auto checkpoints = TRY(load_checkpoints(control_, verdict_.defects));
    verdict_.checkpoints = checkpoints.size();
    check_numbers(checkpoints);
    check_signatures(checkpoints);
    for (const auto& checkpoint : checkpoints) {
      if (stop_.stop_requested()) return stopped();
      for (const auto& head : checkpoint.heads) TRY(check_head(checkpoint, head));
    }
    return std::move(verdict_);
  }

 private:
  static std::unexpected<Error> stopped() {
    return fail(ErrorCode::cancelled, "the verification of the audit trails was stopped half-way");
  }
  template <typename... Args>
  void defect(fmt::format_string<Args...> format, Args&&... args) {
    verdict_.defects.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  Result<void> verify_trail(const Trail& trail) {
    auto head = trail.trail->verify();
    if (!head && head.error().code != ErrorCode::corrupt)
      return std::unexpected(with_context(head.error(), trail.name));
    ++verdict_.trails;
    if (!head) {
      defect("{}: {}", trail.name, head.error().message);
      return {};
    }
    const auto first = TRY(trail.trail->read(0, 1));
    if (!first.empty()) verdict_.records += head->sequence - first.front().sequence + 1;
    return {};
  }

  // Which domains were deleted, and which checkpoints were made: so that a missing one shows.
  Result<void> read_control_records() {
    TrailReader reader(control_.audit_trail(), 0);
    while (TRY(reader.peek()) != nullptr) {
      const store::StoredRecord stored = reader.pop();
      if (stored.record.action == kCheckpointAction) ++checkpoints_recorded_;
      if (stored.record.action == "domain.delete") deleted_.insert(stored.record.subject);
    }
    return {};
  }

  void check_numbers(const std::vector<AuditCheckpoint>& checkpoints) {
    std::uint64_t expected = 1;
    for (const auto& checkpoint : checkpoints) {
      if (checkpoint.number > expected)
        defect("checkpoints {} to {} are gone", expected, checkpoint.number - 1);
      expected = checkpoint.number + 1;
    }
    if (expected <= checkpoints_recorded_)
      defect("checkpoints {} to {} are gone", expected, checkpoints_recorded_);
  }

  void check_signatures(const std::vector<AuditCheckpoint>& checkpoints) {
    if (checkpoints.empty()) return;
    const auto seed = load_signing_key(keyring_);
    auto ours = seed ? crypto::ed25519_public_key(*seed)
                     : Result<crypto::Ed25519PublicKey>(std::unexpected(seed.error()));
    if (!ours)
      verdict_.notes.push_back(fmt::format("whose signatures the checkpoints bear is not known: {}",
                                           ours.error().message));
    for (const auto& checkpoint : checkpoints) {
      if (!has_valid_signature(checkpoint))
        defect("checkpoint {} was edited: its signature does not fit", checkpoint.number);
      else if (ours && checkpoint.public_key != to_hex(*ours))
        defect("checkpoint {} was signed by another key than audit/signing-key", checkpoint.number);
    }
  }

  Result<void> check_head(const AuditCheckpoint& checkpoint, const TrailHead& head) {
    if (head.sequence == 0) return {};
    const auto trail = trails_.find(head.trail);
    if (trail == trails_.end() || trail->second.store != head.store) {
      check_missing(checkpoint, head);
      return {};
    }
    const auto found = TRY(trail->second.trail->read(head.sequence - 1, 1));
    if (found.empty())
      defect("{}: cut at the end, record {} of checkpoint {} is gone", head.trail, head.sequence,
             checkpoint.number);
    else if (found.front().sequence == head.sequence && to_hex(found.front().chain) != head.chain)
      defect("{}: record {} is not the one that checkpoint {} signed", head.trail, head.sequence,
             checkpoint.number);
    return {};
  }

  // A keystore that is not open is a note already; one that was deleted left a record.
  void check_missing(const AuditCheckpoint& checkpoint, const TrailHead& head) {
    const bool is_known = std::ranges::any_of(
        keyring_.status(), [&](const auto& status) { return status.domain == head.trail; });
    if (deleted_.contains(head.trail) || (is_known && !trails_.contains(head.trail))) return;
    if (!missing_.insert(head.trail + head.store).second) return;
    defect(
        "{}: the keystore {} that checkpoint {} names is gone, and no record says that it was "
        "deleted",
        head.trail, head.store, checkpoint.number);
  }

  store::ControlStore& control_;
  Keyring& keyring_;
  std::stop_token stop_;
  AuditVerdict verdict_;
  std::map<std::string, Trail> trails_;
  std::set<std::string> deleted_;
  std::set<std::string> missing_;
  std::uint64_t checkpoints_recorded_ = 0;
};

Result<std::uint64_t> last_checkpoint_number(store::ControlStore& control) {
  std::vector<std::string> defects;
  const auto checkpoints = TRY(load_checkpoints(control, defects));
  if (!defects.empty()) return fail(ErrorCode::corrupt, defects.front());
  return checkpoints.empty() ? 0 : checkpoints.back().number;
}

}  // namespace

Result<AuditPage> AuditLog::list(const AuditQuery& query) {
  Position position = TRY(position_from_text(query.after));
  const Trails trails = open_trails(parts_.control, parts_.keyring);
  std::vector<TrailReader> readers;
  for (const auto& trail : trails.open) readers.emplace_back(*trail.trail, position[trail.name]);
  AuditPage page;
  for (std::size_t scanned = 0; scanned < kScannedMax; ++scanned) {
    const auto next = TRY(oldest(readers));
    if (!next) return page;
    if (page.lines.size() == query.count_max) break;
    store::StoredRecord stored = readers[*next].pop();
    position[trails.open[*next].name] = stored.sequence;
    if (fits(query, stored)) page.lines.push_back({trails.open[*next].name, std::move(stored)});
  }
  page.next = position_to_text(position);
  return page;
}

Result<AuditVerdict> AuditLog::verify(std::stop_token stop) {
  return Verification(parts_.control, parts_.keyring, std::move(stop)).run();
}

Result<void> AuditLog::checkpoint() {
  const SecretBytes seed = TRY(load_or_make_signing_key(parts_.keyring));
  AuditCheckpoint next{.number = TRY(last_checkpoint_number(parts_.control)) + 1,
                       .time = parts_.clock.now()};
  for (const auto& trail : open_trails(parts_.control, parts_.keyring).open) {
    const store::StoredRecord head = TRY(trail.trail->verify());
    next.heads.push_back({trail.name, trail.store, head.sequence, to_hex(head.chain)});
  }
  TRY(sign(next, seed));
  store::AuditRecord record = audit_record(audit_caller(), kCheckpointAction, kControl);
  record.detail = fmt::format(R"({{"number":{}}})", next.number);
  TRY(parts_.control.save({checkpoint_name(next.number), 0, checkpoint_to_json(next)},
                          {&record, 1}));
  return {};
}

void AuditLog::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    MonotonicTime next = parts_.clock.monotonic() + kCheckpointEvery;
    if (auto done = verify_and_sign(stop); !done) {
      if (!stop.stop_requested())
        log(LogLevel::warning, "no audit checkpoint was made: {}", done.error().message);
      next = parts_.clock.monotonic() + kCheckpointRetry;
    }
    if (!parts_.clock.sleep_until(stop, next)) return;
  }
}

Result<void> AuditLog::verify_and_sign(std::stop_token stop) {
  const AuditVerdict verdict = TRY(verify(std::move(stop)));
  if (verdict.defects.empty())
    parts_.events.clear(kAuditTampered, kControl);
  else
    parts_.events.raise(
        kAuditTampered, kControl,
        fmt::format("{} defects, the first: {}", verdict.defects.size(), verdict.defects.front()));
  return checkpoint();
}

}  // namespace keyward::engine
