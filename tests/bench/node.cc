#include "tests/bench/node.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "crypto/aead.h"
#include "hsm/custodian.h"

namespace keyward::bench {
namespace {

constexpr std::size_t kBatchEntries = 10'000;
constexpr std::uint32_t kFillEntries = 5'000;

Domain domain(std::string_view name = "S3") { return need(Domain::parse(name)); }
engine::Caller caller() { return {"uid:0", "unix"}; }

std::string state_of(const std::filesystem::path& directory) {
  return (directory / "state").string();
}

hsm::CustodianConfig custodian_of(const std::filesystem::path& directory) {
  // The lowest cost that is allowed: the KDF is measured by itself.
  return {
      "passphrase", "bench",
      fmt::format("source = \"file:{}\"\nscrypt_n = 16384\n", (directory / "passphrase").string()),
      state_of(directory) + "/custodians/passphrase-bench"};
}

SecretBytes make_secret(std::uint32_t id, std::size_t size) {
  SecretBytes secret = need(SecretBytes::allocate(size));
  std::uint64_t state = (std::uint64_t{id} + 1) * 0x9e3779b97f4a7c15u;
  for (std::size_t at = 0; at < size; at += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(secret.reveal_mutable().data() + at, &state, std::min<std::size_t>(8, size - at));
  }
  return secret;
}

}  // namespace

std::string entry_text(std::uint32_t id) { return fmt::format("entry-{:08}", id); }

void Node::create(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  const std::string passphrase = (directory / "passphrase").string();
  std::ofstream(passphrase) << "known to every benchmark\n";
  ::chmod(passphrase.c_str(), 0600);
  std::ofstream(directory / "keyward.toml") << config(directory);
  Node(directory, "auto").add_domain("S3");
}

std::string Node::config(const std::filesystem::path& directory) {
  return fmt::format(
      "state_dir = \"{}\"\nallow_uids = [{}]\nsocket = \"{}\"\nmemory_lock = "
      "\"best_effort\"\nlog_level = "
      "\"warning\"\n"
      "[[custodian]]\nkind = \"passphrase\"\nname = \"bench\"\n{}",
      state_of(directory), ::getuid(), socket(directory).string(),
      custodian_of(directory).settings);
}

std::filesystem::path Node::socket(const std::filesystem::path& directory) {
  return directory / "keyward.sock";
}

std::filesystem::path Node::database(const std::filesystem::path& directory) {
  return std::filesystem::path(state_of(directory)) / "keystores" / "S3.db";
}

std::string Node::engine_name(std::string_view engine) {
  return std::string(need(crypto::choose_aead_engine(engine)).get().name());
}

Node::Node(const std::filesystem::path& directory, std::string_view engine) {
  backend_ = need(store::open_backend("sqlite:" + state_of(directory), *clock_));
  events_ = std::make_unique<engine::EventLog>(backend_->control(), *clock_);
  custodians_ = std::make_unique<engine::CustodianSet>(*events_, *clock_);
  std::filesystem::create_directories(custodian_of(directory).state_dir);
  custodians_->add(need(hsm::open_custodian(custodian_of(directory), *clock_)));
  keyring_ = std::make_unique<engine::Keyring>(
      engine::Keyring::Parts{*backend_, *custodians_,
                             need(crypto::choose_aead_engine(engine)).get(), *events_, *clock_},
      engine::Keyring::Settings{});
  // Ends when all is open; what does not open is tried until the deadline.
  std::jthread unsealer([&](const std::stop_token& stop) { keyring_->unseal_all(stop); });
  if (need(backend_->domains()).empty()) return;
  need(keyring_->wait_unsealed(domain(), {}, clock_->monotonic() + std::chrono::seconds(30)));
}

Node::~Node() = default;

engine::JobParts Node::parts() {
  return {need(keyring_->keystore(domain())),
          *keyring_,
          *custodians_,
          backend_->control(),
          *events_,
          *clock_};
}

store::RekeyPhase Node::phase() {
  const store::KeyTable table = need(need(keyring_->keystore(domain()))->keys());
  need(table.rekey.has_value(), "the rekey ended too soon");
  return table.rekey->phase;
}

void Node::add_domain(std::string_view name) {
  need(keyring_->create_domain(domain(name), caller()));
}

void Node::fill(std::string_view name, std::uint32_t first, std::uint32_t end, std::size_t size) {
  for (std::uint32_t at = first; at < end; at += kFillEntries) {
    const std::uint32_t stop = std::min(end, at + kFillEntries);
    std::vector<SecretBytes> secrets;
    for (std::uint32_t id = at; id < stop; ++id) secrets.push_back(make_secret(id, size));
    std::vector<engine::EntryEdit> edits;
    for (std::uint32_t id = at; id < stop; ++id)
      edits.push_back({need(EntryName::parse(entry_text(id))), &secrets[id - at], 0});
    need(keyring_->edit(domain(name), edits, caller()));
  }
  need(need(keyring_->keystore(domain(name)))->reencryption().purge());
}

Json Node::rekey() {
  using store::RekeyPhase;
  const Meter whole;
  reset_peak_memory();
  engine::RekeyJob job(parts());
  need(job.begin({}, caller()));
  const auto step = [&] { return need(job.step(kBatchEntries, {})); };
  while (phase() == RekeyPhase::prepare) step();
  store::Reencryption& work = need(keyring_->keystore(domain()))->reencryption();
  Json result;
  double status_s = 0;
  {
    const Meter meter;
    while (phase() == RekeyPhase::reencrypt) {
      step();
      const auto asked = std::chrono::steady_clock::now();
      need(work.progress());
      const std::chrono::duration<double> answered = std::chrono::steady_clock::now() - asked;
      status_s = std::max(status_s, answered.count());
    }
    need(work.purge());
    result["reencrypt"] = meter.read().to_json();
  }
  {
    const Meter meter;
    while (phase() == RekeyPhase::verify) step();
    result["verify"] = meter.read().to_json();
  }
  while (step() != engine::RekeyJob::Outcome::done) {
  }
  result["whole"] = whole.read().to_json();
  result["status_us"] = 1e6 * status_s;
  result["peak_kib"] = peak_memory_kib();
  return result;
}

double Node::open_time(const std::filesystem::path& directory) {
  const std::unique_ptr<Clock> clock = real_clock();
  const auto backend = need(store::open_backend("sqlite:" + state_of(directory), *clock));
  const Meter meter;
  const auto keystore = need(backend->open(domain()));
  need(keystore->entries_total());
  return meter.read().wall_s;
}

}  // namespace keyward::bench
