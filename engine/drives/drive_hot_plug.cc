// Drives that are met: at start, when they are plugged in, and when their PINs can be read at last.
#include "base/log.h"
#include "engine/drives/drive_fleet_impl.h"
#include "engine/drives/drive_operations.h"

namespace keyward::engine {
namespace {

constexpr std::chrono::seconds kOwedPause{1};

const Domain& domain() {
  static const Domain kDomain = Domain::parse("SED").value();
  return kDomain;
}

Caller itself() { return {"fleet", "daemon"}; }

}  // namespace

std::vector<api::DriveResult> DriveFleet::Impl::recover(std::stop_token stop,
                                                        std::chrono::seconds patience) {
  if (const auto refreshed = roster_.refresh(); !refreshed)
    log(LogLevel::error, "the drives cannot be listed: {}", refreshed.error().message);
  const auto workers = roster_.all();
  // They tell who they are while the keystore is unsealed.
  for (const auto& worker : workers)
    worker->submit([](DriveLink& link) { return link.attach(); },
                   {.limit = settings_.per_drive, .stop = stop});
  const auto unsealed =
      parts_.keyring.wait_unsealed(domain(), stop, parts_.clock.monotonic() + patience);
  is_welcome_owed_ = !unsealed && unsealed.error().code != ErrorCode::not_found;
  std::vector<Chosen> chosen;
  for (const auto& worker : workers) chosen.push_back(welcome(worker, stop, true));
  return await(chosen, DriveAction::unlock, itself());
}

DriveFleet::Impl::Chosen DriveFleet::Impl::welcome(const std::shared_ptr<DriveWorker>& worker,
                                                   std::stop_token stop, bool is_awaited) {
  Chosen one{.worker = worker, .row = {}, .task = {}};
  const auto work = [this, is_awaited, applied = one.applied](DriveLink& link) {
    const Result<void> done = welcome_once(link, *applied);
    if (!is_awaited && *applied) record_welcome(link, done);
    return done;
  };
  one.task = worker->submit(work, {.limit = settings_.per_drive, .stop = stop});
  return one;
}

Result<void> DriveFleet::Impl::welcome_once(DriveLink& link, std::atomic<bool>& applied) {
  const Caller caller = itself();
  DriveOperations operations(
      {link, credentials_, certificates_},
      {.restored = TRY(records_.restored()), .psid = nullptr, .key = {}, .named = false}, caller);
  const Result<void> done = operations.welcome(settings_.provision_new);
  applied = operations.applied();
  return done;
}

void DriveFleet::Impl::record_welcome(const DriveLink& link, const Result<void>& done) {
  store::AuditRecord audit = audit_record(itself(), "drive.unlock", "drive " + link.key());
  if (!done) audit.outcome = error_code_name(done.error().code);
  record({&audit, 1});
}

void DriveFleet::Impl::run_hot_plug(std::stop_token stop) {
  // The bus may call until it is destroyed, which is later than this returns.
  const auto changes = std::make_shared<Changes>();
  parts_.bus.watch([changes](const sed::DriveAddress& address, sed::DriveChange change) {
    const std::lock_guard lock(changes->mutex);
    changes->queue.emplace_back(address.node, change);
    changes->wake.notify_all();
  });
  welcome_new(stop);  // What came since recover().
  while (!stop.stop_requested()) {
    if (is_welcome_owed_) welcome_late(stop);
    follow(*changes, stop);
  }
}

void DriveFleet::Impl::follow(Changes& changes, std::stop_token stop) {
  const std::chrono::seconds pause = is_welcome_owed_ ? kOwedPause : settings_.per_drive;
  const MonotonicTime tick = parts_.clock.monotonic() + pause;
  const MonotonicTime due = std::min(tick, roster_.check_limits().value_or(tick));
  std::unique_lock lock(changes.mutex);
  if (changes.queue.empty()) parts_.clock.wait_until(lock, changes.wake, stop, due);
  const auto queue = std::exchange(changes.queue, {});
  lock.unlock();
  if (queue.empty()) return;
  for (const auto& [node, change] : queue)
    if (change == sed::DriveChange::removed) roster_.take_off(node);
  welcome_new(stop);
}

void DriveFleet::Impl::welcome_new(std::stop_token stop) {
  const auto added = roster_.refresh();
  if (!added) {
    log(LogLevel::error, "the drives cannot be listed: {}", added.error().message);
    return;
  }
  for (const auto& worker : *added) welcome(worker, stop, false);
}

void DriveFleet::Impl::welcome_late(std::stop_token stop) {
  if (!parts_.keyring.wait_unsealed(domain(), stop, parts_.clock.monotonic())) return;
  is_welcome_owed_ = false;
  for (const auto& worker : roster_.all()) welcome(worker, stop, false);
}

}  // namespace keyward::engine
