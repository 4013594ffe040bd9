#include "engine/drives/drive_link.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace keyward::engine {
namespace {

constexpr int kBusyTries = 10;
constexpr std::chrono::milliseconds kBusyPause{200};

api::DriveOwner to_row(sed::Owner owner) {
  switch (owner) {
    case sed::Owner::nobody:
      return api::DriveOwner::nobody;
    case sed::Owner::us:
      return api::DriveOwner::us;
    case sed::Owner::somebody_else:
      return api::DriveOwner::foreign;
    case sed::Owner::unknown:
      break;
  }
  return api::DriveOwner::unknown;
}

api::DriveAccess to_row(sed::Access access) {
  switch (access) {
    case sed::Access::unlocked:
      return api::DriveAccess::unlocked;
    case sed::Access::read_only:
      return api::DriveAccess::read_only;
    case sed::Access::locked:
      break;
  }
  return api::DriveAccess::locked;
}

}  // namespace

DriveLink::DriveLink(Parts parts, sed::DriveAddress address)
    : parts_(std::move(parts)), address_(std::move(address)) {
  row_.node = address_.node;
}

Result<void> DriveLink::attach() {
  row_.node = address_.node;
  if (drive_) return {};
  TRY(open());
  return has_seen_ ? Result<void>() : look();
}

void DriveLink::detach() {
  drive_.reset();
  has_seen_ = false;
}

Result<std::unique_ptr<sed::SecurityTransport>> DriveLink::open_transport() {
  for (int n = 1;; ++n) {
    auto transport = parts_.bus.open(address_);
    if (transport || transport.error().code != ErrorCode::busy || n == kBusyTries) return transport;
    parts_.clock.sleep_until({}, parts_.clock.monotonic() + kBusyPause);
  }
}

Result<void> DriveLink::open() {
  auto transport = TRY(open_transport());
  TRY(meet(transport->identity()));
  const Result<Bytes> known = from_hex(record_.knowledge);
  drive_ = TRY(parts_.attach(std::move(transport), parts_.clock,
                             {.node = parts_.node,
                              .ledger = &parts_.ledger,
                              .known = known ? ByteView(*known) : ByteView()}));
  return {};
}

Result<void> DriveLink::meet(const sed::DriveIdentity& identity) {
  const std::string key = sed::drive_key(identity);
  if (record_.key != key) {
    record_ = TRY(parts_.records.load(key));
    is_new_ = !record_.last_seen;
    has_seen_ = false;
    row_ = {};
    row_.node = address_.node;
  }
  record_.serial = row_.serial = identity.serial;
  record_.wwn = row_.wwn = identity.wwn;
  record_.model = row_.model = identity.model;
  record_.firmware = row_.firmware = identity.firmware;
  return {};
}

Result<void> DriveLink::look() {
  auto state = drive_->state();
  if (!state) {
    detach();
    return std::unexpected(std::move(state.error()));
  }
  state_ = *std::move(state);
  has_seen_ = true;
  show_state();
  keep_record();
  return {};
}

void DriveLink::show_state() {
  record_.feature = row_.feature = state_.feature;
  row_.owner = to_row(state_.owner);
  row_.access = to_row(state_.access);
  row_.tries_left = state_.tries_left;
  row_.last_seen = parts_.clock.now();
  row_.notes = state_.notes;
  if (!address_.in_use.empty()) row_.notes.push_back(address_.in_use);
}

void DriveLink::note_access(sed::Access access) {
  state_.access = access;
  row_.access = to_row(access);
  row_.last_seen = parts_.clock.now();
}

void DriveLink::keep_record() {
  if (record_.key.empty()) return;
  if (drive_) record_.knowledge = to_hex(drive_->knowledge());
  if (const auto saved = parts_.records.save(record_); !saved)
    log(LogLevel::warning, "drive {}: {}", record_.key, saved.error().message);
}

void DriveLink::add_note(std::string note) {
  for (const std::string& there : row_.notes)
    if (there == note) return;
  row_.notes.push_back(std::move(note));
}

}  // namespace keyward::engine
