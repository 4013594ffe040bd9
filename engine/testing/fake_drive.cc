#include "engine/testing/fake_drive.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/text.h"

namespace keyward::engine {

using sed::Access;
using sed::PinTag;

namespace {

constexpr std::string_view kSid = "SID";
constexpr std::string_view kAdmin1 = "Admin1";
constexpr std::string_view kPsidAuthority = "PSID";
constexpr std::uint32_t kSectorBytes = 512;
constexpr std::uint64_t kSectors = 64;
// As an Opal drive's: StartSession, a method, EndSession, each a send and a receive.
constexpr unsigned kSessionCommands = 6;

PinTag random_tag() {
  return sed::pin_tag(SecretBytes::random(sed::kOwnerPinBytes).value()).value();
}

}  // namespace

FakeDriveState::FakeDriveState(std::string wwn, std::string serial)
    : identity_{std::move(wwn), std::move(serial), "FAKE SED", "1.0"},
      address_{"/dev/fake" + identity_.serial, "controller0", ""} {}

void FakeDriveState::power_cycle() {
  const std::lock_guard lock(mutex_);
  tries_.clear();
  if (locking_) access_ = Access::locked;
}

void FakeDriveState::be_owned_by_another(const NodeId* node) {
  const std::lock_guard lock(mutex_);
  const PinTag tag = random_tag();
  pins_[std::string(kSid)] = tag;
  pins_[std::string(kAdmin1)] = tag;
  locking_ = true;
  marker_.reset();
  if (node != nullptr) marker_ = Marker{*node, tag, {}};
}

void FakeDriveState::remove_marker() {
  const std::lock_guard lock(mutex_);
  marker_.reset();
}

void FakeDriveState::change_pins_behind_the_marker() {
  const std::lock_guard lock(mutex_);
  for (auto& [authority, tag] : pins_) tag = random_tag();
}

void FakeDriveState::set_dead(bool dead) {
  const std::lock_guard lock(mutex_);
  dead_ = dead;
}

void FakeDriveState::set_delay(std::chrono::milliseconds delay) {
  const std::lock_guard lock(mutex_);
  delay_ = delay;
}

void FakeDriveState::set_hanging(bool hanging) {
  const std::lock_guard lock(mutex_);
  hanging_ = hanging;
  wake_.notify_all();
}

bool FakeDriveState::is_somebody_hanging() const {
  const std::lock_guard lock(mutex_);
  return hangs_ > 0;
}

std::optional<PinTag> FakeDriveState::pin_of(std::string_view authority) const {
  const std::lock_guard lock(mutex_);
  const auto found = pins_.find(authority);
  return found == pins_.end() ? std::nullopt : std::optional(found->second);
}

Access FakeDriveState::access() const {
  const std::lock_guard lock(mutex_);
  return access_;
}

bool FakeDriveState::is_factory_new() const {
  const std::lock_guard lock(mutex_);
  return pins_.empty() && !marker_ && !locking_;
}

std::uint32_t FakeDriveState::tries_spent() const {
  const std::lock_guard lock(mutex_);
  return tries_spent_;
}

std::uint64_t FakeDriveState::media_key() const {
  const std::lock_guard lock(mutex_);
  return media_key_;
}

Result<void> FakeDriveState::command(Clock& clock, unsigned count) {
  std::unique_lock lock(mutex_);
  commands_ += count;
  ++hangs_;
  wake_.wait(lock, [&] { return !hanging_; });
  --hangs_;
  const MonotonicTime done = clock.monotonic() + delay_ * count;
  while (clock.monotonic() < done) clock.wait_until(lock, wake_, {}, done);
  if (dead_) return fail(ErrorCode::unavailable, "the drive does not answer");
  return {};
}

// None: what stands for the factory's PIN.
Result<void> FakeDriveState::authenticate(std::string_view authority,
                                          const std::optional<PinTag>& pin) {
  const std::lock_guard lock(mutex_);
  std::uint32_t& tries = tries_[std::string(authority)];
  if (tries >= kTries) return fail(ErrorCode::locked_out, "AUTHORITY_LOCKED_OUT");
  const auto found = pins_.find(authority);
  const auto own = found == pins_.end() ? std::nullopt : std::optional(found->second);
  if (own == pin) {
    tries = 0;
    return {};
  }
  ++tries;
  ++tries_spent_;
  return fail(ErrorCode::auth_failed, fmt::format("NOT_AUTHORIZED: {} has another PIN", authority));
}

void FakeDriveState::reset_locked() {
  pins_.clear();
  tries_.clear();
  marker_.reset();
  locking_ = false;
  access_ = Access::unlocked;
  ++media_key_;
}

// ---- What speaks to it ----

class FakeTransport final : public sed::SecurityTransport, public sed::BlockAccess {
 public:
  explicit FakeTransport(std::shared_ptr<FakeDriveState> state) : state_(std::move(state)) {}
  ~FakeTransport() override { --state_->opened_; }

