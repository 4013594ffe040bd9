// What people ask for in a simulation.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "engine/schedule_keeper.h"
#include "tests/sim/sim_script.h"

namespace keyward::sim {
namespace {

using namespace std::chrono_literals;

SecretBytes secret_of(std::string text) {
  return SecretBytes::take_from(std::as_writable_bytes(std::span(text))).value();
}

std::vector<Domain> domains_of(const std::vector<std::string>& names) {
  std::vector<Domain> domains;
  for (const std::string& name : names) domains.push_back(domain_of(name));
  return domains;
}

}  // namespace

void SimScript::write_entries() {
  const std::string& domain = one_of(node_.settings().domains);
  for (std::uint64_t i = 1 + draw(4); i > 0; --i) write_entry(domain);
}

void SimScript::write_entry(const std::string& domain) {
  constexpr std::uint64_t kEntries = 16;
  const std::string name = fmt::format("entry {}", draw(kEntries));
  const auto entry = EntryName::parse(name).value();
  Result<void> written;
  std::string value;
  if (chance(10)) {
    const engine::EntryEdit edit{.name = entry};
    written = node_.keyring().edit(domain_of(domain), {&edit, 1}, kOperator);
    if (!written && written.error().code == ErrorCode::not_found) return;
  } else {
    value = fmt::format("value {}", ++values_);
    const auto put =
        node_.keyring().put(domain_of(domain), entry, secret_of(value), std::nullopt, kOperator);
    if (!put) written = std::unexpected(put.error());
  }
  model_.written(domain, name, value, written.has_value());
  if (!written) say_result(fmt::format("write {}/{}", domain, name), written);
}

void SimScript::start_one() {
  const std::string& domain = one_of(node_.settings().domains);
  const Domain one = domain_of(domain);
  const auto started = node_.service().start({&one, 1}, {}, kOperator).front();
  if (started) model_.rekeys_asked_for({domain});
  say_result("start " + domain, started ? Result<void>() : std::unexpected(started.error()));
  act_soon();
}

void SimScript::start_whole() {
  std::vector<std::string> names = node_.settings().domains;
  if (chance(50)) names.erase(names.begin());  // KEYWARD, as people do when they say "all".
  const auto started = node_.service().start(domains_of(names), {}, kOperator);
  const bool is_any = std::ranges::any_of(started, [](const auto& job) { return job.has_value(); });
  if (is_any) model_.rekeys_asked_for(names);
  for (std::size_t i = 0; i < names.size(); ++i)
    say_result("start all: " + names[i],
               started[i] ? Result<void>() : std::unexpected(started[i].error()));
  act_soon();
}

void SimScript::start_without() {
  const std::string& domain = one_of(node_.settings().domains);
  std::vector<CustodianId> without;
  for (const auto& [id, hardware] : node_.hardware())
    if (hardware.is_down) without.push_back({id});
  const Domain one = domain_of(domain);
  const auto started = node_.service().start({&one, 1}, without, kOperator).front();
  if (started) model_.rekeys_asked_for({domain});
  say_result(fmt::format("start {} without {}", domain, without.size()),
             started ? Result<void>() : std::unexpected(started.error()));
}

Result<void> SimScript::act_on(const std::string& domain, std::string_view what,
                               std::vector<Result<void>> (engine::RekeyService::*act)(
                                   std::span<const Domain>, const engine::Caller&)) {
  const Domain one = domain_of(domain);
  const Result<void> done = (node_.service().*act)({&one, 1}, kOperator).front();
  model_.stimulated(domain);
  say_result(fmt::format("{} {}", what, domain), done);
  return done;
}

void SimScript::pause() {
  const std::string domain = one_of(node_.settings().domains);
  model_.disturb();
  if (!act_on(domain, "pause", &engine::RekeyService::pause)) return;
  later(between(10s, 72h), [this, domain] {
    if (!node_.is_up()) start_process();
    model_.disturb();
    const auto resumed = act_on(domain, "resume", &engine::RekeyService::resume);
    if (resumed || resumed.error().code == ErrorCode::not_found) return;
    node_.store_plan().disarm();
    static_cast<void>(act_on(domain, "resume", &engine::RekeyService::resume));
  });
}

void SimScript::cancel() {
  const std::string& domain = one_of(node_.settings().domains);
  const auto cancelled = act_on(domain, "cancel", &engine::RekeyService::cancel);
  // Its answer may have been lost.
  if (cancelled || node_.store_plan().is_armed() || node_.has_crashed())
    model_.rekey_cancelled(domain);
}

void SimScript::retry() {
  const std::string& domain = one_of(node_.settings().domains);
  model_.all_stimulated();
  static_cast<void>(act_on(domain, "retry", &engine::RekeyService::retry));
}

void SimScript::reseal() {
  const std::string& domain = one_of(node_.settings().domains);
  std::vector<CustodianId> wanted;
  for (const std::string& id : node_.settings().custodians)
    if (chance(60)) wanted.push_back({id});
  if (wanted.empty()) wanted.push_back({node_.settings().custodians.front()});
  model_.disturb();
  model_.stimulated(domain);
  say_result(fmt::format("{} wants {} custodians", domain, wanted.size()),
             node_.service().reseal(domain_of(domain), wanted, kOperator));
  act_soon();
}

void SimScript::modify_schedule() {
  for (const engine::ScheduleName name : engine::kScheduleNames) {
    if (chance(30)) continue;
    const auto read = node_.service().schedule(name);
    if (!read) continue;
    engine::Schedule schedule = *read;
    const auto rotations = is_busy_ ? std::vector<std::string>{"18h", "1D", "2D", "3D", "Never"}
                                    : std::vector<std::string>{"3D", "1W", "2W", "3W"};
    schedule.rotation = Rotation::parse(one_of(rotations)).value();
    model_.schedule_set(name);
    say_result(fmt::format("{} {}", engine::document_name(name), schedule.rotation.to_text()),
               node_.service().set_schedule(name, schedule, kOperator));
  }
}

void SimScript::modify_limit() {
  const auto limit = chance(60) ? std::nullopt : std::optional<std::uint64_t>(1 + draw(20));
  say_result(fmt::format("limit {}", limit.value_or(0)),
             node_.service().set_rate_limit(limit, kOperator));
}

}  // namespace keyward::sim
