#include "engine/custodian_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "base/log.h"
#include "crypto/key_schedule.h"

namespace keyward::engine {
namespace {

constexpr std::chrono::minutes kProbeEvery{10};
constexpr std::chrono::minutes kProbeUnhealthyEvery{1};
// So many probes in a row must succeed before the event is cleared: a custodian that comes and goes
// raises one event, not hundreds.
constexpr unsigned kGoodProbesToClear = 2;

bool is_sticky(ErrorCode code) {
  return code == ErrorCode::auth_failed || code == ErrorCode::locked_out;
}
bool is_unreachable(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::timeout;
}
// Errors that say something of the custodian; the others are about the one object that was asked
// for.
bool is_unhealthy(ErrorCode code) {
  return is_sticky(code) || is_unreachable(code) || code == ErrorCode::protocol ||
         code == ErrorCode::io;
}

std::string as_sentence(std::string text) {
  if (!text.ends_with('.')) text += '.';
  return text;
}

struct Member {
  std::unique_ptr<hsm::Custodian> custodian;
  hsm::NeedsPassphrase* needs_passphrase = nullptr;  // The same object, where it is one.
  std::mutex calling;                                // Held while the custodian is asked.

  // The rest is guarded by the set's mutex.
  bool healthy = false;
  bool sticky = false;
  bool unreachable = false;
  bool alarmed = false;  // Its event is open.
  unsigned good_probes = 0;
  UtcTime since{};
  Error last{ErrorCode::unavailable, "it was not asked yet"};
  MonotonicTime next_probe{};
  std::optional<std::string> identity;

  const CustodianId& id() const { return custodian->id(); }
  bool waits_for_passphrase() const {
    return needs_passphrase != nullptr && !needs_passphrase->has_passphrase();
  }
};

enum class Asked : std::uint8_t { by_work, by_probe, by_person };

}  // namespace

class CustodianSet::Impl {
 public:
  Impl(EventLog& events, Clock& clock) : events_(events), clock_(clock) {}

  void add(std::unique_ptr<hsm::Custodian> custodian) {
    auto member = std::make_unique<Member>();
    member->needs_passphrase = dynamic_cast<hsm::NeedsPassphrase*>(custodian.get());
    member->custodian = std::move(custodian);
    member->since = clock_.now();
    member->next_probe = clock_.monotonic();
    const std::scoped_lock lock(mutex_);
    members_.push_back(std::move(member));
    wake_.notify_all();
  }

  std::vector<Member*> members() const {
    const std::scoped_lock lock(mutex_);
    std::vector<Member*> all;
    for (const auto& member : members_) all.push_back(member.get());
    return all;
  }

  Result<Member*> find(const CustodianId& id) const {
    for (Member* member : members())
      if (member->id() == id) return member;
    return fail(ErrorCode::not_found,
                fmt::format("{} is not configured; add it to the configuration again, or take it "
                            "from the keystores: keyward custodians remove {}",
                            id.text, id.text));
  }

  // Asks one custodian, unless it is known not to answer.
  template <typename Call>
  auto ask(Member& member, Call call) -> decltype(call(*member.custodian)) {
    TRY(may_ask(member));
    const std::scoped_lock calling(member.calling);
    // Whoever was before us in the queue may have found that it does not answer.
    TRY(may_ask(member));
    return ask_now(member, Asked::by_work, call);
  }

  // The caller holds `member.calling`.
  template <typename Call>
  auto ask_now(Member& member, Asked why, Call call) -> decltype(call(*member.custodian)) {
    auto answer = call(*member.custodian);
    if (answer) {
      note_success(member, why);
      return answer;
    }
    note_failure(member, answer.error(), why);
    return std::unexpected(with_context(std::move(answer.error()), member.id().text));
  }

  Result<std::string> identity(Member& member) {
    if (!may_ask(member)) {
      const std::scoped_lock lock(mutex_);
      if (member.identity) return *member.identity;
    }
    std::string identity =
        TRY(ask(member, [](hsm::Custodian& custodian) { return custodian.identity(); }));
    const std::scoped_lock lock(mutex_);
    member.identity = identity;
    return identity;
  }

  Result<void> check_identity(Member& member, const WantedCustodian& wanted) {
    const std::string now = TRY(identity(member));
    if (now == wanted.identity) return {};
    return fail(ErrorCode::conflict,
                fmt::format("{} is now \"{}\", but was pinned as \"{}\": other hardware, or it was "
                            "initialised anew. Nothing is sealed to it. If it is yours: keyward "
                            "custodians remove {}, then add",
                            member.id().text, now, wanted.identity, member.id().text));
  }

