#include "engine/drives/drive_roster.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/event_kinds.h"

namespace keyward::engine {

Result<DriveRoster::Workers> DriveRoster::refresh() {
  const std::vector<sed::DriveAddress> addresses = TRY(parts_.bus.list());
  Workers added;
  const std::lock_guard lock(mutex_);
  std::set<std::string> there;
  for (const sed::DriveAddress& address : addresses) {
    there.insert(address.node);
    auto& worker = workers_[address.node];
    if (worker) {
      worker->set_address(address);
      continue;
    }
    worker = std::make_shared<DriveWorker>(parts_, address, slots_);
    added.push_back(worker);
  }
  for (auto entry = workers_.begin(); entry != workers_.end();) {
    if (there.contains(entry->first)) {
      ++entry;
      continue;
    }
    leave(std::move(entry->second));
    entry = workers_.erase(entry);
  }
  return added;
}

void DriveRoster::take_off(const std::string& node) {
  const std::lock_guard lock(mutex_);
  const auto found = workers_.find(node);
  if (found == workers_.end()) return;
  leave(std::move(found->second));
  workers_.erase(found);
}

void DriveRoster::leave(std::shared_ptr<DriveWorker> worker) {
  worker->retire();
  const std::string key = worker->key();
  const std::string subject = key.empty() ? worker->address().node : key;
  for (const EventKind* kind : {&kDriveForeign, &kDriveUnresponsive, &kDriveUnlockFailed})
    parts_.events.clear(*kind, subject);
  leaving_.push_back(std::move(worker));
  std::erase_if(leaving_, [](const auto& left) { return left->has_ended(); });
}

DriveRoster::Workers DriveRoster::all() const {
  const std::lock_guard lock(mutex_);
  Workers all;
  for (const auto& [node, worker] : workers_) all.push_back(worker);
  return all;
}

std::shared_ptr<DriveWorker> DriveRoster::find(const std::string& name) const {
  if (name.empty()) return nullptr;
  for (const auto& worker : all()) {
    const api::DriveRow row = worker->row();
    if (row.serial == name || row.wwn == name || worker->key() == name) return worker;
  }
  return nullptr;
}

std::optional<MonotonicTime> DriveRoster::check_limits() {
  std::optional<MonotonicTime> earliest;
  for (const auto& worker : all()) {
    const auto due = worker->check_limit();
    if (due && (!earliest || *due < *earliest)) earliest = due;
  }
  return earliest;
}

}  // namespace keyward::engine