  const std::shared_ptr<FakeDriveState>& state() const { return state_; }
  Result<void> ask(Clock& clock, unsigned commands) { return state_->command(clock, commands); }

  const sed::DriveIdentity& identity() const override { return state_->identity_; }
  Result<Bytes> identify(sed::IdentifyPage) override { return no_payloads(); }
  Result<void> send(sed::Protocol, std::uint16_t, ByteView) override { return no_payloads(); }
  Result<std::size_t> receive(sed::Protocol, std::uint16_t, MutableByteView) override {
    return no_payloads();
  }
  sed::BlockAccess* blocks() override { return this; }

  std::uint32_t sector_bytes() const override { return kSectorBytes; }
  std::uint64_t sector_count() const override { return kSectors; }
  // What nobody wrote: noise, another with each media key.
  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override {
    const std::lock_guard lock(state_->mutex_);
    if (state_->access_ == Access::locked)
      return fail(ErrorCode::not_permitted, "the range is locked");
    std::uint64_t noise = (state_->media_key_ << 32) + first_sector;
    for (std::byte& byte : sectors) {
      noise = noise * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::byte>(noise >> 56);
    }
    return {};
  }
  Result<void> write(std::uint64_t, ByteView) override {
    return fail(ErrorCode::unsupported, "a FakeDrive keeps no data");
  }
  Result<void> reread_partitions() override {
    ++state_->partition_reads_;
    return {};
  }

 private:
  static std::unexpected<Error> no_payloads() {
    return fail(ErrorCode::unsupported, "a FakeDrive takes no payloads");
  }

  std::shared_ptr<FakeDriveState> state_;
};

class FakeDrive final : public sed::Drive {
 public:
  FakeDrive(std::unique_ptr<sed::SecurityTransport> transport, FakeTransport& link, Clock& clock,
            const sed::AttachOptions& options, FaultPlan* plan)
      : transport_(std::move(transport)),
        blocks_(&link),
        state_(link.state()),
        clock_(clock),
        node_(options.node),
        ledger_(*options.ledger),
        gate_(ledger_, sed::drive_key(state_->identity_)),
        plan_(plan) {}

  const sed::DriveIdentity& identity() const override { return state_->identity_; }
  Bytes knowledge() const override { return Bytes(4, std::byte{0x5E}); }
  Result<sed::DriveState> state() override;
  Result<void> take_ownership(const SecretBytes& owner_pin) override;
  Result<void> prove(const SecretBytes& owner_pin) override;
  Result<void> set_access(const SecretBytes& owner_pin, Access access) override;
  Result<void> change_pin(const SecretBytes& current, const SecretBytes& next) override;
  Result<void> erase(sed::EraseMethod method, const SecretBytes& credential,
                     sed::Destroy what) override;
  Result<void> freeze() override { return fail(ErrorCode::unsupported, "no Block SID"); }
  sed::RangeTable* ranges() override { return nullptr; }
  sed::ShadowMbr* shadow_mbr() override { return nullptr; }
  sed::DataStore* data_store() override { return nullptr; }
  sed::BlockAccess* blocks() override { return blocks_; }

 private:
  using Change = std::function<void(FakeDriveState&)>;

  // One step, at which the plan may end the process or the power.
  Result<void> step(const std::function<Result<void>()>& act) {
    return plan_ == nullptr ? act() : plan_->apply(act);
  }
  Result<void> start(std::string_view authority, const std::optional<PinTag>& pin);
  Result<void> change(const Change& change);
  Result<void> set_pin_of(std::string_view authority, const PinTag& tag, const PinTag& next);
  Result<void> psid_revert(const SecretBytes& psid);

