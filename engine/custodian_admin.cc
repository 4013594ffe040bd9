#include "engine/custodian_admin.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "base/log.h"
#include "engine/job_parts.h"
#include "engine/queued_rekeys.h"
#include "engine/reseal_job.h"
#include "store/key_table.h"

namespace keyward::engine {
namespace {

std::string_view kind_of(const CustodianId& id) {
  return std::string_view(id.text).substr(0, id.text.find(':'));
}

bool is_live(const store::KeyRow& row) {
  return row.state == store::KeyState::pending || row.state == store::KeyState::current;
}

bool is_concerned(const store::KeyTable& table, const CustodianId& id) {
  return table.find_wanted(id) != nullptr ||
         std::ranges::any_of(table.keys, [&](const store::KeyRow& row) {
           return std::ranges::find(row.holders, id) != row.holders.end();
         });
}

std::vector<CustodianId> wanted_without(const store::KeyTable& table, const CustodianId& id) {
  std::vector<CustodianId> rest;
  for (const WantedCustodian& wanted : table.wanted)
    if (wanted.id != id) rest.push_back(wanted.id);
  return rest;
}

Error refuse(ErrorCode code, const CustodianId& custodian, const Domain& domain,
             std::string_view why) {
  return {code, fmt::format("{} is not removed, and nothing was changed: {}: {}", custodian.text,
                            domain.text(), why)};
}

// What keystores say of one custodian.
struct Standing {
  std::vector<std::string> domains;
  std::uint64_t copies = 0;
  std::string identity;  // As pinned.
};

std::map<std::string, Standing> standings(Keyring& keyring) {
  std::map<std::string, Standing> all;
  for (const Domain& domain : keyring.domains()) {
    const auto keystore = keyring.keystore(domain);
    if (!keystore) continue;
    const auto table = (*keystore)->keys();
    if (!table) continue;
    for (const WantedCustodian& wanted : table->wanted) {
      all[wanted.id.text].domains.push_back(domain.text());
      all[wanted.id.text].identity = wanted.identity;
    }
    for (const store::KeyRow& row : table->keys)
      for (const SealedKey& copy : row.copies) ++all[copy.custodian.text].copies;
  }
  return all;
}

}  // namespace

struct CustodianAdmin::Plan {
  Domain domain;
  std::shared_ptr<store::Keystore> keystore;
  store::KeyTable table;
};

std::vector<api::CustodianRow> CustodianAdmin::list() {
  std::map<std::string, Standing> known = standings(parts_.keyring);
  std::vector<api::CustodianRow> rows;
  for (const CustodianHealth& health : parts_.custodians.health()) {
    Standing standing = std::move(known[health.id.text]);
    known.erase(health.id.text);
    api::CustodianRow row;
    row.id = health.id.text;
    row.configured = true;
    row.healthy = health.healthy;
    row.destroys = parts_.custodians.destroys(health.id);
    row.needs_passphrase = kind_of(health.id) == "passphrase" && !health.healthy;
    row.identity = std::move(standing.identity);
    if (health.healthy)
      if (auto identity = parts_.custodians.identity(health.id)) row.identity = *identity;
    row.domains = std::move(standing.domains);
    row.copies = standing.copies;
    row.since = health.since;
    row.error = health.error;
    rows.push_back(std::move(row));
  }
  for (auto& [id, standing] : known) {
    api::CustodianRow row;
    row.id = id;
    row.identity = std::move(standing.identity);
    row.domains = std::move(standing.domains);
    row.copies = standing.copies;
    row.error =
        "keystores name it, but the configuration does not: add it there, or run: keyward "
        "custodians remove --lost " +
        id;
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<void> CustodianAdmin::test(const CustodianId& custodian, const Caller& caller) {
  auto tested = parts_.custodians.test(custodian);
  audit(caller, "custodian.test", custodian, tested);
  return tested;
}

Result<void> CustodianAdmin::unlock(const CustodianId& custodian, SecretBytes passphrase,
                                    const Caller& caller) {
  auto supplied = parts_.custodians.supply_passphrase(custodian, std::move(passphrase));
  audit(caller, "custodian.unlock", custodian, supplied);
  return supplied;
}

Result<AddReport> CustodianAdmin::add(const CustodianId& custodian, std::span<const Domain> domains,
                                      const Caller& caller) {
  const std::lock_guard one_at_a_time(acting_);
  auto proved = parts_.custodians.test(custodian);
  audit(caller, "custodian.add", custodian, proved);
  TRY(std::move(proved));
  const std::vector<Domain> all =
      domains.empty() ? parts_.keyring.domains() : std::vector(domains.begin(), domains.end());
  AddReport report;
  for (const Domain& domain : all) {
    const auto added = add_to(custodian, domain, caller);
    report.domains.push_back({domain, added ? std::nullopt : std::optional<Error>(added.error())});
  }
  return report;
}

Result<void> CustodianAdmin::add_to(const CustodianId& custodian, const Domain& domain,
                                    const Caller& caller) {
  const auto keystore = TRY(parts_.keyring.keystore(domain));
  const store::KeyTable table = TRY(keystore->keys());
  if (table.find_wanted(custodian) != nullptr) return {};
  std::vector<CustodianId> wanted = wanted_without(table, custodian);
  wanted.push_back(custodian);
  return parts_.rekeys.reseal(domain, std::move(wanted), caller);
}

Result<RemoveReport> CustodianAdmin::remove(const CustodianId& custodian,
                                            const RemoveOptions& options, const Caller& caller) {
  const std::lock_guard one_at_a_time(acting_);
  auto plans = plan_removal(custodian, options);
  Result<void> permitted;
  if (!plans) permitted = std::unexpected(plans.error());
  audit(caller, "custodian.remove", custodian, permitted);
  RemoveReport report;
  for (const Plan& plan : TRY(std::move(plans))) {
    const auto removed = remove_from(custodian, plan, options, caller);
    report.domains.push_back(
        {plan.domain, removed ? std::nullopt : std::optional<Error>(removed.error())});
  }
  report.except = what_still_opens(custodian, options);
  return report;
}

// All that is checked is checked before the first keystore is changed.
Result<std::vector<CustodianAdmin::Plan>> CustodianAdmin::plan_removal(
    const CustodianId& custodian, const RemoveOptions& options) {
  const auto configured = parts_.custodians.ids();
  const bool is_configured = std::ranges::find(configured, custodian) != configured.end();
  std::vector<Plan> plans;
  for (const Domain& domain : parts_.keyring.domains()) {
    auto keystore = parts_.keyring.keystore(domain);
    if (!keystore)
      return std::unexpected(
          refuse(ErrorCode::unavailable, custodian, domain, keystore.error().message));
    const auto unsealed = parts_.keyring.wait_unsealed(domain, {}, parts_.clock.monotonic());
    if (!unsealed)
      return std::unexpected(
          refuse(ErrorCode::unavailable, custodian, domain,
                 fmt::format("it is locked, so whether its keys open without {} is not known: {}",
                             custodian.text, unsealed.error().message)));
    store::KeyTable table = TRY((*keystore)->keys());
    if (!is_concerned(table, custodian)) continue;
    plans.push_back({domain, *std::move(keystore), std::move(table)});
    TRY(prove_removable(custodian, plans.back()));
  }
  if (plans.empty())
    return fail(ErrorCode::not_found, fmt::format("no keystore wants {}, or has a copy of a key "
                                                  "by it: keyward custodians list",
                                                  custodian.text));
  if (!is_configured && options.hardware == RemovedHardware::destroy)
    return fail(ErrorCode::conflict,
                fmt::format("{} is not configured, so it cannot be told to destroy what it holds: "
                            "configure it, or give it up with --lost",
                            custodian.text));
  return plans;
}

Result<void> CustodianAdmin::prove_removable(const CustodianId& custodian, const Plan& plan) {
  const std::vector<CustodianId> rest = wanted_without(plan.table, custodian);
  if (rest.empty())
    return std::unexpected(
        refuse(ErrorCode::conflict, custodian, plan.domain,
               "it is the last custodian there. Add another one first: keyward custodians add"));
  for (const store::KeyRow& row : plan.table.keys) {
    if (!is_live(row)) continue;
    const auto opened = opens_by_another(custodian, plan, row);
    if (!opened)
      return std::unexpected(
          refuse(opened.error().code, custodian, plan.domain, opened.error().message));
  }
  if (plan.table.find_wanted(custodian) == nullptr) return {};
  const auto checked = ResealJob::check(job_parts(plan.keystore), rest);
  if (!checked)
    return std::unexpected(
        refuse(checked.error().code, custodian, plan.domain, checked.error().message));
  return {};
}

Result<void> CustodianAdmin::opens_by_another(const CustodianId& custodian, const Plan& plan,
                                              const store::KeyRow& row) {
  std::string errors;
  for (const SealedKey& copy : row.copies) {
    if (copy.custodian == custodian || plan.table.find_wanted(copy.custodian) == nullptr) continue;
    const auto opened = parts_.custodians.unseal_copy(copy, row, plan.table.context(row.id));
    if (opened) return {};
    errors += fmt::format("; {}", opened.error().message);
  }
  if (errors.empty()) errors = "; there is no copy by another custodian yet";
  return fail(ErrorCode::unavailable,
              fmt::format("key {} does not open without it now{}", row.id.to_text(), errors));
}

Result<void> CustodianAdmin::remove_from(const CustodianId& custodian, const Plan& plan,
                                         const RemoveOptions& options, const Caller& caller) {
  if (plan.table.find_wanted(custodian) != nullptr)
    TRY(parts_.rekeys.reseal(plan.domain, wanted_without(plan.table, custodian), caller));
  if (options.hardware == RemovedHardware::lost)
    TRY(ResealJob::give_up(job_parts(plan.keystore), custodian, caller));
  if (options.after == AfterRemoval::rekey) TRY(replace_keys(plan, caller));
  parts_.rekeys.notice(plan.domain);
  return {};
}

// A rekey that is past prepare made its new key for the removed custodian too: so another follows.
Result<void> CustodianAdmin::replace_keys(const Plan& plan, const Caller& caller) {
  const auto& rekey = plan.table.rekey;
  if (rekey && rekey->phase != store::RekeyPhase::prepare) {
    TRY(QueuedRekeys(parts_.control)
            .save({plan.domain, JobId::random(), {}, caller, parts_.clock.now()}));
    return {};
  }
  auto started = parts_.rekeys.start({&plan.domain, 1}, {}, caller);
  TRY(std::move(started.front()));
  return {};
}

std::vector<std::string> CustodianAdmin::what_still_opens(const CustodianId& custodian,
                                                          const RemoveOptions& options) const {
  std::vector<std::string> except;
  if (options.hardware == RemovedHardware::lost)
    except.push_back(
        fmt::format("{} was given up as lost: whoever has it and an older copy of the "
                    "files opens the keys of today",
                    custodian.text));
  else if (!parts_.custodians.destroys(custodian))
    except.push_back(
        fmt::format("{} cannot destroy: with it, older copies of the files open the "
                    "keys of today",
                    custodian.text));
  if (options.after == AfterRemoval::no_rekey)
    except.push_back("the keys of today stay in use, since no rekey was wanted");
  return except;
}

JobParts CustodianAdmin::job_parts(std::shared_ptr<store::Keystore> keystore) {
  return {std::move(keystore), parts_.keyring, parts_.custodians,
          parts_.control,      parts_.events,  parts_.clock};
}

void CustodianAdmin::audit(const Caller& caller, std::string_view action,
                           const CustodianId& custodian, const Result<void>& outcome) {
  store::AuditRecord record = audit_record(caller, action, custodian.text);
  if (!outcome) record.outcome = error_code_name(outcome.error().code);
  if (auto kept = parts_.control.audit_trail().append({&record, 1}); !kept)
    log(LogLevel::error, "{} of {} by {} could not be recorded: {}", action, custodian.text,
        caller.actor, kept.error().message);
}

}  // namespace keyward::engine