  Result<void> probe(Member& member, Asked why) {
    const std::scoped_lock calling(member.calling);
    return ask_now(member, why, [](hsm::Custodian& custodian) { return custodian.probe(); });
  }

  void forgive(Member& member) {
    const std::scoped_lock lock(mutex_);
    member.sticky = false;
    member.unreachable = false;
  }

  void run(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      Member* due = due_member();
      if (due == nullptr) {
        clock_.wait_until(lock, wake_, stop, earliest_probe());
        continue;
      }
      lock.unlock();
      static_cast<void>(probe(*due, Asked::by_probe));
      lock.lock();
    }
  }

  std::shared_ptr<void> on_recovered(std::function<void()> listener) {
    const std::scoped_lock lock(listeners_mutex_);
    listeners_.push_back(std::move(listener));
    auto place = std::prev(listeners_.end());
    return {static_cast<void*>(this), [this, place](void*) {
              const std::scoped_lock locked(listeners_mutex_);
              listeners_.erase(place);
            }};
  }

  void tell_recovered() {
    const std::scoped_lock lock(listeners_mutex_);
    for (const auto& listener : listeners_) listener();
  }

  std::vector<CustodianHealth> health() const {
    const std::scoped_lock lock(mutex_);
    std::vector<CustodianHealth> all;
    for (const auto& member : members_) {
      all.push_back({member->id(), member->healthy, member->since,
                     member->healthy ? std::string() : member->last.message});
    }
    return all;
  }

  // 0: hardware that answers; 1: hardware that did not; 2: what needs a person.
  int rank(const CustodianId& id) const {
    const Result<Member*> member = find(id);
    if (!member) return 3;
    if ((*member)->needs_passphrase != nullptr) return 2;
    const std::scoped_lock lock(mutex_);
    return (*member)->sticky || (*member)->unreachable ? 1 : 0;
  }

 private:
  Result<void> may_ask(const Member& member) const {
    const std::scoped_lock lock(mutex_);
    const std::string& id = member.id().text;
    if (member.sticky) {
      return fail(member.last.code,
                  fmt::format("{}: {} It is not asked again by itself, since tries may be counted: "
                              "repair the cause, then run: keyward custodians test {}",
                              id, as_sentence(member.last.message), id));
    }
    if (member.unreachable && clock_.monotonic() < member.next_probe) {
      return fail(ErrorCode::unavailable, fmt::format("{}: {} It is asked again within a minute.",
                                                      id, as_sentence(member.last.message)));
    }
    return {};
  }

  void note_success(Member& member, Asked why) {
    bool recovered = false;
    bool clear = false;
    {
      const std::scoped_lock lock(mutex_);
      recovered = !member.healthy;
      if (recovered) member.since = clock_.now();
      member.healthy = true;
      member.sticky = member.unreachable = false;
      if (why == Asked::by_probe) ++member.good_probes;
      clear =
          member.alarmed && (why == Asked::by_person || member.good_probes >= kGoodProbesToClear);
      if (clear) member.alarmed = false;
      if (why != Asked::by_work)
        member.next_probe =
            clock_.monotonic() + (member.alarmed ? kProbeUnhealthyEvery : kProbeEvery);
    }
    if (clear) events_.clear(kCustodianUnhealthy, member.id().text);
    if (recovered) tell_recovered();
  }

  // A probe asks for no object, so that whatever it answers is about the custodian: a token that
  // can seal by no mechanism is as unhealthy as one that is away.
  void note_failure(Member& member, const Error& error, Asked why) {
    if (why == Asked::by_work && !is_unhealthy(error.code)) return;
    bool raise = false;
    {
      const std::scoped_lock lock(mutex_);
      if (member.healthy) member.since = clock_.now();
      member.healthy = false;
      member.good_probes = 0;
      member.last = error;
      member.sticky = is_sticky(error.code);
      member.unreachable = is_unreachable(error.code);
      member.next_probe =
          member.sticky ? MonotonicTime::max() : clock_.monotonic() + kProbeUnhealthyEvery;
      // One that waits for a person is no fault: the domains that need it say so.
      raise = !member.alarmed && !member.waits_for_passphrase();
      member.alarmed = member.alarmed || raise;
      wake_.notify_all();
    }
    if (!raise) return;
    log(LogLevel::warning, "custodian {} is unhealthy: {}", member.id().text, error.message);
    events_.raise(kCustodianUnhealthy, member.id().text, error.message);
  }

