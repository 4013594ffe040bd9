#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <mutex>

#include "api/domain_status.h"
#include "api/rekey_status.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace keyward::cli {
namespace {

using api::Component;
using api::Method;

constexpr std::chrono::milliseconds kFollowPause{250};

std::string component_name(Component component) { return std::string(api::enum_text(component)); }

// The values behind the options of one command; the callback keeps them alive.
struct RekeyOptions {
  Component component = Component::cluster;
  std::vector<std::string> domains;
  std::vector<std::string> without;
  std::string rotation;
  std::string limit;
  std::uint64_t count_max = 100;
  bool yes = false;
  bool json = false;
  bool follow = false;
};
using Options = std::shared_ptr<RekeyOptions>;

std::string time_or_never(const std::optional<UtcTime>& time) {
  return time ? to_iso8601(*time) : "Never";
}

// "?component=cluster", and "&domain=S3" where exactly one is meant: a list is chosen from here.
std::string rekey_target(const std::string& path, const RekeyOptions& options) {
  std::string target = path + "?component=" + component_name(options.component);
  if (options.domains.size() == 1) {
    target += "&domain=" + api::percent_encode(options.domains.front());
  }
  return target;
}

Result<std::vector<api::RekeyStatus>> fetch_progress(ApiClient& client,
                                                     const RekeyOptions& options) {
  auto rows = TRY(fetch_all<api::RekeyStatus>(client, rekey_target("/api/v1/rekeys", options)));
  if (options.domains.size() > 1) {
    std::erase_if(rows, [&](const api::RekeyStatus& row) {
      return std::ranges::find(options.domains, row.domain) == options.domains.end();
    });
  }
  return rows;
}

Result<int> start_rekey(ApiClient& client, const RekeyOptions& options) {
  const std::string what =
      options.domains.empty()
          ? fmt::format("the master keys of all {} domains", component_name(options.component))
          : fmt::format("the master key of {}", fmt::join(options.domains, ", "));
  if (!confirm(fmt::format("Are you sure you want to rekey {}?", what), options.yes)) {
    return api::kExitFailed;
  }
  const api::RekeyStart body{options.component, options.domains, options.without};
  const auto page =
      TRY(client.send<api::Page<api::DomainResult>>(Method::post, "/api/v1/rekeys", body));
  const int code = report_domains(page.items);
  const auto started = std::ranges::count_if(
      page.items, [](const api::DomainResult& result) { return result.code.empty(); });
  std::cout << fmt::format(
      "Rekey started in {} domain{}. Follow it with: keyward {} rekey "
      "progress --follow\n",
      started, started == 1 ? "" : "s", component_name(options.component));
  return code;
}

Result<int> view_schedule(ApiClient& client, const RekeyOptions& options) {
  const std::string target = "/api/v1/rekey-schedule/" + component_name(options.component);
  if (options.json) {
    std::cout << TRY(client.call(Method::get, target)) << '\n';
    return api::kExitDone;
  }
  const auto schedule = TRY(client.get<api::RekeySchedule>(target));
  const auto limit = TRY(client.get<api::RekeyLimit>("/api/v1/rekey-limit"));
  std::cout << "Rekey Time: " << time_or_never(schedule.last_rekey) << '\n'
            << "Key Rotation: " << schedule.key_rotation << '\n'
            << "Next Rekey: " << time_or_never(schedule.next_rekey) << '\n'
            << "Rate Limit: "
            << (limit.entries_per_second ? fmt::format("{} entries/s", *limit.entries_per_second)
                                         : "None")
            << '\n';
  return api::kExitDone;
}

Result<void> modify_limit(ApiClient& client, const std::string& text) {
  api::RekeyLimit limit;
  if (text != "None") {
    const bool digits = !text.empty() && text.size() <= 9 &&
                        std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || std::stoul(text) == 0) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("--rate-limit takes a number of entries per second from 1 to "
                              "999999999, or None; not \"{}\".",
                              printable(text)));
    }
    limit.entries_per_second = std::stoul(text);
  }
  TRY(client.send<api::RekeyLimit>(Method::put, "/api/v1/rekey-limit", limit));
  return {};
}

Result<int> modify_schedule(ApiClient& client, const RekeyOptions& options) {
  if (options.rotation.empty() && options.limit.empty()) {
    return fail(
        ErrorCode::invalid_argument,
        "Nothing to modify: give --key-rotation <N>[YMWDhms]|Never or --rate-limit N|None.");
  }
  if (!options.limit.empty()) TRY(modify_limit(client, options.limit));
  if (options.rotation.empty()) return api::kExitDone;
  const auto schedule = TRY(client.send<api::RekeySchedule>(
      Method::put, "/api/v1/rekey-schedule/" + component_name(options.component),
      api::RekeyScheduleChange{options.rotation, std::nullopt}));
  std::cout << "Key rotation: " << schedule.description;
  if (schedule.next_rekey) std::cout << ", next " << to_iso8601(*schedule.next_rekey);
  std::cout << '\n';
  return api::kExitDone;
}

