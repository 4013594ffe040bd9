#include "tests/model/rekey_machine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "crypto/key_schedule.h"
#include "store/entry_cipher.h"

namespace keyward::model {
namespace {

constexpr std::string_view kSecret = "the secret of an entry";

SecretBytes secret() {
  std::string text(kSecret);
  return SecretBytes::take_from(std::as_writable_bytes(std::span(text))).value();
}

engine::Caller caller() { return {"uid:0", "unix"}; }

const crypto::AeadEngine& aead_engine() {
  static const crypto::AeadEngine& engine = crypto::choose_aead_engine("auto").value().get();
  return engine;
}

}  // namespace

const Domain& the_domain() {
  static const Domain domain = Domain::parse("S3").value();
  return domain;
}

const EntryName& entry_name(std::size_t number) {
  static const std::array<EntryName, kEntriesMax> names{EntryName::parse("entry 0").value(),
                                                        EntryName::parse("entry 1").value(),
                                                        EntryName::parse("entry 2").value()};
  return names.at(number);
}

// Made once for each key: deriving them would take most of the search's time.
store::EntryCipher& cipher_of(const KeyId& key, std::uint64_t count) {
  static std::map<std::pair<KeyId, std::uint64_t>, std::unique_ptr<store::EntryCipher>> ciphers;
  auto& place = ciphers[{key, count}];
  if (!place) {
    const SecretBytes entry_key =
        crypto::derive_entry_key(testing::memory_key(key, count), the_domain(), key).value();
    place = std::make_unique<store::EntryCipher>(the_domain(), key,
                                                 aead_engine().open(entry_key).value());
  }
  return *place;
}

bool entry_opens(const store::KeyRow& row, const EntryName& name, const store::SealedEntry& entry) {
  if (row.copies.empty()) return false;
  const auto& cipher = cipher_of(row.id, testing::count_in(row.copies.front()));
  return cipher.decrypt(name, entry).has_value();
}

// ---- StepGate ----

StepGate::Ruling StepGate::enter(std::string_view call) {
  if (is_quiet_) return {};
  ++calls_;
  const Error error{ErrorCode::io, "planned"};
  if (has_crashed_) return {error};
  if (!silenced_.empty() && call.starts_with(silenced_)) return {error};
  if (act_) {
    if (!is_after_ && !has_acted_ && (calls_ == call_ || call == name_)) act();
    return {};
  }
  if (calls_ != call_) return {};
  has_crashed_ = what_ == At::crashes;
  return {error, what_ == At::fails_after};
}

void StepGate::leave(std::string_view call) {
  if (!is_quiet_ && act_ && is_after_ && !has_acted_ && call == name_) act();
}

void StepGate::act() {
  has_acted_ = true;
  is_quiet_ = true;
  act_();
  is_quiet_ = false;
}

// ---- RekeyMachine ----

void FirstRound::run(engine::Keyring& keyring) {
  round_ = {};
  keyring.unseal_all(round_.get_token());
}

void FirstRound::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                            std::stop_token stop, MonotonicTime deadline) {
  if (std::this_thread::get_id() == runner_)
    round_.request_stop();
  else
    clock_.wait_until(lock, wake, std::move(stop), deadline);
}

RekeyMachine::RekeyMachine(const World& world, const Flaws& flaws)
    : world_(world),
      clock_(from_iso8601("2026-01-05T02:00:00Z").value()),
      first_round_(clock_),
      event_backend_(event_disk_, open_gate_),
      backend_(world_.disk, gate_, flaws.store),
      events_(event_backend_.control(), clock_),
      custodians_(events_, clock_) {
  gate_.set_quiet(true);
  for (std::size_t i = 0; i < kCustodians.size(); ++i) {
    auto custodian = std::make_unique<testing::MemoryCustodian>(
        kCustodians[i].text, world_.hardware[i], gate_, flaws.custodian);
    custodian->on_destroy = [this](const KeyContext& context) {
      const testing::StoredStore& store = world_.disk.stores.at(the_domain());
      const store::KeyRow* row = store.now.table.find(context.key);
      if (row == nullptr || row->state != store::KeyState::retiring) return;
      if (store.durable || store.now.stale.contains(context.key))
        world_.broken = "a key was destroyed before the purge";
    };
    custodians_.add(std::move(custodian));
  }
  keyring_ = std::make_unique<engine::Keyring>(
      engine::Keyring::Parts{backend_, custodians_, aead_engine(), events_, first_round_},
      engine::Keyring::Settings{.read_audit = engine::ReadAudit::off});
  first_round_.run(*keyring_);
  world_.is_up = true;
  if (world_.disk.stores.empty()) return;
  for (const store::KeyRow& row : world_.table().keys) known_.insert(row.id);
}