  // The mutex is held. Sticky ones are never due, nor one whose passphrase was not given.
  Member* due_member() {
    const MonotonicTime now = clock_.monotonic();
    for (const auto& member : members_) {
      if (member->next_probe > now) continue;
      if (!member->waits_for_passphrase()) return member.get();
      member->last = {ErrorCode::unavailable, fmt::format("it waits for its passphrase; give it: "
                                                          "keyward custodians unlock {}",
                                                          member->id().text)};
      member->next_probe = now + kProbeUnhealthyEvery;
    }
    return nullptr;
  }

  MonotonicTime earliest_probe() const {
    MonotonicTime earliest = clock_.monotonic() + kProbeEvery;
    for (const auto& member : members_) earliest = std::min(earliest, member->next_probe);
    return earliest;
  }

  EventLog& events_;
  Clock& clock_;
  mutable std::mutex mutex_;  // Never held while a custodian is asked.
  std::condition_variable_any wake_;
  std::vector<std::unique_ptr<Member>> members_;  // Only grows.
  std::mutex listeners_mutex_;
  std::list<std::function<void()>> listeners_;
};

namespace {

// Says what to do when the hardware will not part with what it holds for a key that is not yet in
// use here.
Error explain_conflict(Error error) {
  if (error.code != ErrorCode::conflict) return error;
  error.message +=
      ". The hardware says that this key is in use, and this state directory does not know it: it "
      "is older than the hardware, as after restoring a backup. Nothing was destroyed. Restore the "
      "newest state, or cancel what needs the new key (keyward cluster rekey cancel)";
  return error;
}

}  // namespace

CustodianSet::CustodianSet(EventLog& events, Clock& clock)
    : impl_(std::make_unique<Impl>(events, clock)) {}
CustodianSet::~CustodianSet() = default;

void CustodianSet::add(std::unique_ptr<hsm::Custodian> custodian) {
  impl_->add(std::move(custodian));
}

std::vector<CustodianId> CustodianSet::ids() const {
  std::vector<CustodianId> ids;
  for (const auto* member : impl_->members()) ids.push_back(member->id());
  return ids;
}

bool CustodianSet::destroys(const CustodianId& custodian) const {
  const auto member = impl_->find(custodian);
  return member && (*member)->custodian->destroys();
}

Result<std::string> CustodianSet::identity(const CustodianId& custodian) {
  return impl_->identity(*TRY(impl_->find(custodian)));
}

Result<void> CustodianSet::supply_passphrase(const CustodianId& custodian, SecretBytes passphrase) {
  auto& member = *TRY(impl_->find(custodian));
  if (member.needs_passphrase == nullptr) {
    return fail(ErrorCode::unsupported,
                fmt::format("{} takes no passphrase: its credential is named in the configuration",
                            custodian.text));
  }
  {
    const std::scoped_lock calling(member.calling);
    TRY(member.needs_passphrase->supply(std::move(passphrase)));
  }
  impl_->forgive(member);
  impl_->tell_recovered();
  // Shown healthy at once, not after the next probe.
  return impl_->probe(member, Asked::by_person);
}

void CustodianSet::run(std::stop_token stop) { impl_->run(std::move(stop)); }

std::shared_ptr<void> CustodianSet::on_recovered(std::function<void()> listener) {
  return impl_->on_recovered(std::move(listener));
}

Result<NewKey> CustodianSet::generate(const KeyContext& context,
                                      std::span<const WantedCustodian> wanted) {
  if (wanted.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("no custodian is to seal the new key of {}", context.domain.text()));
  }
  // All must answer before the first is asked to make anything.
  for (const WantedCustodian& one : wanted) TRY(make_room(one, context));
  auto& first = *TRY(impl_->find(wanted.front().id));
  hsm::GeneratedKey made = TRY(
      impl_->ask(first, [&](hsm::Custodian& custodian) { return custodian.generate(context); }));
  NewKey result{std::move(made.key), {}, {}};
  result.commitment = TRY(crypto::commit_to_key(result.key, context.domain, context.key));
  TRY(prove(made.copy, result.key, context));
  result.copies.push_back(std::move(made.copy));
  for (const WantedCustodian& one : wanted.subspan(1))
    result.copies.push_back(TRY(seal_proved(one.id, result.key, context)));
  return result;
}