bool is_running(const api::RekeyStatus& row) { return !row.phase.empty(); }

// Redraws until nothing runs, or only what has failed or been paused is left: that waits for 15
// minutes or for a person, and nobody wants to watch it.
Result<int> follow_progress(ApiClient& client, const RekeyOptions& options) {
  const std::unique_ptr<Clock> clock = real_clock();
  ProgressView view;
  for (;;) {
    auto rows = TRY(fetch_progress(client, options));
    if (options.domains.empty()) {
      std::erase_if(rows, [](const api::RekeyStatus& row) {
        return !is_running(row) && row.outcome == api::RekeyOutcome::none;
      });
    }
    view.draw(rows);
    bool moving = false;
    bool failed = false;
    for (const api::RekeyStatus& row : rows) {
      const bool stuck = row.state == api::DomainState::failed ||
                         row.state == api::DomainState::paused || !row.error.empty();
      moving = moving || (is_running(row) && !stuck);
      failed = failed || (is_running(row) && !row.error.empty());
    }
    if (!moving) {
      for (const api::RekeyStatus& row : rows) {
        if (!row.error.empty()) std::cerr << row.domain << ": " << row.error << '\n';
      }
      return failed ? api::kExitFailed : api::kExitDone;
    }
    clock->sleep_until({}, clock->monotonic() + kFollowPause);
  }
}

Result<int> show_progress(ApiClient& client, const RekeyOptions& options) {
  if (options.follow) return follow_progress(client, options);
  return show_rows(TRY(fetch_progress(client, options)), options.json);
}

Result<int> show_history(ApiClient& client, const RekeyOptions& options) {
  const std::string target =
      rekey_target("/api/v1/rekeys/history", options) + fmt::format("&limit={}", options.count_max);
  const auto page = TRY(client.get<api::Page<api::RekeyStatus>>(target));
  if (options.json) return show_rows(page.items, true);
  Table table{{"Domain", "Started", "Finished", "Entries", "Outcome", "By"}, {}};
  for (const api::RekeyStatus& row : page.items) {
    table.rows.push_back({row.domain, time_or_never(row.started), time_or_never(row.finished),
                          std::to_string(row.entries_total),
                          fmt::format("{}{}{}", api::enum_text(row.outcome),
                                      row.except.empty() ? "" : " ", fmt::join(row.except, ", ")),
                          row.actor});
  }
  print_table(std::cout, table);
  return api::kExitDone;
}

// The four requests that differ in one word.
void add_selection_command(CLI::App& rekey, Session& session, Component component,
                           const std::string& verb, const std::string& help) {
  CLI::App* command = rekey.add_subcommand(verb, help);
  auto options = std::make_shared<RekeyOptions>();
  options->component = component;
  if (component != Component::sed)
    command->add_option("--domain", options->domains, "These domains only (repeatable)");
  command->callback([&session, options, verb] {
    session.action = [options, verb](ApiClient& client) -> Result<int> {
      const api::RekeySelection body{options->component, options->domains};
      const auto page = TRY(
          client.send<api::Page<api::DomainResult>>(Method::post, "/api/v1/rekeys:" + verb, body));
      return report_domains(page.items);
    };
  });
}

CLI::App* add_rekey_command(CLI::App& rekey, Session& session, const Options& options,
                            const std::string& name, const std::string& help,
                            Result<int> (*run)(ApiClient&, const RekeyOptions&)) {
  CLI::App* command = rekey.add_subcommand(name, help);
  command->callback([&session, options, run] {
    session.action = [options, run](ApiClient& client) { return run(client, *options); };
  });
  return command;
}

void add_status_command(CLI::App& cluster, Session& session) {
  CLI::App* status = cluster.add_subcommand("status", "The state of every domain's key");
  auto json = std::make_shared<bool>(false);
  status->add_flag("--json", *json, "As JSON");
  status->callback([&session, json] {
    session.action = [json](ApiClient& client) {
      return show_list<api::DomainStatus>(client, "/api/v1/domains?component=cluster", *json);
    };
  });
}

struct DomainOptions {
  std::vector<std::string> domains;
  bool yes = false;
  bool json = false;
};

Result<int> create_domains(ApiClient& client, const DomainOptions& options) {
  for (const std::string& domain : options.domains) {
    TRY(client.send<api::DomainStatus>(Method::post, "/api/v1/domains", api::DomainCreate{domain}));
  }
  return api::kExitDone;
}

Result<int> delete_domains(ApiClient& client, const DomainOptions& options) {
  const std::string question = fmt::format(
      "Are you sure you want to delete {} and destroy the key?", fmt::join(options.domains, ", "));
  if (!confirm(question, options.yes)) return api::kExitFailed;
  for (const std::string& domain : options.domains) {
    TRY(client.call(Method::remove, "/api/v1/domains/" + api::percent_encode(domain)));
  }
  return api::kExitDone;
}

