#include "engine/keyring.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "engine/domain_births.h"
#include "engine/keyring_domain.h"
#include "engine/read_auditor.h"

namespace keyward::engine {
namespace {

constexpr std::chrono::seconds kUnsealPauseFirst{1};
constexpr std::chrono::seconds kUnsealPauseMax{60};

// KEYWARD first, since a custodian's credential may be in it; then SED, for which the drives wait.
std::tuple<int, std::string> opening_order(const Domain& domain) {
  const std::string& text = domain.text();
  return {text == "KEYWARD" ? 0 : text == "SED" ? 1 : 2, text};
}

}  // namespace

class Keyring::Impl {
 public:
  Impl(Parts parts, Settings settings)
      : parts_(parts), settings_(std::move(settings)), births_(parts_), reads_(parts_.clock) {
    // From the first instant, so that nobody takes a domain that waits for its turn for one that is
    // gone. What fails here is tried again, and said, by unseal_all().
    static_cast<void>(list_domains());
    recovered_ = parts_.custodians.on_recovered([this] { retry_now(); });
    read_writer_ = std::jthread([this](const std::stop_token& stop) { write_reads(stop); });
  }

  ~Impl() {
    recovered_.reset();
    read_writer_.request_stop();
    read_writer_.join();
    write_reads_now(ReadAuditor::Take::all);
  }

  // ---- Domains ----

  std::shared_ptr<KeyringDomain> find(const Domain& domain) const {
    const std::shared_lock lock(domains_mutex_);
    const auto found = domains_.find(domain);
    return found == domains_.end() ? nullptr : found->second;
  }

  Result<std::shared_ptr<KeyringDomain>> need(const Domain& domain) const {
    if (std::shared_ptr<KeyringDomain> found = find(domain)) return found;
    if (!listed_) {
      return fail(ErrorCode::unavailable, "the keystores are not open yet; try again in a moment");
    }
    return fail(ErrorCode::not_found,
                fmt::format("there is no domain {}; make it: keyward cluster domains create {}",
                            domain.text(), domain.text()));
  }

  std::vector<std::shared_ptr<KeyringDomain>> all() const {
    const std::shared_lock lock(domains_mutex_);
    std::vector<std::shared_ptr<KeyringDomain>> all;
    for (const auto& [name, domain] : domains_) all.push_back(domain);
    return all;
  }

  Result<void> create_domain(const Domain& domain, const Caller& caller) {
    const std::scoped_lock acting(acting_);
    recover_what_can_be();
    const std::vector<CustodianId> custodians =
        settings_.custodians.empty() ? parts_.custodians.ids() : settings_.custodians;
    Result<std::shared_ptr<KeyringDomain>> made = births_.create(domain, custodians, caller);
    if (!made) {
      // The answer may have been lost after the file was made.
      if (made.error().code == ErrorCode::already_exists || !TRY(file_exists(domain)))
        return std::unexpected(std::move(made.error()));
      made = std::make_shared<KeyringDomain>(domain, parts_);
      TRY((*made)->unseal());
      CheckedCopies none_yet;
      static_cast<void>((*made)->check_copies(none_yet));
    }
    const std::unique_lock lock(domains_mutex_);
    domains_.insert_or_assign(domain, std::move(*made));
    return {};
  }

  Result<void> delete_domain(const Domain& domain, const Caller& caller) {
    const std::scoped_lock acting(acting_);
    recover_what_can_be();
    const std::shared_ptr<KeyringDomain> found = TRY(need(domain));
    Result<void> removed = births_.remove(found, caller);
    if (!removed && !found->is_released()) return removed;  // It serves on.
    const std::unique_lock lock(domains_mutex_);
    domains_.erase(domain);
    return removed;
  }

  // ---- Unsealing ----

  void unseal_all(const std::stop_token& stop) {
    std::map<Domain, Attempt> attempts;
    while (!stop.stop_requested()) {
      const bool complete = unseal_pass(attempts, stop);
      if (check_copies(attempts, stop) && complete) return;
      wait_for_next(attempts, stop);
    }
  }

  Result<void> wait_unsealed(const Domain& domain, const std::stop_token& stop,
                             MonotonicTime deadline) {
    std::unique_lock lock(wait_mutex_);
    for (;;) {
      const std::shared_ptr<KeyringDomain> found = find(domain);
      if (found && found->is_open()) return {};
      if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped while waiting");
      if (parts_.clock.monotonic() >= deadline) {
        return fail(ErrorCode::unavailable,
                    fmt::format("{} is still locked{}", domain.text(),
                                found ? ": " + found->status().error : std::string()));
      }
      parts_.clock.wait_until(lock, changed_, stop, deadline);
    }
  }

  // ---- Reads ----

  Result<SecretBytes> get(const Domain& domain, const EntryName& name, const Caller& caller,
                          std::uint64_t* version) {
    const std::shared_ptr<KeyringDomain> found = TRY(need(domain));
    const ReadAudit audit = read_audit(domain);
    if (audit == ReadAudit::each) return get_recorded(*found, name, caller, version);
    SecretBytes secret = TRY(found->get(name, version));
    if (audit == ReadAudit::first) reads_.note(domain, name, caller);
    return secret;
  }

