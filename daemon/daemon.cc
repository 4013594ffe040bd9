#include "daemon/daemon.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

#include "api/version.h"
#include "base/log.h"
#include "daemon/drives.h"
#include "daemon/server.h"
#include "daemon/service_manager.h"
#include "daemon/services.h"
#include "engine/audit_log.h"
#include "engine/custodian_admin.h"
#include "engine/custodian_set.h"
#include "engine/doctor.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"

namespace keyward::daemon {
namespace {

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{60};
constexpr std::string_view kOwnDomain = "KEYWARD";
constexpr std::string_view kDrivesDomain = "SED";

Result<void> make_private_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error && ::chmod(path.c_str(), 0700) == 0) return {};
  return fail(ErrorCode::io,
              fmt::format("the directory {} cannot be made private: {}", path,
                          error ? error.message() : std::generic_category().message(errno)));
}

// The vendor's module runs under our uid: whoever listens to that uid listens to the module too.
void warn_of_own_uid(const Config& config) {
  const uid_t own = ::geteuid();
  if (own == 0 || std::ranges::find(config.allow_uids, own) == config.allow_uids.end()) return;
  log(LogLevel::warning,
      "allow_uids names {}, the uid that keywardd itself runs as: a faulty HSM module could then "
      "read secrets over the socket",
      own);
}

engine::Keyring::Settings keyring_settings(const Config& config) {
  return {.custodians = {}, .read_audit = config.read_audit, .read_audit_of = config.read_audit_of};
}

engine::RekeyService::Limits rekey_limits(const Config& config) {
  return {.workers = config.rekey_workers,
          .entries_per_second = config.entries_per_second,
          .allow_short_rotation = config.allow_short_rotation};
}

}  // namespace

Result<DaemonParts> open_parts(const Config& config, Clock& clock) {
  TRY(make_private_directory(config.state_dir));
  std::string location = "sqlite:" + config.state_dir;
  if (config.store_format) location += fmt::format("?format={}", *config.store_format);
  DaemonParts parts{.backend = TRY(store::open_backend(location, clock)),
                    .custodians = {},
                    .engine = &TRY(crypto::choose_aead_engine(config.aead_engine)).get()};
  std::string defects;
  for (const hsm::CustodianConfig& custodian : config.custodians) {
    TRY(make_private_directory(custodian.state_dir));
    if (auto opened = hsm::open_custodian(custodian, clock))
      parts.custodians.push_back(std::move(*opened));
    else
      defects += fmt::format("{}custodian {}: {}", defects.empty() ? "" : "\n", custodian.id().text,
                             opened.error().message);
  }
  if (!defects.empty()) return fail(ErrorCode::invalid_argument, defects);
  return parts;
}

class Daemon::Impl {
 public:
  Impl(const Config& config, DaemonParts parts, Clock& clock)
      : config_(config),
        clock_(clock),
        backend_(std::move(parts.backend)),
        events_(backend_->control(), clock),
        custodians_(events_, clock),
        keyring_({*backend_, custodians_, *parts.engine, events_, clock}, keyring_settings(config)),
        rekeys_({keyring_, custodians_, backend_->control(), events_, clock}, rekey_limits(config)),
        admin_({keyring_, custodians_, rekeys_, backend_->control(), events_, clock}),
        audit_({backend_->control(), keyring_, events_, clock}),
        doctor_({keyring_, custodians_, rekeys_, audit_, events_, backend_->control()}),
        services_{.config = config_,
                  .backend = *backend_,
                  .keyring = keyring_,
                  .custodians = custodians_,
                  .rekeys = rekeys_,
                  .admin = admin_,
                  .events = events_,
                  .audit = audit_,
                  .doctor = doctor_,
                  .drives = nullptr,
                  .clock = clock,
                  .metrics = metrics_,
                  .aead_engine = std::string(parts.engine->name()),
                  .started = clock.now(),
                  .stop = stop_.get_token()} {
    for (auto& custodian : parts.custodians) custodians_.add(std::move(custodian));
  }
  ~Impl() { stop(); }

  Result<void> start();
  void stop();

 private:
  void create_domain(std::string_view name, const std::stop_token& stop);
  Result<bool> has_domain(std::string_view name);
  void look_after_drives(const std::stop_token& stop);
  void watch(const std::stop_token& stop, std::chrono::microseconds period);
  // False when `stop` was requested first.
  bool pause(const std::stop_token& stop, std::chrono::microseconds length) {
    return clock_.sleep_until(stop, clock_.monotonic() + length);
  }
  template <typename Work>
  void run(Work work) {
    threads_.emplace_back([this, work] { work(stop_.get_token()); });
  }

