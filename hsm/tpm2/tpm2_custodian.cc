#include "hsm/tpm2/tpm2_custodian.h"

#include <fmt/format.h>

#include <cstdlib>
#include <mutex>
#include <optional>

#include "hsm/hardware_warnings.h"
#include "hsm/tpm2/deadline_worker.h"
#include "hsm/tpm2/tpm2_settings.h"
#include "hsm/tpm2/tpm_sealer.h"

namespace keyward::hsm {
namespace {

// Hands every call to the worker thread; what it does there is TpmSealer's.
class Tpm2Custodian final : public Custodian, public WarnsOfHardware {
 public:
  Tpm2Custodian(CustodianId id, std::uint32_t time_limit_s, std::shared_ptr<tpm2::TpmSealer> sealer)
      : id_(std::move(id)),
        sealer_(std::move(sealer)),
        worker_("TPM", std::chrono::seconds(time_limit_s)) {}
  // A TPM without a resource manager is told of a clean stop; without that it counts the stop as a
  // wrong PIN.
  ~Tpm2Custodian() override {
    if (worker_.is_held_up()) return;
    static_cast<void>(
        run<void>("shut down", [](tpm2::TpmSealer& sealer, const std::stop_token& stop) {
          return sealer.shut_down(stop);
        }));
  }

  const CustodianId& id() const override { return id_; }
  bool destroys() const override { return true; }
  Result<std::string> identity() override;
  Result<GeneratedKey> generate(const KeyContext& context) override;
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override;
  Result<void> confirm(const KeyContext& context) override;
  Result<void> destroy(const KeyContext& context, DestroyScope scope) override;
  Result<std::vector<HeldObject>> list() override;
  Result<void> probe() override;
  Result<std::vector<HardwareWarning>> hardware_warnings() override;

 private:
  template <typename T, typename Call>
  Result<T> run(std::string_view what, Call call) {
    return worker_.run<T>(
        what, [sealer = sealer_, call = std::move(call)](const std::stop_token& stop) mutable {
          return call(*sealer, stop);
        });
  }

  CustodianId id_;
  std::shared_ptr<tpm2::TpmSealer> sealer_;  // Shared with jobs that outlive their callers.
  std::mutex mutex_;
  std::optional<std::string> identity_;
  tpm2::DeadlineWorker worker_;  // Last, so that it stops first.
};

Result<std::string> Tpm2Custodian::identity() {
  {
    const std::scoped_lock lock(mutex_);
    if (identity_) return *identity_;
  }
  std::string name = TRY(run<std::string>(
      "identity", [](auto& sealer, const std::stop_token& stop) { return sealer.identity(stop); }));
  const std::scoped_lock lock(mutex_);
  identity_ = name;
  return name;
}

Result<GeneratedKey> Tpm2Custodian::generate(const KeyContext& context) {
  return run<GeneratedKey>("generate", [context](auto& sealer, const std::stop_token& stop) {
    return sealer.generate(context, stop);
  });
}

Result<SealedKey> Tpm2Custodian::seal(const SecretBytes& key, const KeyContext& context) {
  return run<SealedKey>(
      "seal", [own = TRY(key.duplicate()), context](auto& sealer, const std::stop_token& stop) {
        return sealer.seal(own, context, stop);
      });
}

Result<SecretBytes> Tpm2Custodian::unseal(const SealedKey& copy, const KeyContext& context) {
  return run<SecretBytes>("unseal", [copy, context](auto& sealer, const std::stop_token& stop) {
    return sealer.unseal(copy, context, stop);
  });
}

Result<void> Tpm2Custodian::confirm(const KeyContext& context) {
  return run<void>("confirm", [context](auto& sealer, const std::stop_token& stop) {
    return sealer.confirm(context, stop);
  });
}

Result<void> Tpm2Custodian::destroy(const KeyContext& context, DestroyScope scope) {
  return run<void>("destroy", [context, scope](auto& sealer, const std::stop_token& stop) {
    return sealer.destroy(context, scope, stop);
  });
}

Result<std::vector<HeldObject>> Tpm2Custodian::list() {
  return run<std::vector<HeldObject>>(
      "list", [](auto& sealer, const std::stop_token& stop) { return sealer.list(stop); });
}

Result<void> Tpm2Custodian::probe() {
  return run<void>("probe",
                   [](auto& sealer, const std::stop_token& stop) { return sealer.probe(stop); });
}

Result<std::vector<HardwareWarning>> Tpm2Custodian::hardware_warnings() {
  return run<std::vector<HardwareWarning>>(
      "hardware warnings",
      [](auto& sealer, const std::stop_token& stop) { return sealer.hardware_warnings(stop); });
}

// TSS writes its own log to stderr, without a form of ours; every failure reaches the caller with
// the same code. An operator who wants it sets the variable.
void quieten_tss() {
  static std::once_flag once;
  std::call_once(once, [] { setenv("TSS2_LOG", "all+NONE", 0); });  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace

Result<std::unique_ptr<Custodian>> open_tpm2_custodian(const CustodianConfig& config,
                                                       Clock& clock) {
  tpm2::Tpm2Settings settings = TRY(tpm2::parse_tpm2_settings(config.settings));
  quieten_tss();
  const std::uint32_t time_limit_s = settings.time_limit_s;
  auto sealer = TRY(tpm2::TpmSealer::create(
      config.id(), std::move(settings),
      fmt::format("{}/tpm2-{}.enrolment", config.state_dir, config.name), clock));
  return std::make_unique<Tpm2Custodian>(config.id(), time_limit_s, std::move(sealer));
}

}  // namespace keyward::hsm