void add_domain_commands(CLI::App& cluster, Session& session) {
  CLI::App* domains = cluster.add_subcommand("domains", "The domains and their keystores");
  domains->require_subcommand(1);
  auto options = std::make_shared<DomainOptions>();

  CLI::App* list = domains->add_subcommand("list", "All domains, the node's own too");
  list->add_flag("--json", options->json, "As JSON");
  list->callback([&session, options] {
    session.action = [options](ApiClient& client) {
      return show_list<api::DomainStatus>(client, "/api/v1/domains?all=true", options->json);
    };
  });

  CLI::App* create = domains->add_subcommand("create", "A keystore with a key of its own");
  create->add_option("domain", options->domains, "[A-Z][A-Z0-9_]*, at most 32 characters")
      ->required();
  create->callback([&session, options] {
    session.action = [options](ApiClient& client) { return create_domains(client, *options); };
  });

  CLI::App* remove = domains->add_subcommand("delete", "Delete empty domains");
  remove->add_option("domain", options->domains, "Which")->required();
  remove->add_flag("--yes,-y", options->yes, "Do not ask");
  remove->callback([&session, options] {
    session.action = [options](ApiClient& client) { return delete_domains(client, *options); };
  });
}

}  // namespace

int report_domains(const std::vector<api::DomainResult>& results) {
  int code = api::kExitDone;
  for (const api::DomainResult& result : results) {
    if (result.code.empty()) continue;
    std::cerr << "keyward: " << result.domain << ": " << result.error << '\n';
    if (code == api::kExitDone) {
      code = api::exit_code(api::error_code_of(result.code).value_or(ErrorCode::protocol));
    }
  }
  return code;
}

void add_rekey_commands(CLI::App& parent, Session& session, Component component) {
  CLI::App* rekey = parent.add_subcommand("rekey", "New master keys, and every entry under them");
  rekey->require_subcommand(1);
  const auto make = [&](const std::string& name, const std::string& help, auto run) {
    auto options = std::make_shared<RekeyOptions>();
    options->component = component;
    return std::pair(add_rekey_command(*rekey, session, options, name, help, run), options);
  };
  const auto add_domains = [&](CLI::App* command, const Options& options, const char* help) {
    return component == Component::sed ? nullptr
                                       : command->add_option("--domain", options->domains, help);
  };
  const char* const domain_help = "These domains only (repeatable)";

  const auto [start, start_options] = make("start", "Start a rekey now", start_rekey);
  add_domains(start, start_options, domain_help);
  start->add_option("--without", start_options->without,
                    "Go on without this custodian; its copy is added when it is back (repeatable)");
  start->add_flag("--yes,-y", start_options->yes, "Do not ask");

  const auto [view, view_options] = make("view", "Last and next rekey, rotation", view_schedule);
  view->add_flag("--json", view_options->json, "As JSON");

  const auto [modify, modify_options] =
      make("modify", "How often, and how fast, keys are rotated", modify_schedule);
  modify->add_option("--key-rotation", modify_options->rotation,
                     "<N>[YMWDhms] or Never: 6W is every six weeks, 2M every two months");
  modify->add_option("--rate-limit", modify_options->limit,
                     "Entries per second over all domains, or None");

  const auto [progress, progress_options] = make("progress", "How far it is", show_progress);
  add_domains(progress, progress_options, domain_help);
  progress->add_flag("--follow,-f", progress_options->follow, "Until it has finished");
  progress->add_flag("--json", progress_options->json, "As JSON");

  const auto [history, history_options] = make("history", "Finished rekeys", show_history);
  if (CLI::Option* domain = add_domains(history, history_options, "This domain only"))
    domain->expected(1);
  history->add_option("--limit", history_options->count_max, "At most so many")
      ->check(CLI::Range(1, 1000));
  history->add_flag("--json", history_options->json, "As JSON");

  add_selection_command(*rekey, session, component, "pause",
                        "Stop re-encrypting for now; entries are read and written on");
  add_selection_command(*rekey, session, component, "resume", "Go on after a pause");
  add_selection_command(*rekey, session, component, "cancel",
                        "Take it back; refused once the new key is the current one");
  add_selection_command(*rekey, session, component, "retry",
                        "Try a failed step again now, not in 15 minutes");
}

void add_cluster_commands(CLI::App& app, Session& session) {
  CLI::App* cluster = app.add_subcommand("cluster", "Cluster domains: status, rekey");
  cluster->require_subcommand(1);
  add_status_command(*cluster, session);
  add_domain_commands(*cluster, session);
  add_rekey_commands(*cluster, session, Component::cluster);
}

}  // namespace keyward::cli
