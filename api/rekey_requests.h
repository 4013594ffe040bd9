// What is asked about rekeys: start, pause, resume, cancel and retry, the schedule and the limit.
//
//   RekeyStart body{.component = Component::cluster, .domains = {"S3"}};
//   client.post("/api/v1/rekeys", to_json(body));
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

// Which keystores are meant when no domain is named: all but SED and KEYWARD, or SED alone.
enum class Component : std::uint8_t { cluster, sed };

constexpr auto enum_names(Component) {
  return std::to_array<EnumName<Component>>(
      {{Component::cluster, "cluster"}, {Component::sed, "sed"}});
}

// POST /api/v1/rekeys
struct RekeyStart {
  std::optional<Component> component;  // cluster, when absent.
  std::vector<std::string> domains;    // Empty: all of the component.
  std::vector<std::string> without;    // Custodian ids that are left out.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("component", &RekeyStart::component);
    visit("domains", &RekeyStart::domains);
    visit("without", &RekeyStart::without);
  }
};

// POST /api/v1/rekeys:pause, :resume, :cancel, :retry
struct RekeySelection {
  std::optional<Component> component;
  std::vector<std::string> domains;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("component", &RekeySelection::component);
    visit("domains", &RekeySelection::domains);
  }
};

// What became of a request in one domain. `code` is "" when it went well, else an ErrorCode's name.
struct DomainResult {
  std::string domain;
  std::optional<std::string> job;
  std::string code;
  std::string error;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("domain", &DomainResult::domain, "Domain");
    visit("job", &DomainResult::job, "Job");
    visit("code", &DomainResult::code);
    visit("error", &DomainResult::error, "Error Info(if any)");
  }
};

// GET /api/v1/rekey-schedule/{component}
struct RekeySchedule {
  Component component = Component::cluster;
  std::string key_rotation;           // "6W", "Never".
  std::string description;            // "every 6 weeks", "never".
  std::optional<UtcTime> last_rekey;  // None: never.
  std::optional<UtcTime> next_rekey;  // None: never.
  std::uint64_t version = 0;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("component", &RekeySchedule::component);
    visit("key_rotation", &RekeySchedule::key_rotation);
    visit("description", &RekeySchedule::description);
    visit("last_rekey", &RekeySchedule::last_rekey);
    visit("next_rekey", &RekeySchedule::next_rekey);
    visit("version", &RekeySchedule::version);
  }
};

// PUT /api/v1/rekey-schedule/{component}
struct RekeyScheduleChange {
  std::string key_rotation;
  // `conflict` when the schedule is no longer at this version; absent: whatever it is.
  std::optional<std::uint64_t> if_version;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("key_rotation", &RekeyScheduleChange::key_rotation);
    visit("if_version", &RekeyScheduleChange::if_version);
  }
};

// GET and PUT /api/v1/rekey-limit. Over all keystores; none: as fast as it goes.
struct RekeyLimit {
  std::optional<std::uint64_t> entries_per_second;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("entries_per_second", &RekeyLimit::entries_per_second);
  }
};

}  // namespace keyward::api