  const Config config_;
  Clock& clock_;
  std::stop_source stop_;
  std::unique_ptr<store::Backend> backend_;
  engine::EventLog events_;
  engine::CustodianSet custodians_;
  engine::Keyring keyring_;
  engine::RekeyService rekeys_;
  engine::CustodianAdmin admin_;
  engine::AuditLog audit_;
  engine::Doctor doctor_;
  Metrics metrics_;
  std::unique_ptr<Drives> drives_;
  Services services_;
  std::unique_ptr<Server> server_;
  std::vector<std::jthread> threads_;
};

Result<void> Daemon::Impl::start() {
  warn_of_own_uid(config_);
  if (config_.drives) {
    drives_ = TRY(Drives::open(config_, keyring_, events_, backend_->control(), clock_));
    services_.drives = &drives_->fleet();
  }
  server_ = TRY(Server::start(services_, config_.socket, config_.limits));
  log(LogLevel::notice, "keywardd {} listens on {}; state in {}, {} custodians, {}",
      api::kProductVersion, config_.socket, config_.state_dir, custodians_.ids().size(),
      services_.aead_engine);
  run([this](std::stop_token stop) { custodians_.run(stop); });
  run([this](std::stop_token stop) { keyring_.unseal_all(stop); });
  run([this](std::stop_token stop) {
    create_domain(kOwnDomain, stop);
    audit_.run(stop);  // Its checkpoints are signed with a key that lies in that domain.
  });
  // What is on the drives may be what the rest of the system waits for: so they come before READY.
  // On the first start there is no domain of theirs yet, and no drive of ours.
  if (drives_ && TRY(has_domain(kDrivesDomain))) drives_->unlock_all(stop_.get_token());
  if (drives_) run([this](std::stop_token stop) { look_after_drives(stop); });
  run([this](std::stop_token stop) { rekeys_.run(stop); });
  if (const auto period = watchdog_period())
    run([this, period](std::stop_token stop) { watch(stop, *period); });
  return {};
}

void Daemon::Impl::look_after_drives(const std::stop_token& stop) {
  create_domain(kDrivesDomain, stop);
  if (!stop.stop_requested()) drives_->fleet().run_hot_plug(stop);
}

Result<bool> Daemon::Impl::has_domain(std::string_view name) {
  const std::vector<Domain> domains = TRY(backend_->domains());
  return std::ranges::any_of(domains, [&](const Domain& domain) { return domain.text() == name; });
}

// The first start. Later it is there, and a key that does not open is never a reason for another.
void Daemon::Impl::create_domain(std::string_view name, const std::stop_token& stop) {
  const Result<Domain> domain = Domain::parse(name);
  if (custodians_.ids().empty()) {
    log(LogLevel::warning,
        "no custodian is configured, so no domain can be made: add a [[custodian]] section");
    return;
  }
  std::chrono::seconds length = kFirstPause;
  std::string said;
  do {
    const Result<bool> there = has_domain(name);
    if (there && *there) return;
    const Result<void> made = there ? keyring_.create_domain(*domain, {"keywardd", "daemon"})
                                    : Result<void>(std::unexpected(there.error()));
    if (made || made.error().code == ErrorCode::already_exists) return;
    if (made.error().message != said) {
      said = made.error().message;
      log(LogLevel::warning, "the domain {} cannot be made yet: {}", name, said);
    }
    length = std::min(length * 2, kLongestPause);
  } while (pause(stop, length));
}

// systemd restarts us when this stays away, so it speaks only while the sockets are served.
void Daemon::Impl::watch(const std::stop_token& stop, std::chrono::microseconds period) {
  do {
    if (server_->is_responsive()) notify_alive();
  } while (pause(stop, period / 3));
}

void Daemon::Impl::stop() {
  if (stop_.stop_requested()) return;
  stop_.request_stop();
  if (server_) server_->stop();
  threads_.clear();
  if (const Result<void> flushed = events_.flush(); !flushed)
    log(LogLevel::error, "events could not be stored: {}", flushed.error().message);
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;
void Daemon::stop() { impl_->stop(); }

Result<std::unique_ptr<Daemon>> Daemon::start(const Config& config, DaemonParts parts,
                                              Clock& clock) {
  auto impl = std::make_unique<Impl>(config, std::move(parts), clock);
  TRY(impl->start());
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

}  // namespace keyward::daemon
