#include "engine/drives/drive_fleet.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "engine/drives/drive_fleet_impl.h"
#include "engine/drives/drive_operations.h"

namespace keyward::engine {
namespace {

using api::DriveResult;
using api::DriveRow;

constexpr std::chrono::milliseconds kLimitsLook{500};
constexpr std::chrono::minutes kEraseLimit{10};
constexpr std::chrono::hours kAtaEraseLimit{24};  // Drives without a key write every sector.

bool destroys_data(DriveAction action) {
  return action == DriveAction::crypto_erase || action == DriveAction::revert ||
         action == DriveAction::psid_revert || action == DriveAction::ata_erase;
}

// What must be in the audit trail before it happens, and not only after.
bool is_announced(DriveAction action) {
  return destroys_data(action) || action == DriveAction::provision || action == DriveAction::rotate;
}

DriveRow to_row(const DriveRecord& record) {
  DriveRow row;
  row.serial = record.serial;
  row.wwn = record.wwn;
  row.model = record.model;
  row.firmware = record.firmware;
  row.feature = record.feature;
  row.last_seen = record.last_seen;
  return row;
}

store::AuditRecord record_of(const Caller& caller, std::string action, const DriveResult& result) {
  const std::string& name = result.wwn.empty() ? result.serial : result.wwn;
  auto record = audit_record(caller, action, "drive " + (name.empty() ? result.node : name));
  record.outcome = result.code.empty() ? "ok" : result.code;
  return record;
}

}  // namespace

std::string_view drive_action_name(DriveAction action) {
  constexpr std::array<std::string_view, 10> kNames{
      "provision", "unlock", "lock",        "rotate",    "verify",
      "erase",     "revert", "psid-revert", "ata-erase", "psid-record"};
  return kNames[static_cast<std::size_t>(action)];
}

std::string DriveFleet::Impl::key_of(const DriveRow& row) {
  return sed::drive_key({.wwn = row.wwn, .serial = row.serial, .model = row.model, .firmware = {}});
}

// ---- Orders ----

std::chrono::seconds DriveFleet::Impl::limit_of(DriveAction action) const {
  if (action == DriveAction::ata_erase) return kAtaEraseLimit;
  if (destroys_data(action))
    return std::max<std::chrono::seconds>(kEraseLimit, settings_.per_drive);
  return settings_.per_drive;
}

Result<void> DriveFleet::Impl::check(const DriveOrder& order) const {
  const bool needs_names = destroys_data(order.action) || order.action == DriveAction::psid_record;
  if (needs_names && order.drives.empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} needs the drives' names", drive_action_name(order.action)));
  if (order.psid != nullptr && order.drives.size() != 1)
    return fail(ErrorCode::invalid_argument, "a PSID is one drive's: name that drive alone");
  if (order.action == DriveAction::psid_record && order.psid == nullptr)
    return fail(ErrorCode::invalid_argument, "the PSID to record is missing");
  return {};
}

Result<std::vector<DriveResult>> DriveFleet::Impl::run(const DriveOrder& order,
                                                       const Caller& caller, std::stop_token stop) {
  TRY(check(order));
  if (order.action == DriveAction::psid_record) return record_psid(order, caller, stop);
  TRY(roster_.refresh());
  std::vector<Chosen> chosen = TRY(choose(order.drives, stop));
  std::shared_ptr<const SecretBytes> psid;
  if (order.psid != nullptr)
    psid = std::make_shared<const SecretBytes>(TRY(order.psid->duplicate()));
  const std::string restored = TRY(records_.restored());
  TRY(announce(order, chosen, caller));
  const bool named = !order.drives.empty();
  for (Chosen& one : chosen) {
    if (!one.worker) continue;
    const auto work = [this, restored, psid, key = named ? key_of(one.row) : "", named, caller,
                       action = order.action,
                       applied = one.applied](DriveLink& link) -> Result<void> {
      DriveOperations operations({link, credentials_, certificates_},
                                 {restored, psid.get(), key, named}, caller);
      const Result<void> done = operations.run(action);
      *applied = operations.applied();
      return done;
    };
    one.task = one.worker->submit(work, {.limit = limit_of(order.action), .stop = stop});
  }
  return await(chosen, order.action, caller);
}

Result<std::vector<DriveFleet::Impl::Chosen>> DriveFleet::Impl::choose(
    const std::vector<std::string>& names, std::stop_token stop) {
  std::vector<Chosen> chosen;
  if (names.empty()) {
    for (const auto& worker : roster_.all()) chosen.push_back({.worker = worker});
    return chosen;
  }
  const auto is_met = [&](const std::string& name) { return roster_.find(name) != nullptr; };
  if (!std::ranges::all_of(names, is_met)) identify(stop);
  std::set<std::string> seen;
  for (const std::string& name : names) {
    const DriveRow row = TRY(find(name));
    if (!seen.insert(key_of(row)).second) continue;
    chosen.push_back({.worker = roster_.find(name), .row = row});
  }
  return chosen;
}

// Drives that never answered get another chance to say who they are.
void DriveFleet::Impl::identify(std::stop_token stop) {
  std::vector<std::pair<std::shared_ptr<DriveWorker>, std::shared_ptr<DriveTask>>> asked;
  for (const auto& worker : roster_.all()) {
    if (!worker->key().empty()) continue;
    const auto look = [](DriveLink& link) { return link.attach(); };
    asked.emplace_back(worker, worker->submit(look, {.limit = settings_.per_drive, .stop = stop}));
  }
  for (const auto& [worker, task] : asked) static_cast<void>(wait(*worker, *task));
}

// The slot that this drive waits for may be one that hangs: so the limits of all are looked after.
Result<void> DriveFleet::Impl::wait(DriveWorker& worker, const DriveTask& task) {
  while (!worker.wait(task, parts_.clock.monotonic() + kLimitsLook)) roster_.check_limits();
  return task.outcome;
}

std::vector<DriveResult> DriveFleet::Impl::await(std::vector<Chosen>& chosen, DriveAction action,
                                                 const Caller& caller) {
  std::vector<DriveResult> results;
  std::vector<store::AuditRecord> audit;
  for (Chosen& one : chosen) {
    Result<void> done = fail(ErrorCode::unavailable, "the drive is not plugged in");
    if (one.worker) {
      done = wait(*one.worker, *one.task);
      one.row = one.worker->row();
    }
    if (!*one.applied) continue;
    DriveResult& result = results.emplace_back();
    result.serial = one.row.serial;
    result.wwn = one.row.wwn;
    result.node = one.row.node;
    if (one.task && one.task->begun)
      result.milliseconds = static_cast<std::uint64_t>(
          std::chrono::ceil<std::chrono::milliseconds>(*one.task->ended - *one.task->begun)
              .count());
    if (!done) {
      result.code = error_code_name(done.error().code);
      result.error = done.error().message;
    }
    audit.push_back(record_of(caller, fmt::format("drive.{}", drive_action_name(action)), result));
  }
  record(audit);
  return results;
}

Result<void> DriveFleet::Impl::announce(const DriveOrder& order, const std::vector<Chosen>& chosen,
                                        const Caller& caller) {
  if (!is_announced(order.action)) return {};
  const std::string action = fmt::format("drive.{}.begin", drive_action_name(order.action));
  std::vector<store::AuditRecord> records;
  for (const Chosen& one : chosen) {
    const DriveRow row = one.worker ? one.worker->row() : one.row;
    records.push_back(record_of(
        caller, action,
        {.serial = row.serial, .wwn = row.wwn, .node = row.node, .code = {}, .error = {}}));
  }
  if (records.empty()) return {};
  return parts_.control.audit_trail().append(records);
}

// It has happened: that it could not be recorded goes to the system's log.
void DriveFleet::Impl::record(std::span<const store::AuditRecord> records) {
  if (records.empty()) return;
  if (const auto done = parts_.control.audit_trail().append(records); !done)
    log(LogLevel::error, "the audit trail lacks {} records of drives: {}", records.size(),
        done.error().message);
}

// ---- PSIDs ----

Result<std::vector<DriveResult>> DriveFleet::Impl::record_psid(const DriveOrder& order,
                                                               const Caller& caller,
                                                               std::stop_token stop) {
  const SecretBytes psid = TRY(sed::normalized_psid(*order.psid));
  TRY(roster_.refresh());
  const std::vector<Chosen> chosen = TRY(choose(order.drives, stop));
  const DriveRow& row = chosen.front().row;
  DriveResult result{
      .serial = row.serial, .wwn = row.wwn, .node = row.node, .code = {}, .error = {}};
  TRY(credentials_.record_psid(key_of(row), psid, caller));
  const auto audit = record_of(caller, "drive.psid-record", result);
  record({&audit, 1});
  return std::vector{result};
}

Result<SecretBytes> DriveFleet::Impl::reveal_psid(const std::string& name, const Caller& caller) {
  return credentials_.reveal_psid(key_of(TRY(find(name))), caller);
}

// ---- What is known ----

std::vector<DriveRow> DriveFleet::Impl::list() const {
  std::vector<DriveRow> rows;
  std::set<std::string> there;
  for (const auto& worker : roster_.all()) {
    rows.push_back(worker->row());
    there.insert(worker->key());
  }
  const auto records = records_.load_all();
  if (!records) log(LogLevel::error, "the records of drives: {}", records.error().message);
  if (records)
    for (const DriveRecord& record : *records)
      if (!there.contains(record.key)) rows.push_back(to_row(record));
  show_pins(rows);
  return rows;
}

// While the keystore is locked they are shown as the workers saw them.
void DriveFleet::Impl::show_pins(std::vector<DriveRow>& rows) const {
  const auto known = credentials_.list();
  if (!known) return;
  std::map<std::string, DriveCredentials::Known> of_drive;
  for (const auto& one : *known) of_drive[one.drive] = one;
  for (DriveRow& row : rows) {
    if (row.serial.empty() && row.wwn.empty()) continue;
    const auto found = of_drive.find(key_of(row));
    row.pins = found == of_drive.end() ? api::DrivePins::none : found->second.pins;
    row.psid_recorded = found != of_drive.end() && found->second.psid;
  }
}

Result<DriveRow> DriveFleet::Impl::find(const std::string& name) const {
  const std::vector<DriveRow> rows = list();
  const auto found = std::ranges::find_if(rows, [&](const DriveRow& row) {
    const bool is_known = !row.serial.empty() || !row.wwn.empty();
    return is_known && (row.serial == name || row.wwn == name || key_of(row) == name);
  });
  if (found != rows.end()) return *found;
  std::string names;
  for (const DriveRow& row : rows)
    if (!row.serial.empty()) names += (names.empty() ? "" : ", ") + row.serial;
  return fail(ErrorCode::not_found,
              fmt::format("no drive has the serial number or WWN {}; there are: {}", name,
                          names.empty() ? "none" : names));
}

// ---- The public face ----

DriveFleet::DriveFleet(Parts parts, Settings settings)
    : impl_(std::make_unique<Impl>(parts, std::move(settings))) {}
DriveFleet::~DriveFleet() = default;

std::vector<DriveResult> DriveFleet::recover(std::stop_token stop, std::chrono::seconds patience) {
  return impl_->recover(std::move(stop), patience);
}

void DriveFleet::run_hot_plug(std::stop_token stop) { impl_->run_hot_plug(std::move(stop)); }

Result<std::vector<DriveResult>> DriveFleet::run(const DriveOrder& order, const Caller& caller,
                                                 std::stop_token stop) {
  return impl_->run(order, caller, std::move(stop));
}

std::vector<DriveRow> DriveFleet::list() const { return impl_->list(); }
Result<DriveRow> DriveFleet::find(const std::string& name) const { return impl_->find(name); }

Result<SecretBytes> DriveFleet::reveal_psid(const std::string& name, const Caller& caller) {
  return impl_->reveal_psid(name, caller);
}

Result<Bytes> DriveFleet::release(const std::vector<std::string>& drives,
                                  const SecretBytes& passphrase, const Caller& caller) {
  return impl_->release(drives, passphrase, caller);
}

Result<std::vector<DriveResult>> DriveFleet::adopt(ByteView bundle, const SecretBytes& passphrase,
                                                   const Caller& caller) {
  return impl_->adopt(bundle, passphrase, caller);
}

std::vector<api::EraseCertificate> DriveFleet::certificates() const {
  return impl_->certificates();
}

}  // namespace keyward::engine
