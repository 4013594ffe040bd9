#include "engine/domain_births.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/log.h"
#include "crypto/key_schedule.h"
#include "engine/reseal_job.h"

namespace keyward::engine {
namespace {

std::vector<CustodianId> ids_of(std::span<const WantedCustodian> wanted) {
  std::vector<CustodianId> ids;
  for (const WantedCustodian& one : wanted) ids.push_back(one.id);
  return ids;
}

}  // namespace

Result<bool> DomainBirths::exists(const Domain& domain) {
  const std::vector<Domain> domains = TRY(parts_.backend.domains());
  return std::ranges::find(domains, domain) != domains.end();
}

Result<std::vector<WantedCustodian>> DomainBirths::pin(std::span<const CustodianId> custodians) {
  std::vector<WantedCustodian> wanted;
  for (const CustodianId& id : custodians)
    wanted.push_back({id, TRY(parts_.custodians.identity(id))});
  return wanted;
}

Result<std::shared_ptr<KeyringDomain>> DomainBirths::create(const Domain& domain,
                                                            std::span<const CustodianId> custodians,
                                                            const Caller& caller) {
  if (TRY(exists(domain))) {
    return fail(ErrorCode::already_exists,
                fmt::format("domain {} is there already", domain.text()));
  }
  const std::vector<WantedCustodian> wanted = TRY(pin(custodians));
  const KeyContext context{StoreId::random(), domain, KeyId::random()};
  const DomainIntent intent = TRY(save_intent(
      parts_.backend.control(),
      {.act = DomainIntent::Act::create, .context = context, .custodians = ids_of(wanted)}, {}));
  Result<std::shared_ptr<KeyringDomain>> made = make(context, wanted, caller);
  Result<void> ended = made ? remove_intent(parts_.backend.control(), intent, {}) : recover(intent);
  if (!ended)
    log(LogLevel::warning,
        "creation of {}: {}. It is ended at the next start, creation or deletion", domain.text(),
        ended.error().message);
  return made;
}

Result<std::shared_ptr<KeyringDomain>> DomainBirths::make(const KeyContext& context,
                                                          std::span<const WantedCustodian> wanted,
                                                          const Caller& caller) {
  NewKey made = TRY(parts_.custodians.generate(context, wanted));
  store::KeyRow row{.id = context.key,
                    .state = store::KeyState::current,
                    .created = parts_.clock.now(),
                    .commitment = made.commitment,
                    .wanted_mac = TRY(crypto::authenticate_wanted(made.key, context, wanted)),
                    .copies = std::move(made.copies),
                    .holders = ids_of(wanted),
                    .except = {}};
  const store::KeyTable first =
      TRY(store::first_table(context.store, context.domain, std::move(row),
                             std::vector<WantedCustodian>(wanted.begin(), wanted.end())));
  const store::AuditRecord record = audit_record(caller, "domain.create", context.domain.text(),
                                                 {{"key", api::Json(context.key.to_text())}});
  std::unique_ptr<store::Keystore> keystore = TRY(parts_.backend.create(first, {&record, 1}));
  auto domain = std::make_shared<KeyringDomain>(context.domain, parts_);
  domain->adopt(std::move(keystore));
  TRY(domain->hold(context.key, made.key));
  for (const WantedCustodian& one : wanted) {
    Result<void> confirmed = parts_.custodians.confirm(one.id, context);
    // It is told again at each start.
    if (!confirmed)
      log(LogLevel::warning, "{}: {}", context.domain.text(), confirmed.error().message);
  }
  return domain;
}

Result<void> DomainBirths::may_remove(store::Keystore& keystore) {
  const store::KeyTable table = TRY(keystore.keys());
  const std::string& name = table.domain.text();
  if (table.rekey) {
    return fail(ErrorCode::conflict,
                fmt::format("a rekey of {} is under way; wait for its end, or cancel it", name));
  }
  if (ResealJob::is_needed(table)) {
    return fail(ErrorCode::conflict,
                fmt::format("copies of {}'s key are being moved; wait for the end", name));
  }
  if (TRY(keystore.list(std::nullopt, 1)).empty()) return {};
  return fail(ErrorCode::conflict,
              fmt::format("{} still has entries; delete them first: keyward entries list --domain "
                          "{}",
                          name, name));
}

Result<void> DomainBirths::remove(const std::shared_ptr<KeyringDomain>& domain,
                                  const Caller& caller) {
  std::shared_ptr<store::Keystore> keystore = TRY(domain->keystore());
  Result<void> allowed = domain->fence();
  if (allowed) allowed = may_remove(*keystore);
  if (!allowed) {
    domain->reopen();
    return allowed;
  }
  const store::KeyTable table = TRY(keystore->keys());
  const store::KeyRow& row = table.current();
  Result<DomainIntent> intent = save_intent(parts_.backend.control(),
                                            {.act = DomainIntent::Act::remove,
                                             .context = table.context(row.id),
                                             .custodians = row.holders},
                                            {});
  if (!intent) {
    domain->reopen();
    return std::unexpected(std::move(intent.error()));
  }
  keystore = domain->release();
  if (Result<void> unused = wait_until_unused(keystore); !unused) {
    domain->adopt(std::move(keystore));
    domain->reopen();
    TRY(remove_intent(parts_.backend.control(), *intent, {}));
    return unused;
  }
  keystore.reset();
  removing_.insert(domain->name());
  TRY(remove_file(domain->name(), caller, row.id));
  Result<void> ended = recover(*intent);
  if (!ended)
    log(LogLevel::warning,
        "deletion of {}: {}. Its key is destroyed at the next start, creation or deletion",
        domain->name().text(), ended.error().message);
  return {};
}

// A file that is still open somewhere must not go: its connection would later take the write-ahead
// log of a new file of the same name for its own.
Result<void> DomainBirths::wait_until_unused(const std::shared_ptr<store::Keystore>& keystore) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kPausesMax = 1000;
  for (int i = 0; i < kPausesMax; ++i) {
    if (keystore.use_count() == 1) return {};
    parts_.clock.sleep_until({}, parts_.clock.monotonic() + kPause);
  }
  return fail(ErrorCode::busy,
              "the keystore is still in use; nothing was deleted, try again later");
}

