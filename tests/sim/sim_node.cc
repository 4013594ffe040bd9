#include "tests/sim/sim_node.h"

#include <stdlib.h>

#include <system_error>
#include <utility>

#include "base/check.h"
#include "crypto/aead.h"

namespace keyward::sim {
namespace {

// Lets two plans fail a call, and tells the clock of calls that somebody may have to take notice
// of: all but probes that end as those before.
class SimCustodian final : public hsm::Custodian {
 public:
  SimCustodian(const std::string& id, SimHardware& hardware, FaultPlan& crash, SimClock& clock)
      : target_(id, hardware.hardware), plan_(hardware.plan), crash_(crash), clock_(clock) {}

  const CustodianId& id() const override { return target_.id(); }
  Result<std::string> identity() override {
    return call([&] { return target_.identity(); });
  }
  bool destroys() const override { return target_.destroys(); }
  Result<hsm::GeneratedKey> generate(const KeyContext& context) override {
    return call([&] { return target_.generate(context); });
  }
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override {
    return call([&] { return target_.seal(key, context); });
  }
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override {
    return call([&] { return target_.unseal(copy, context); });
  }
  Result<void> confirm(const KeyContext& context) override {
    return call([&] { return target_.confirm(context); });
  }
  Result<void> destroy(const KeyContext& context, hsm::DestroyScope scope) override {
    return call([&] { return target_.destroy(context, scope); });
  }
  Result<std::vector<hsm::HeldObject>> list() override {
    return call([&] { return target_.list(); });
  }
  Result<void> probe() override {
    constexpr unsigned kNews = 3;  // By then its event is raised, or cleared.
    const Result<void> probed = crash_.apply([&] { return answer(); });
    alike_ = probed.has_value() == did_answer_ ? std::min(alike_ + 1, kNews) : 0;
    did_answer_ = probed.has_value();
    if (alike_ < kNews) clock_.note_activity();
    return probed;
  }

 private:
  // Whether the hardware can be reached: a throw-away key each time would take most of a quiet day.
  Result<void> answer() {
    TRY(target_.list());
    return {};
  }

  template <typename Call>
  auto call(Call real) -> decltype(real()) {
    clock_.note_activity();
    auto answer = crash_.apply([&] { return plan_.apply(real); });
    if (!answer) alike_ = 0;
    return answer;
  }

  hsm::FakeCustodian target_;
  FaultPlan& plan_;
  FaultPlan& crash_;
  SimClock& clock_;
  bool did_answer_ = false;
  unsigned alike_ = 0;  // Probes that ended as the one before.
};

}  // namespace

SimNode::SimNode(Settings settings, SimClock& clock, Listener listener)
    : settings_(std::move(settings)),
      clock_(clock),
      store_clock_(clock),
      listener_(std::move(listener)) {
  const bool has_memory = std::filesystem::is_directory("/dev/shm");
  std::string name = std::string(has_memory ? "/dev/shm" : "/tmp") + "/keyward-sim-XXXXXX";
  CHECK(::mkdtemp(name.data()) != nullptr, "no directory for a simulation");
  directory_ = name;
  for (const std::string& id : settings_.custodians) {
    SimHardware& hardware = hardware_.try_emplace(id, id).first->second;
    hardware.plan.disarm();
  }
  store_.disarm();
  clock_.count_activity_of([this] { return store_.calls(); });
}

SimNode::~SimNode() {
  stop();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void SimNode::start() {
  crash_.disarm();
  process_ = std::make_unique<Process>();
  open_stores();
  make_engine();
  start_threads();
}

void SimNode::open_stores() {
  auto files = store::open_backend("sqlite:" + (directory_ / "state").string(), store_clock_);
  CHECK(files.has_value(), "the state directory does not open");
  process_->files = std::move(*files);
  process_->faulty = std::make_unique<engine::FaultyBackend>(*process_->files, store_);
  process_->backend = std::make_unique<engine::FaultyBackend>(*process_->faulty, crash_);
}

void SimNode::make_engine() {
  constexpr std::size_t kEventsKept = 300;
  Process& process = *process_;
  store::Backend& backend = *process.backend;
  process.events = std::make_unique<engine::EventLog>(backend.control(), clock_, kEventsKept);
  clock_.await_threads(1);
  process.subscription = process.events->subscribe([this](const engine::Event& event) {
    if (!event.open || event.count == 1) clock_.note_activity();
    listener_.event(event);
  });
  process.custodians = std::make_unique<engine::CustodianSet>(*process.events, clock_);
  process.recovered = process.custodians->on_recovered([this] {
    clock_.note_activity();
    listener_.recovered();
  });
  for (auto& [id, hardware] : hardware_)
    process.custodians->add(std::make_unique<SimCustodian>(id, hardware, crash_, clock_));
  const crypto::AeadEngine& engine = crypto::choose_aead_engine("auto").value().get();
  process.keyring = std::make_unique<engine::Keyring>(
      engine::Keyring::Parts{backend, *process.custodians, engine, *process.events, clock_},
      engine::Keyring::Settings{.custodians = {},
                                .read_audit = engine::ReadAudit::off,
                                .read_audit_of = {},
                                .read_audit_pause = std::chrono::hours{10'000}});
  clock_.await_threads(2);
  if (std::exchange(is_new_, false))
    for (const std::string& name : settings_.domains) make_domain(name);
  process.service = std::make_unique<engine::RekeyService>(
      engine::RekeyService::Parts{*process.keyring, *process.custodians, backend.control(),
                                  *process.events, clock_},
      settings_.limits);
}

void SimNode::make_domain(const std::string& name) {
  const auto made = process_->keyring->create_domain(domain_of(name), kOperator);
  CHECK(made.has_value(), made ? "" : made.error().message.c_str());
}

void SimNode::start_threads() {
  Process& process = *process_;
  process.threads.push_back(
      clock_.spawn([&](std::stop_token stop) { process.keyring->unseal_all(std::move(stop)); }));
  process.threads.push_back(
      clock_.spawn([&](std::stop_token stop) { process.custodians->run(std::move(stop)); }));
  // What the service does with more workers, but for their start, which it leaves to the system.
  for (unsigned i = 0; i < settings_.workers; ++i)
    process.threads.push_back(
        clock_.spawn([&](std::stop_token stop) { process.service->run(std::move(stop)); }));
}

void SimNode::stop() {
  if (!process_) return;
  for (std::jthread& thread : process_->threads) {
    thread.request_stop();
    thread.join();
  }
  process_->service.reset();
  process_->recovered.reset();
  process_->keyring.reset();
  process_->subscription.reset();
  process_->custodians.reset();
  process_->events.reset();
  process_.reset();
}

}  // namespace keyward::sim