// What an earlier try left goes; what is in use does not.
Result<void> CustodianSet::make_room(const WantedCustodian& custodian, const KeyContext& context) {
  TRY(impl_->check_identity(*TRY(impl_->find(custodian.id)), custodian));
  Result<void> clean = destroy(custodian.id, context, hsm::DestroyScope::unconfirmed);
  if (!clean) return std::unexpected(explain_conflict(std::move(clean.error())));
  return {};
}

Result<SealedKey> CustodianSet::seal(const WantedCustodian& custodian, const SecretBytes& key,
                                     const KeyContext& context) {
  TRY(make_room(custodian, context));
  return seal_proved(custodian.id, key, context);
}

Result<SealedKey> CustodianSet::seal_proved(const CustodianId& custodian, const SecretBytes& key,
                                            const KeyContext& context) {
  SealedKey copy = TRY(impl_->ask(*TRY(impl_->find(custodian)),
                                  [&](hsm::Custodian& asked) { return asked.seal(key, context); }));
  TRY(prove(copy, key, context));
  return copy;
}

// A copy counts only when the custodian gives the same key back.
Result<void> CustodianSet::prove(const SealedKey& copy, const SecretBytes& key,
                                 const KeyContext& context) {
  auto& member = *TRY(impl_->find(copy.custodian));
  const SecretBytes again =
      TRY(impl_->ask(member, [&](hsm::Custodian& asked) { return asked.unseal(copy, context); }));
  if (constant_time_equal(again.reveal(), key.reveal())) return {};
  return fail(
      ErrorCode::corrupt,
      fmt::format("{}: the new copy of key {} gives another key back; it was not taken into "
                  "use. Test the hardware: keyward custodians test {}",
                  copy.custodian.text, context.key.to_text(), copy.custodian.text));
}

Result<void> CustodianSet::confirm(const CustodianId& custodian, const KeyContext& context) {
  return impl_->ask(*TRY(impl_->find(custodian)),
                    [&](hsm::Custodian& asked) { return asked.confirm(context); });
}

Result<SecretBytes> CustodianSet::unseal(const store::KeyRow& row, const KeyContext& context) {
  std::vector<const SealedKey*> copies;
  for (const SealedKey& copy : row.copies) copies.push_back(&copy);
  std::ranges::stable_sort(copies, {},
                           [&](const SealedKey* copy) { return impl_->rank(copy->custodian); });
  Error error{ErrorCode::corrupt, fmt::format("key {} has no copy", context.key.to_text())};
  std::string all;
  for (const SealedKey* copy : copies) {
    Result<SecretBytes> key = unseal_copy(*copy, row, context);
    if (key) return key;
    all += (all.empty() ? "" : "; ") + key.error().message;
    error = std::move(key.error());
    error.message = all;
  }
  return std::unexpected(std::move(error));
}

Result<SecretBytes> CustodianSet::unseal_copy(const SealedKey& copy, const store::KeyRow& row,
                                              const KeyContext& context) {
  SecretBytes key = TRY(impl_->ask(*TRY(impl_->find(copy.custodian)), [&](hsm::Custodian& asked) {
    return asked.unseal(copy, context);
  }));
  const KeyCommitment commitment = TRY(crypto::commit_to_key(key, context.domain, context.key));
  if (constant_time_equal(commitment, row.commitment)) return key;
  return fail(ErrorCode::corrupt,
              fmt::format("{}: its copy gives a key that is not key {} of {} (the commitment "
                          "differs). Test the custodian; if it opens what it seals, the copy or "
                          "the key table was edited: restore the keystore from a backup",
                          copy.custodian.text, context.key.to_text(), context.domain.text()));
}

Result<void> CustodianSet::destroy(const CustodianId& custodian, const KeyContext& context,
                                   hsm::DestroyScope scope) {
  return impl_->ask(*TRY(impl_->find(custodian)),
                    [&](hsm::Custodian& asked) { return asked.destroy(context, scope); });
}

Result<std::vector<hsm::HeldObject>> CustodianSet::list(const CustodianId& custodian) {
  return impl_->ask(*TRY(impl_->find(custodian)),
                    [](hsm::Custodian& asked) { return asked.list(); });
}

Result<void> CustodianSet::test(const CustodianId& custodian) {
  auto& member = *TRY(impl_->find(custodian));
  impl_->forgive(member);
  return impl_->probe(member, Asked::by_person);
}

std::vector<CustodianHealth> CustodianSet::health() const { return impl_->health(); }

}  // namespace keyward::engine