Result<void> DomainBirths::remove_file(const Domain& domain, const Caller& caller,
                                       const KeyId& key) {
  const store::AuditRecord record =
      audit_record(caller, "domain.delete", domain.text(), {{"key", api::Json(key.to_text())}});
  Result<void> removed = parts_.backend.remove(domain, {&record, 1});
  if (removed) {
    removing_.erase(domain);
    return {};
  }
  return std::unexpected(
      with_context(std::move(removed.error()),
                   fmt::format("the deletion of {} goes on at the next start, creation or deletion",
                               domain.text())));
}

Result<void> DomainBirths::recover() {
  std::optional<Error> error;
  for (const DomainIntent& intent : TRY(load_intents(parts_.backend.control()))) {
    Result<void> ended = recover(intent);
    if (!ended) error = with_context(std::move(ended.error()), intent.context.domain.text());
  }
  if (error) return std::unexpected(std::move(*error));
  return {};
}

// A file that is there wins: what was to be created was, and what was to be deleted stays, since
// the state directory may be an older one in which the deletion had only begun. Nobody was told
// that it succeeded.
Result<void> DomainBirths::recover(const DomainIntent& intent) {
  const Domain& domain = intent.context.domain;
  if (removing_.contains(domain))
    TRY(remove_file(domain, {"recovery", "daemon"}, intent.context.key));
  if (!TRY(exists(domain))) {
    TRY(intent.act == DomainIntent::Act::create ? clean_up(intent) : destroy_deleted(intent));
  }
  return remove_intent(parts_.backend.control(), intent, {});
}

Result<void> DomainBirths::clean_up(const DomainIntent& intent) {
  for (const CustodianId& custodian : intent.custodians) {
    Result<void> destroyed =
        parts_.custodians.destroy(custodian, intent.context, hsm::DestroyScope::unconfirmed);
    if (destroyed) continue;
    if (destroyed.error().code != ErrorCode::conflict) return destroyed;
    parts_.events.raise(kUnknownHardwareObject, intent.context.key.to_text(),
                        fmt::format("{}: this state directory began to create {} and does not have "
                                    "it, but the hardware says that its key is in use. Nothing was "
                                    "destroyed",
                                    custodian.text, intent.context.domain.text()));
  }
  return {};
}

Result<void> DomainBirths::destroy_deleted(const DomainIntent& intent) {
  for (const CustodianId& custodian : intent.custodians)
    TRY(destroyer_.deleted(parts_.backend, intent.context, custodian));
  return {};
}

}  // namespace keyward::engine