  std::unique_ptr<sed::SecurityTransport> transport_;
  sed::BlockAccess* blocks_;
  std::shared_ptr<FakeDriveState> state_;
  Clock& clock_;
  NodeId node_;
  sed::TryLedger& ledger_;
  sed::TryGate gate_;
  FaultPlan* plan_;
};

Result<void> FakeDrive::start(std::string_view authority, const std::optional<PinTag>& pin) {
  const auto is_there = [&] { return state_->command(clock_, 1); };
  const auto send = [&] {
    return step([&]() -> Result<void> {
      TRY(state_->command(clock_, kSessionCommands));
      return state_->authenticate(authority, pin);
    });
  };
  TRY(gate_.note_limit(authority, FakeDriveState::kTries));
  return gate_.attempt(authority, send, is_there);
}

Result<void> FakeDrive::change(const Change& change) {
  return step([&]() -> Result<void> {
    const std::lock_guard lock(state_->mutex_);
    if (state_->dead_) return fail(ErrorCode::unavailable, "the drive is gone");
    change(*state_);
    return {};
  });
}

Result<sed::DriveState> FakeDrive::state() {
  TRY(step([&] { return state_->command(clock_, kSessionCommands); }));
  const sed::TryRecord sid = TRY(gate_.record(kSid));
  const std::lock_guard lock(state_->mutex_);
  sed::DriveState told{.feature = "Fake 1.0"};
  told.access = state_->access_;
  told.locking_enabled = state_->locking_;
  const auto tries = state_->tries_.find(kAdmin1);
  told.tries_left = FakeDriveState::kTries - (tries == state_->tries_.end() ? 0 : tries->second);
  if (const auto& marker = state_->marker_) {
    told.owner = marker->node == node_ ? sed::Owner::us : sed::Owner::somebody_else;
    told.owner_node = marker->node;
    told.pin = marker->tag;
    told.next_pin = marker->next;
  } else if (state_->pins_.empty()) {
    told.owner = sed::Owner::nobody;
  } else {
    told.owner = sid.intent ? sed::Owner::unknown : sed::Owner::somebody_else;
    told.next_pin = sid.intent;
  }
  return told;
}

Result<void> FakeDrive::take_ownership(const SecretBytes& owner_pin) {
  const PinTag tag = TRY(sed::pin_tag(owner_pin));
  const sed::DriveState now = TRY(state());
  const bool may_be_ours = now.pin == tag || now.next_pin == tag;
  if (now.owner != sed::Owner::nobody && !may_be_ours)
    return fail(ErrorCode::conflict, "it is owned by another PIN");
  TRY(gate_.note_intent(kSid, tag));
  if (now.owner == sed::Owner::nobody) {
    TRY(start(kSid, std::nullopt));
    TRY(change([&](FakeDriveState& drive) { drive.pins_[std::string(kSid)] = tag; }));
  }
  TRY(start(kSid, tag));
  TRY(change([&](FakeDriveState& drive) {
    drive.pins_[std::string(kAdmin1)] = tag;
    drive.locking_ = true;
  }));
  TRY(change([&](FakeDriveState& drive) {
    drive.marker_ = FakeDriveState::Marker{node_, tag, {}};
  }));
  return set_access(owner_pin, Access::unlocked);
}

Result<void> FakeDrive::prove(const SecretBytes& owner_pin) {
  return start(kAdmin1, TRY(sed::pin_tag(owner_pin)));
}

Result<void> FakeDrive::set_access(const SecretBytes& owner_pin, Access access) {
  TRY(start(kAdmin1, TRY(sed::pin_tag(owner_pin))));
  return change([&](FakeDriveState& drive) { drive.access_ = access; });
}

// Admin1 first, whose PIN and the marker change as one; then the SID; then the marker is settled.
Result<void> FakeDrive::change_pin(const SecretBytes& current, const SecretBytes& next) {
  const PinTag from = TRY(sed::pin_tag(current));
  const PinTag to = TRY(sed::pin_tag(next));
  const sed::DriveState now = TRY(state());
  if (now.pin == to && !now.next_pin) return {};
  if (now.pin == from && !now.next_pin) {
    TRY(start(kAdmin1, from));
    TRY(change([&](FakeDriveState& drive) { drive.marker_->next = to; }));
  } else if (!(now.pin == from && now.next_pin == to) && !(now.pin == to && now.next_pin == from)) {
    return fail(ErrorCode::conflict, "the marker names other PINs");
  }
  if (now.pin != to) {
    TRY(start(kAdmin1, from));
    TRY(change([&](FakeDriveState& drive) {
      drive.pins_[std::string(kAdmin1)] = to;
      drive.marker_ = FakeDriveState::Marker{node_, to, from};
    }));
  }
  // The marker does not tell of the SID: one try.
  if (auto old = start(kSid, from); !old) {
    if (old.error().code != ErrorCode::auth_failed) return old;
    TRY(start(kSid, to));
  }
  TRY(change([&](FakeDriveState& drive) { drive.pins_[std::string(kSid)] = to; }));
  return change([&](FakeDriveState& drive) { drive.marker_->next.reset(); });
}

Result<void> FakeDrive::psid_revert(const SecretBytes& psid) {
  const SecretBytes typed = TRY(sed::normalized_psid(psid));
  const bool fits = constant_time_equal(typed.reveal(), as_bytes(FakeDriveState::kPsid));
  TRY(start(kPsidAuthority, fits ? std::nullopt : std::optional(PinTag{})));
  return change([](FakeDriveState& drive) { drive.reset_locked(); });
}

Result<void> FakeDrive::erase(sed::EraseMethod method, const SecretBytes& credential,
                              sed::Destroy) {
  switch (method) {
    case sed::EraseMethod::crypto_erase:
      TRY(start(kAdmin1, TRY(sed::pin_tag(credential))));
      return change([](FakeDriveState& drive) { ++drive.media_key_; });
    case sed::EraseMethod::revert:
      if (!state_->is_factory_new()) {
        TRY(start(kSid, TRY(sed::pin_tag(credential))));
        TRY(change([](FakeDriveState& drive) { drive.reset_locked(); }));
      }
      return gate_.forget();
    case sed::EraseMethod::psid_revert:
      TRY(psid_revert(credential));
      return gate_.forget();
    default:
      return fail(ErrorCode::unsupported, "a FakeDrive has no such erase");
  }
}

DriveFleet::Attach fake_attach(FaultPlan* plan) {
  return [plan](std::unique_ptr<sed::SecurityTransport> transport, Clock& clock,
                const sed::AttachOptions& options) -> Result<std::unique_ptr<sed::Drive>> {
    auto* link = dynamic_cast<FakeTransport*>(transport.get());
    if (link == nullptr) return fail(ErrorCode::unsupported, "it is no FakeDrive");
    const auto ask = [&] { return link->ask(clock, options.known.empty() ? 4 : 1); };
    TRY(plan == nullptr ? ask() : plan->apply(ask));
    return std::make_unique<FakeDrive>(std::move(transport), *link, clock, options, plan);
  };
}

// ---- The bus ----

Result<std::vector<sed::DriveAddress>> FakeDriveBus::list() {
  const std::lock_guard lock(mutex_);
  std::vector<sed::DriveAddress> addresses;
  for (const auto& drive : drives_) addresses.push_back(drive->address());
  return addresses;
}

Result<std::unique_ptr<sed::SecurityTransport>> FakeDriveBus::open(
    const sed::DriveAddress& address) {
  const std::lock_guard lock(mutex_);
  for (const auto& drive : drives_) {
    if (drive->address().node != address.node) continue;
    if (drive->opened_ > 0) return fail(ErrorCode::busy, "somebody else speaks to the drive");
    ++drive->opened_;
    return std::make_unique<FakeTransport>(drive);
  }
  return fail(ErrorCode::unavailable, fmt::format("{}: there is no such drive", address.node));
}

void FakeDriveBus::watch(Watcher watcher) {
  const std::lock_guard lock(mutex_);
  watcher_ = std::move(watcher);
}

void FakeDriveBus::plug_in(std::shared_ptr<FakeDriveState> drive) {
  Watcher watcher;
  {
    const std::lock_guard lock(mutex_);
    drive->set_dead(false);
    drives_.push_back(drive);
    watcher = watcher_;
  }
  if (watcher) watcher(drive->address(), sed::DriveChange::added);
}

void FakeDriveBus::pull_out(const std::shared_ptr<FakeDriveState>& drive) {
  Watcher watcher;
  {
    const std::lock_guard lock(mutex_);
    drive->set_dead(true);
    std::erase(drives_, drive);
    watcher = watcher_;
  }
  if (watcher) watcher(drive->address(), sed::DriveChange::removed);
}

void FakeDriveBus::swap(const std::shared_ptr<FakeDriveState>& out,
                        const std::shared_ptr<FakeDriveState>& in) {
  const std::lock_guard lock(mutex_);
  std::erase(drives_, out);
  in->set_node(out->address().node);
}

}  // namespace keyward::engine