  bool is_listed() const { return listed_; }

  Parts parts_;

 private:
  struct Attempt {
    std::chrono::seconds pause{0};
    MonotonicTime next{};
    bool copies_checked = false;
    CheckedCopies checked{};
  };

  Result<bool> file_exists(const Domain& domain) {
    const std::vector<Domain> files = TRY(parts_.backend.domains());
    return std::ranges::find(files, domain) != files.end();
  }

  Result<void> list_domains() {
    if (listed_) return {};
    const std::vector<Domain> files = TRY(parts_.backend.domains());
    const std::unique_lock lock(domains_mutex_);
    for (const Domain& domain : files)
      domains_.try_emplace(domain, std::make_shared<KeyringDomain>(domain, parts_));
    listed_ = true;
    return {};
  }

  // True when all is open and nothing that a crash left is undone.
  bool unseal_pass(std::map<Domain, Attempt>& attempts, const std::stop_token& stop) {
    // First, whatever comes of it: while it stands, nobody waits for the next pass.
    const bool at_once = retry_now_.exchange(false);
    if (Result<void> listed = list_domains(); !listed) {
      log(LogLevel::error, "the keystores cannot be listed: {}", listed.error().message);
      return false;
    }
    std::vector<std::shared_ptr<KeyringDomain>> domains = all();
    std::ranges::sort(domains, {},
                      [](const auto& domain) { return opening_order(domain->name()); });
    bool complete = true;
    for (const auto& domain : domains) {
      if (stop.stop_requested()) return false;
      if (domain->is_open()) continue;
      complete = try_unseal(*domain, attempts[domain->name()], at_once) && complete;
    }
    return recover_births() && complete;
  }

  bool try_unseal(KeyringDomain& domain, Attempt& attempt, bool at_once) {
    if (!at_once && parts_.clock.monotonic() < attempt.next) return false;
    const Result<void> unsealed = domain.unseal();
    notify();
    if (unsealed) {
      log(LogLevel::info, "{} is open", domain.name().text());
      return true;
    }
    attempt.pause = std::clamp(attempt.pause * 2, kUnsealPauseFirst, kUnsealPauseMax);
    attempt.next = parts_.clock.monotonic() + attempt.pause;
    log(LogLevel::warning, "{} does not open: {}", domain.name().text(), unsealed.error().message);
    return false;
  }

  // One domain whose custodian is away holds up no other.
  bool recover_what_can_be() {
    const Result<void> recovered = births_.recover();
    if (!recovered) log(LogLevel::warning, "{}", recovered.error().message);
    return recovered.has_value();
  }

  bool recover_births() {
    const std::scoped_lock acting(acting_);
    return recover_what_can_be();
  }

  // True when every copy of every open domain was asked for. A custodian that is silent is asked
  // again with the next pass.
  bool check_copies(std::map<Domain, Attempt>& attempts, const std::stop_token& stop) {
    bool all_checked = true;
    for (const auto& domain : all()) {
      Attempt& attempt = attempts[domain->name()];
      if (stop.stop_requested()) return false;
      if (!attempt.copies_checked && domain->is_open())
        attempt.copies_checked = domain->check_copies(attempt.checked);
      all_checked = all_checked && attempt.copies_checked;
    }
    return all_checked;
  }

  void wait_for_next(const std::map<Domain, Attempt>& attempts, const std::stop_token& stop) {
    MonotonicTime next = parts_.clock.monotonic() + kUnsealPauseMax;
    for (const auto& [name, attempt] : attempts) {
      const std::shared_ptr<KeyringDomain> domain = find(name);
      if (domain && !domain->is_open()) next = std::min(next, attempt.next);
    }
    std::unique_lock lock(wait_mutex_);
    while (!stop.stop_requested() && !retry_now_ && parts_.clock.monotonic() < next)
      parts_.clock.wait_until(lock, changed_, stop, next);
  }

  void retry_now() {
    {
      const std::scoped_lock lock(wait_mutex_);
      retry_now_ = true;
    }
    changed_.notify_all();
  }

  void notify() {
    { const std::scoped_lock lock(wait_mutex_); }
    changed_.notify_all();
  }

  ReadAudit read_audit(const Domain& domain) const {
    const auto found = settings_.read_audit_of.find(domain);
    return found == settings_.read_audit_of.end() ? settings_.read_audit : found->second;
  }

  Result<SecretBytes> get_recorded(KeyringDomain& domain, const EntryName& name,
                                   const Caller& caller, std::uint64_t* version) {
    Result<SecretBytes> secret = domain.get(name, version);
    store::AuditRecord record = read_record(domain.name(), name, caller);
    if (!secret) record.outcome = error_code_name(secret.error().code);
    TRY(TRY(domain.keystore())->audit_trail().append({&record, 1}));
    return secret;
  }