RekeyMachine::~RekeyMachine() = default;

World RekeyMachine::first_world(std::size_t entries) {
  World world;
  for (std::size_t i = 0; i < kCustodians.size(); ++i)
    world.hardware[i].identity = "token of " + kCustodians[i].text;
  RekeyMachine machine(world, {});
  CHECK(machine.keyring_->create_domain(the_domain(), caller()).has_value(), "the first domain");
  machine.known_.insert(machine.world_.table().current().id);
  for (std::size_t i = 0; i < entries; ++i) machine.put(i);
  return machine.save();
}

void RekeyMachine::load(const World& world) {
  gate_.clear();
  gate_.set_quiet(true);
  for (const KeyId& key : known_) keyring_->forget(the_domain(), key);
  known_.clear();
  world_ = world;
  for (const auto& [key, count] : world_.held) {
    known_.insert(key);
    CHECK(keyring_->hold(the_domain(), key, testing::memory_key(key, count)).has_value(),
          "a key that cannot be held");
  }
  gate_.set_quiet(false);
}

World RekeyMachine::save() {
  gate_.set_quiet(true);
  for (const store::KeyRow& row : world_.table().keys) known_.insert(row.id);
  world_.held.clear();
  for (const KeyId& key : known_) {
    if (const auto cipher = keyring_->cipher(the_domain(), key))
      world_.held.emplace(key, count_of(**cipher));
  }
  return world_;
}

// Whoever is looked for was made by one of the two, not long ago.
std::uint64_t RekeyMachine::count_of(store::EntryCipher& held) {
  const SecretBytes probe = secret();
  const std::uint64_t last =
      std::max(world_.hardware[0].last_serial, world_.hardware[1].last_serial);
  for (std::uint64_t count = last; count > 0; --count) {
    const auto sealed = cipher_of(held.key(), count).encrypt(entry_name(0), 1, probe).value();
    if (held.decrypt(entry_name(0), sealed)) return count;
  }
  return 0;
}

engine::JobParts RekeyMachine::parts() {
  return {keyring_->keystore(the_domain()).value(),
          *keyring_,
          custodians_,
          backend_.control(),
          events_,
          clock_};
}

// The keyring unseals what is not open, as a new one does; to make one for each start would take
// most of the search's time, for its threads.
void RekeyMachine::start() {
  first_round_.run(*keyring_);
  world_.is_up = true;
}

void RekeyMachine::step() {
  if (world_.table().rekey)
    static_cast<void>(engine::RekeyJob(parts()).step(1, {}));
  else
    static_cast<void>(engine::ResealJob(parts()).step());
}
void RekeyMachine::begin() { static_cast<void>(engine::RekeyJob(parts()).begin({}, caller())); }
bool RekeyMachine::pause() { return engine::RekeyJob(parts()).pause(caller()).has_value(); }
void RekeyMachine::resume() { static_cast<void>(engine::RekeyJob(parts()).resume(caller())); }
bool RekeyMachine::cancel() { return engine::RekeyJob(parts()).cancel(caller()).has_value(); }
bool RekeyMachine::leave_out(std::vector<CustodianId> without) {
  return engine::RekeyJob(parts()).leave_out(std::move(without), caller()).has_value();
}

void RekeyMachine::want(const std::vector<CustodianId>& custodians) {
  static_cast<void>(engine::ResealJob::want(parts(), custodians, caller()));
}

void RekeyMachine::put(std::size_t number) {
  static_cast<void>(
      keyring_->put(the_domain(), entry_name(number), secret(), std::nullopt, caller()));
}

std::string RekeyMachine::get(std::size_t number) {
  const auto read = keyring_->get(the_domain(), entry_name(number), caller());
  if (!read) return read.error().message;
  const bool is_same = constant_time_equal(read->reveal(), secret().reveal());
  return is_same ? "" : "another secret was read";
}

bool RekeyMachine::put_at_once(std::size_t number) {
  const store::KeyRow& row = world_.table().write_key();
  const EntryName& name = entry_name(number);
  const std::uint64_t version = world_.store().entries.at(name).version;
  const std::uint64_t count = testing::count_in(row.copies.front());
  const store::EntryChange change{
      name, version, cipher_of(row.id, count).encrypt(name, version + 1, secret()).value()};
  const auto keystore = keyring_->keystore(the_domain()).value();
  return keystore->write({&change, 1}, world_.table().generation, {}).has_value();
}

}  // namespace keyward::model
