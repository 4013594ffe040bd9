#include "engine/testing/engine_rig.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "hsm/testing/faulty_custodian.h"
#include "store/sqlite/sqlite_backend.h"

namespace keyward::engine {
namespace {

constexpr std::size_t kBatch = 7;  // So that a rekey of few entries has several batches.
constexpr int kStepsMax = 500;

// Destroying does nothing, as with a passphrase.
class Indestructible final : public hsm::Custodian {
 public:
  explicit Indestructible(std::unique_ptr<hsm::Custodian> target) : target_(std::move(target)) {}
  const CustodianId& id() const override { return target_->id(); }
  Result<std::string> identity() override { return target_->identity(); }
  bool destroys() const override { return false; }
  Result<hsm::GeneratedKey> generate(const KeyContext& context) override {
    return target_->generate(context);
  }
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override {
    return target_->seal(key, context);
  }
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override {
    return target_->unseal(copy, context);
  }
  Result<void> confirm(const KeyContext& context) override { return target_->confirm(context); }
  Result<void> destroy(const KeyContext&, hsm::DestroyScope) override { return {}; }
  Result<std::vector<hsm::HeldObject>> list() override { return target_->list(); }
  Result<void> probe() override { return target_->probe(); }

 private:
  std::unique_ptr<hsm::Custodian> target_;
};

std::filesystem::path make_root() {
  const bool has_memory = std::filesystem::is_directory("/dev/shm");
  std::string name = std::string(has_memory ? "/dev/shm" : "/tmp") + "/keyward-engine-XXXXXX";
  CHECK(::mkdtemp(name.data()) != nullptr, "no directory for a test");
  return name;
}

EntryName entry_name(const std::string& name) { return EntryName::parse(name).value(); }

std::vector<CustodianId> to_ids(const std::vector<std::string>& texts) {
  std::vector<CustodianId> ids;
  for (const std::string& text : texts) ids.push_back({text});
  return ids;
}

}  // namespace

EngineRig::EngineRig(std::vector<std::string> custodians)
    : root_(make_root()),
      state_(root_ / "state"),
      domain_(Domain::parse("S3").value()),
      clock_(std::make_unique<VirtualClock>(from_iso8601("2026-01-05T02:00:00Z").value())),
      frozen_clock_(clock_->now()),
      configured_(std::move(custodians)) {
  start();
  CHECK(keyring().create_domain(domain_, caller()).has_value(), "the first domain");
}

EngineRig::~EngineRig() {
  stop();
  std::error_code ignored;
  std::filesystem::remove_all(root_, ignored);
}

std::shared_ptr<hsm::FakeHardware> EngineRig::shared_hardware(const std::string& id) {
  auto& place = hardware_[id];
  if (!place) place = std::make_shared<hsm::FakeHardware>("hardware of " + id);
  return place;
}

std::unique_ptr<hsm::Custodian> EngineRig::make_custodian(const std::string& id, FaultPlan* plan) {
  std::unique_ptr<hsm::Custodian> made =
      std::make_unique<hsm::FakeCustodian>(id, shared_hardware(id));
  if (indestructible_.contains(id)) made = std::make_unique<Indestructible>(std::move(made));
  if (plan == nullptr) return made;
  process_->targets.push_back(std::move(made));
  return std::make_unique<hsm::FaultyCustodian>(*process_->targets.back(), *plan);
}

void EngineRig::start(FaultPlan* plan) {
  CHECK(try_start({.plan = plan}).has_value(), "the state directory does not open");
}

Result<void> EngineRig::try_start(const Faults& faults) {
  auto files =
      TRY(store::open_sqlite_backend(state_.string(), *store_clock_, {.hook = faults.hook}));
  process_ = std::make_unique<Process>();
  Process& process = *process_;
  process.files = std::move(files);
  process.backend = process.files.get();
  if (faults.plan != nullptr) {
    process.faulty = std::make_unique<FaultyBackend>(*process.files, *faults.plan);
    process.backend = process.faulty.get();
  }
  process.events = std::make_unique<EventLog>(process.files->control(), *clock_);
  process.custodians = std::make_unique<CustodianSet>(*process.events, *clock_);
  for (const std::string& id : configured_) {
    const auto own = faults.of_custodian.find(id);
    process.custodians->add(
        make_custodian(id, own == faults.of_custodian.end() ? faults.plan : own->second));
  }
  static const crypto::AeadEngine& engine = crypto::choose_aead_engine("auto").value().get();
  process.keyring = std::make_unique<Keyring>(
      Keyring::Parts{*process.backend, *process.custodians, engine, *process.events, *clock_},
      Keyring::Settings{.custodians = {}, .read_audit = read_audit_, .read_audit_of = {}});
  unseal();
  return {};
}

void EngineRig::stop() {
  if (!process_) return;
  process_->keyring.reset();
  process_.reset();
}

// Its threads wait on its clock for ever, so the next process gets one of its own.
void EngineRig::abandon() {
  const UtcTime now = clock_->now();
  static_cast<void>(process_.release());
  static_cast<void>(clock_.release());
  clock_ = std::make_unique<VirtualClock>(now);
}

void EngineRig::restart(FaultPlan* plan) {
  stop();
  start(plan);
}

void EngineRig::unseal() {
  // The keyring gives up no domain by itself: its first round is over when it waits for the next,
  // beside the threads that write events and audit records.
  constexpr std::size_t kWaitersThen = 3;
  std::atomic<bool> ended = false;
  std::exception_ptr exception;
  {
    std::jthread thread([&](const std::stop_token& stop) {
      try {
        keyring().unseal_all(stop);
      } catch (...) {
        exception = std::current_exception();
      }
      ended = true;
    });
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    // The one that the process has, even if another thread abandons that meanwhile.
    const VirtualClock& clock = *clock_;
    while (!ended && clock.waiters() < kWaitersThen && std::chrono::steady_clock::now() < patience)
      std::this_thread::yield();
  }
  if (exception) std::rethrow_exception(exception);
}

std::shared_ptr<store::Keystore> EngineRig::keystore() {
  return keyring().keystore(domain_).value();
}

store::KeyTable EngineRig::table() { return keystore()->keys().value(); }

api::DomainStatus EngineRig::status() {
  for (api::DomainStatus& row : keyring().status())
    if (row.domain == domain_.text()) return row;
  return {};
}

JobParts EngineRig::parts() {
  return {keystore(), keyring(), custodians(), backend().control(), *process_->events, *clock_};
}

bool EngineRig::has_open_event(const EventKind& kind) {
  const std::vector<Event> events = process_->events->newest(1000);
  return std::ranges::any_of(
      events, [&](const Event& event) { return event.name == kind.name && event.open; });
}

Result<void> EngineRig::put(const std::string& name, const std::string& secret) {
  std::string copy = secret;
  const SecretBytes bytes =
      TRY(SecretBytes::take_from(std::as_writable_bytes(std::span(copy.data(), copy.size()))));
  note_written(name, secret, false);  // It may happen, even if nobody lives to hear of it.
  Result<std::uint64_t> version =
      keyring().put(domain_, entry_name(name), bytes, std::nullopt, caller());
  if (!version) return std::unexpected(std::move(version.error()));
  note_written(name, secret, true);
  return {};
}

Result<void> EngineRig::erase(const std::string& name) {
  const EntryEdit edit{entry_name(name)};
  note_written(name, "", false);
  TRY(keyring().edit(domain_, {&edit, 1}, caller()));
  note_written(name, "", true);
  return {};
}

// "" stands for no entry.
void EngineRig::note_written(const std::string& name, const std::string& value, bool acknowledged) {
  if (acknowledged) written_[name].clear();
  if (!acknowledged && !written_.contains(name)) written_[name].insert("");
  written_[name].insert(value);
}

Result<std::string> EngineRig::get(const std::string& name) {
  const SecretBytes secret = TRY(keyring().get(domain_, entry_name(name), caller()));
  const ByteView bytes = secret.reveal();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<JobId> EngineRig::begin(std::vector<CustodianId> without) {
  return RekeyJob(parts()).begin({.without = std::move(without), .job = {}}, caller());
}

Result<RekeyJob::Outcome> EngineRig::step() { return RekeyJob(parts()).step(kBatch, {}); }

bool EngineRig::step_until(store::RekeyPhase phase) {
  for (int i = 0; i < kStepsMax; ++i) {
    const store::KeyTable now = table();
    if (!now.rekey) return false;
    if (now.rekey->phase == phase) return true;
    if (!step()) return false;
  }
  return false;
}

Result<void> EngineRig::finish() {
  for (int i = 0; i < kStepsMax; ++i) {
    const RekeyJob::Outcome outcome = TRY(step());
    if (outcome == RekeyJob::Outcome::done) return {};
    if (outcome == RekeyJob::Outcome::paused) return fail(ErrorCode::busy, "it is paused");
  }
  return fail(ErrorCode::timeout, "the rekey does not end");
}

Result<void> EngineRig::rekey() {
  TRY(begin());
  return finish();
}

Result<void> EngineRig::want(const std::vector<std::string>& custodians) {
  return ResealJob::want(parts(), to_ids(custodians), caller());
}

Result<void> EngineRig::reseal() {
  for (int i = 0; i < kStepsMax; ++i)
    if (TRY(ResealJob(parts()).step()) == ResealJob::Outcome::done) return {};
  return fail(ErrorCode::timeout, "the reseal does not end");
}

std::vector<std::string> EngineRig::lost_entries() {
  std::vector<std::string> lost;
  for (const auto& [name, values] : written_) {
    const Result<std::string> found = get(name);
    const bool never_there = !found && found.error().code == ErrorCode::not_found;
    if (never_there && values.contains("")) continue;
    if (!found)
      lost.push_back(fmt::format("{}: {}", name, found.error().message));
    else if (!values.contains(*found))
      lost.push_back(fmt::format("{}: {} was never written", name, *found));
  }
  return lost;
}

void EngineRig::look_for_orphans(const std::string& id, std::vector<std::string>& orphans) {
  const store::KeyTable now = table();
  const bool wanted = now.find_wanted({id}) != nullptr;
  for (const hsm::HeldObject& object : hardware(id).objects())
    if (object.context != now.context(now.current().id) || !wanted)
      orphans.push_back(fmt::format("{} holds an orphan: {}", id, object.where));
}

std::vector<std::string> EngineRig::orphans() {
  std::vector<std::string> orphans;
  for (const auto& [id, hardware] : hardware_)
    if (!indestructible_.contains(id)) look_for_orphans(id, orphans);
  return orphans;
}

void EngineRig::check_hardware(const std::string& id, std::vector<std::string>& defects) {
  look_for_orphans(id, defects);
  const store::KeyTable now = table();
  if (now.find_wanted({id}) == nullptr) return;
  const std::vector<hsm::HeldObject> held = hardware(id).objects();
  const auto live =
      std::ranges::find(held, now.context(now.current().id), &hsm::HeldObject::context);
  if (live == held.end())
    defects.push_back(fmt::format("{} does not hold the current key", id));
  else if (!live->confirmed)
    defects.push_back(fmt::format("{}: the current key is not confirmed", id));
}

std::vector<std::string> EngineRig::defects() {
  std::vector<std::string> defects = lost_entries();
  const store::KeyTable now = table();
  if (Result<void> checked = now.check(); !checked) defects.push_back(checked.error().message);
  if (now.rekey || now.keys.size() != 1) defects.push_back("there is not one key and no rekey");
  for (const SealedKey& copy : now.current().copies) {
    if (!custodians().unseal_copy(copy, now.current(), now.context(now.current().id)))
      defects.push_back(copy.custodian.text + ": its copy does not open");
  }
  for (const WantedCustodian& wanted : now.wanted)
    if (now.current().copy_of(wanted.id) == nullptr)
      defects.push_back(wanted.id.text + " has no copy");
  for (const auto& [id, hardware] : hardware_)
    if (!indestructible_.contains(id)) check_hardware(id, defects);
  return defects;
}

EngineRig::Memory EngineRig::memory() const {
  Memory memory{{}, written_};
  for (const auto& [id, hardware] : hardware_) memory.hardware[id] = hardware->copy();
  return memory;
}

void EngineRig::recall(const Memory& memory) {
  hardware_.clear();
  for (const auto& [id, hardware] : memory.hardware) hardware_[id] = hardware->copy();
  written_ = memory.written;
}

std::filesystem::path EngineRig::copy_state() {
  std::filesystem::path copy = root_ / fmt::format("copy{}", copies_++);
  std::filesystem::copy(state_, copy, std::filesystem::copy_options::recursive);
  return copy;
}

}  // namespace keyward::engine