  void write_reads(const std::stop_token& stop) {
    std::unique_lock lock(reads_mutex_);
    while (!stop.stop_requested()) {
      const MonotonicTime deadline = parts_.clock.monotonic() + settings_.read_audit_pause;
      while (!stop.stop_requested() && parts_.clock.monotonic() < deadline)
        parts_.clock.wait_until(lock, reads_wake_, stop, deadline);
      lock.unlock();
      write_reads_now(ReadAuditor::Take::due);
      lock.lock();
    }
  }

  void write_reads_now(ReadAuditor::Take what) {
    for (const auto& [name, records] : reads_.take(what)) {
      const std::shared_ptr<KeyringDomain> domain = find(name);
      const auto keystore = domain ? domain->keystore() : need_none(name);
      Result<void> written = keystore ? (*keystore)->audit_trail().append(records)
                                      : Result<void>(std::unexpected(keystore.error()));
      if (!written)
        log(LogLevel::error, "{} audit records of reads in {} are lost: {}", records.size(),
            name.text(), written.error().message);
    }
  }

  static Result<std::shared_ptr<store::Keystore>> need_none(const Domain& domain) {
    return fail(ErrorCode::not_found, fmt::format("domain {} was deleted", domain.text()));
  }

  Settings settings_;
  DomainBirths births_;
  std::mutex acting_;  // One creation or deletion at a time.

  mutable std::shared_mutex domains_mutex_;
  std::map<Domain, std::shared_ptr<KeyringDomain>> domains_;
  std::atomic<bool> listed_{false};

  std::mutex wait_mutex_;
  std::condition_variable_any changed_;
  std::atomic<bool> retry_now_{false};
  std::shared_ptr<void> recovered_;

  ReadAuditor reads_;
  std::mutex reads_mutex_;
  std::condition_variable_any reads_wake_;
  std::jthread read_writer_;
};

Keyring::Keyring(Parts parts, Settings settings)
    : impl_(std::make_unique<Impl>(parts, std::move(settings))) {}
Keyring::~Keyring() = default;

void Keyring::unseal_all(std::stop_token stop) { impl_->unseal_all(stop); }

Result<void> Keyring::wait_unsealed(const Domain& domain, std::stop_token stop,
                                    MonotonicTime deadline) {
  return impl_->wait_unsealed(domain, stop, deadline);
}

Result<SecretBytes> Keyring::get(const Domain& domain, const EntryName& name, const Caller& caller,
                                 std::uint64_t* version) {
  return impl_->get(domain, name, caller, version);
}

Result<std::uint64_t> Keyring::put(const Domain& domain, const EntryName& name,
                                   const SecretBytes& secret,
                                   std::optional<std::uint64_t> if_version, const Caller& caller) {
  return TRY(impl_->need(domain))->put(name, secret, if_version, caller);
}

Result<void> Keyring::edit(const Domain& domain, std::span<const EntryEdit> edits,
                           const Caller& caller) {
  return TRY(impl_->need(domain))->edit(edits, caller);
}

Result<std::vector<store::EntryInfo>> Keyring::list(const Domain& domain,
                                                    const std::optional<EntryName>& after,
                                                    std::size_t count_max) {
  return TRY(impl_->need(domain))->list(after, count_max);
}

Result<void> Keyring::create_domain(const Domain& domain, const Caller& caller) {
  return impl_->create_domain(domain, caller);
}

Result<void> Keyring::delete_domain(const Domain& domain, const Caller& caller) {
  return impl_->delete_domain(domain, caller);
}

std::vector<api::DomainStatus> Keyring::status() const {
  std::vector<api::DomainStatus> rows;
  for (const auto& domain : impl_->all()) rows.push_back(domain->status());
  return rows;
}

bool Keyring::is_listed() const { return impl_->is_listed(); }

std::vector<Domain> Keyring::domains() const {
  std::vector<Domain> names;
  for (const auto& domain : impl_->all()) names.push_back(domain->name());
  return names;
}

Result<std::shared_ptr<store::Keystore>> Keyring::keystore(const Domain& domain) {
  return TRY(impl_->need(domain))->keystore();
}

Result<std::shared_ptr<store::EntryCipher>> Keyring::cipher(const Domain& domain,
                                                            const KeyId& key) {
  return TRY(impl_->need(domain))->cipher(key);
}

Result<void> Keyring::hold(const Domain& domain, const KeyId& key, const SecretBytes& secret) {
  return TRY(impl_->need(domain))->hold(key, secret);
}

void Keyring::forget(const Domain& domain, const KeyId& key) {
  if (const auto found = impl_->find(domain)) found->forget(key);
}

Result<void> Keyring::reserve_encryptions(const Domain& domain, const KeyId& key,
                                          std::uint64_t count) {
  return TRY(impl_->need(domain))->reserve_encryptions(key, count);
}

Result<void> Keyring::check_wanted(const Domain& domain) const {
  return TRY(impl_->need(domain))->check_wanted();
}

void Keyring::trust_wanted(const Domain& domain) {
  if (const auto found = impl_->find(domain)) found->trust_wanted();
}

}  // namespace keyward::engine
