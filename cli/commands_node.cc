// The commands about the node itself: custodians, keys, events, audit, doctor, upgrade, version.
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "api/audit.h"
#include "api/custodian_row.h"
#include "api/doctor.h"
#include "api/event.h"
#include "api/key_info.h"
#include "api/upgrade.h"
#include "api/version.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace keyward::cli {
namespace {

using api::Method;

constexpr std::size_t kPassphraseBytesMax = 1024;

struct NodeOptions {
  std::string id;
  std::string key;
  std::vector<std::string> domains;
  std::string since;
  std::string until;
  std::string actor;
  std::string subject;
  std::uint64_t after = 0;
  int descriptor = STDIN_FILENO;
  bool yes = false;
  bool json = false;
  bool no_rekey = false;
  bool lost = false;
};

// A subcommand whose callback runs `run` with options of its own.
struct NodeCommand {
  CLI::App* command;
  std::shared_ptr<NodeOptions> options;
};
NodeCommand add_command(CLI::App& parent, Session& session, const std::string& name,
                        const std::string& help,
                        Result<int> (*run)(ApiClient&, const NodeOptions&)) {
  CLI::App* command = parent.add_subcommand(name, help);
  auto options = std::make_shared<NodeOptions>();
  command->callback([&session, options, run] {
    session.action = [options, run](ApiClient& client) { return run(client, *options); };
  });
  return {command, options};
}
NodeCommand add_json_command(CLI::App& parent, Session& session, const std::string& name,
                             const std::string& help,
                             Result<int> (*run)(ApiClient&, const NodeOptions&)) {
  NodeCommand made = add_command(parent, session, name, help, run);
  made.command->add_flag("--json", made.options->json, "As JSON");
  return made;
}

std::string custodian_target(const NodeOptions& options) {
  return "/api/v1/custodians/" + api::percent_encode(options.id);
}

Result<int> list_custodians(ApiClient& client, const NodeOptions& options) {
  return show_list<api::CustodianRow>(client, "/api/v1/custodians", options.json);
}

Result<int> add_custodian(ApiClient& client, const NodeOptions& options) {
  const auto page = TRY(client.send<api::Page<api::DomainResult>>(
      Method::post, "/api/v1/custodians", api::CustodianAdd{options.id, options.domains}));
  return report_domains(page.items);
}

Result<int> remove_custodian(ApiClient& client, const NodeOptions& options) {
  const std::string question = fmt::format(
      "Are you sure you want to remove the custodian {}{}?", options.id,
      options.lost ? ", which cannot be reached and will not be asked to destroy its keys" : "");
  if (!confirm(question, options.yes)) return api::kExitFailed;
  const std::string target = custodian_target(options) +
                             fmt::format("?no_rekey={}&lost={}", options.no_rekey, options.lost);
  const auto result =
      TRY(api::from_json<api::RemovalResult>(TRY(client.call(Method::remove, target))));
  for (const std::string& still : result.except)
    std::cout << fmt::format("Still opens today's keys: {}\n", still);
  return report_domains(result.items);
}

int show_custodian(const api::CustodianRow& row, bool json) {
  show_rows(std::vector{row}, json);
  return row.healthy ? api::kExitDone : api::kExitUnavailable;
}

Result<int> test_custodian(ApiClient& client, const NodeOptions& options) {
  const auto row = TRY(api::from_json<api::CustodianRow>(
      TRY(client.call(Method::post, custodian_target(options) + ":test"))));
  return show_custodian(row, options.json);
}

Result<int> unlock_custodian(ApiClient& client, const NodeOptions& options) {
  SecretBytes passphrase =
      TRY(read_secret(options.descriptor, "Passphrase: ", kPassphraseBytesMax));
  // A file or a pipe usually ends in a newline that is no part of the passphrase.
  if (passphrase.size() > 1 && passphrase.reveal().back() == std::byte{'\n'}) {
    passphrase =
        TRY(SecretBytes::take_from(passphrase.reveal_mutable().first(passphrase.size() - 1)));
  }
  const std::string answer = TRY(
      client.send_secret(Method::post, custodian_target(options) + ":unlock", passphrase.reveal()));
  return show_custodian(TRY(api::from_json<api::CustodianRow>(answer)), options.json);
}

Result<int> list_keys(ApiClient& client, const NodeOptions& options) {
  std::string target = "/api/v1/keys";
  if (!options.domains.empty()) {
    target += "?domain=" + api::percent_encode(options.domains.front());
  }
  return show_list<api::KeyInfo>(client, target, options.json);
}

std::string names(const std::vector<std::string>& list) {
  return list.empty() ? "-" : fmt::format("{}", fmt::join(list, ", "));
}

Result<int> view_key(ApiClient& client, const NodeOptions& options) {
  const std::string answer =
      TRY(client.call(Method::get, "/api/v1/keys/" + api::percent_encode(options.key)));
  if (options.json) {
    std::cout << answer << '\n';
    return api::kExitDone;
  }
  const auto key = TRY(api::from_json<api::KeyInfo>(answer));
  std::cout << "Key ID: " << key.id << "\nDomain: " << key.domain
            << "\nState: " << api::enum_text(key.state)
            << "\nKey Creation Date: " << (key.created ? to_iso8601(*key.created) : "-")
            << "\nCheck Value: " << key.check_value << "\nCopies: " << names(key.copies)
            << "\nHolders: " << names(key.holders) << "\nExcept: " << names(key.except)
            << "\nEncryptions Reserved: " << key.encryptions_reserved << '\n';
  return api::kExitDone;
}

Result<int> list_events(ApiClient& client, const NodeOptions& options) {
  return show_list<api::Event>(client, fmt::format("/api/v1/events?limit=1000"), options.json);
}

void print_event(const api::Event& event, bool json) {
  if (json) {
    std::cout << api::to_json(event) << std::endl;
    return;
  }
  std::cout << fmt::format("{}  {:<7}  {}  {}  {}{}{}", to_iso8601(event.time),
                           api::enum_text(event.severity), event.name, printable(event.subject),
                           printable(event.text, 1024), event.next_step.empty() ? "" : "  ",
                           event.next_step)
            << std::endl;
}

Result<int> follow_events(ApiClient& client, const NodeOptions& options) {
  TRY(client.stream(fmt::format("/api/v1/events/stream?after={}", options.after),
                    [&](std::string_view data) {
                      if (auto event = api::from_json<api::Event>(data)) {
                        print_event(*event, options.json);
                      }
                      return true;
                    }));
  return api::kExitDone;
}

Result<int> list_audit(ApiClient& client, const NodeOptions& options) {
  std::string target = "/api/v1/audit?limit=1000";
  for (const auto& [name, value] :
       {std::pair("since", &options.since), std::pair("until", &options.until),
        std::pair("actor", &options.actor), std::pair("subject", &options.subject)}) {
    if (!value->empty()) target += fmt::format("&{}={}", name, api::percent_encode(*value));
  }
  return show_list<api::AuditRow>(client, target, options.json);
}

Result<int> verify_audit(ApiClient& client, const NodeOptions& options) {
  const auto verdict = TRY(
      api::from_json<api::AuditVerdict>(TRY(client.call(Method::post, "/api/v1/audit:verify"))));
  if (options.json) {
    std::cout << api::to_json(verdict) << '\n';
  } else {
    for (const std::string& defect : verdict.defects) std::cout << printable(defect, 1024) << '\n';
    std::cout << fmt::format("{} records, {}\n", verdict.records,
                             verdict.intact ? "every chain is intact" : "NOT intact: see above");
  }
  return verdict.intact ? api::kExitDone : api::kExitFailed;
}

Result<int> run_doctor(ApiClient& client, const NodeOptions& options) {
  const auto findings = TRY(fetch_all<api::DoctorFinding>(client, "/api/v1/doctor"));
  if (options.json || findings.empty()) {
    if (options.json) print_json(findings);
    if (!options.json) std::cout << "Nothing found.\n";
    return api::kExitDone;
  }
  for (const api::DoctorFinding& finding : findings) {
    std::cout << finding.kind << ": " << printable(finding.text, 1024) << '\n';
    if (!finding.where.empty()) std::cout << "    where: " << printable(finding.where, 512) << '\n';
    if (!finding.next_step.empty()) std::cout << "    next: " << finding.next_step << '\n';
  }
  return api::kExitDone;
}

Result<int> remove_unknown(ApiClient& client, const NodeOptions& options) {
  const std::string question = fmt::format(
      "Are you sure you want to destroy the key {} in {}? What it sealed can never be opened "
      "again.",
      options.key, options.id);
  if (!confirm(question, options.yes)) return api::kExitFailed;
  TRY(client.call(Method::post, "/api/v1/doctor:remove",
                  api::to_json(api::DoctorRemove{options.id, options.key})));
  return api::kExitDone;
}

Result<int> view_upgrade(ApiClient& client, const NodeOptions& options) {
  const auto state = TRY(client.get<api::UpgradeState>("/api/v1/upgrade"));
  if (options.json) {
    std::cout << api::to_json(state) << '\n';
  } else if (state.stores_to_upgrade.empty()) {
    std::cout << fmt::format("Every store has format {}: nothing to commit.\n",
                             state.format_current);
  } else {
    std::cout << fmt::format("Format of this program: {}\nOlder stores: {}\n", state.format_current,
                             fmt::join(state.stores_to_upgrade, ", "));
  }
  return api::kExitDone;
}

Result<int> commit_upgrade(ApiClient& client, const NodeOptions& options) {
  if (!confirm("Are you sure you want to commit the upgrade? Older versions of Keyward cannot open "
               "the stores afterwards.",
               options.yes)) {
    return api::kExitFailed;
  }
  TRY(client.call(Method::post, "/api/v1/upgrade:commit"));
  return view_upgrade(client, options);
}

Result<int> show_version(ApiClient& client, const NodeOptions& options) {
  const auto version = TRY(client.get<api::Version>("/api/v1/version"));
  if (options.json) {
    std::cout << api::to_json(version) << '\n';
  } else {
    std::cout << fmt::format("keyward {}\nkeywardd {} (API {}, {}, since {}, pid {})\n",
                             api::kProductVersion, version.version, version.api,
                             version.aead_engine, to_iso8601(version.started), version.pid);
  }
  return api::kExitDone;
}

}  // namespace

void add_custodian_commands(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("custodians", "HSM tokens, TPMs and passphrases");
  group->require_subcommand(1);
  add_json_command(*group, session, "list", "Health, and who can destroy", list_custodians);
  const auto id_help = "kind:name, as `custodians list` shows it";

  const auto [add, add_options] = add_command(
      *group, session, "add", "Let a configured custodian seal the keys too", add_custodian);
  add->add_option("custodian", add_options->id, id_help)->required();
  add->add_option("--domain", add_options->domains, "These domains only (repeatable)");

  const auto [remove, remove_options] =
      add_command(*group, session, "remove", "Take a custodian away, then rekey", remove_custodian);
  remove->add_option("custodian", remove_options->id, id_help)->required();
  remove->add_flag("--no-rekey", remove_options->no_rekey,
                   "No rekey afterwards: what it held still opens the current keys");
  remove->add_flag("--lost", remove_options->lost, "It is gone: do not wait for it to destroy");
  remove->add_flag("--yes,-y", remove_options->yes, "Do not ask");

  const auto [test, test_options] = add_json_command(
      *group, session, "test", "Seal and unseal a throw-away key now", test_custodian);
  test->add_option("custodian", test_options->id, id_help)->required();

  const auto [unlock, unlock_options] =
      add_json_command(*group, session, "unlock",
                       "Give a passphrase, from the terminal or a descriptor", unlock_custodian);
  unlock->add_option("custodian", unlock_options->id, id_help)->required();
  unlock->add_option("--fd", unlock_options->descriptor, "Read it from this descriptor")
      ->check(CLI::Range(0, 1023));
}

void add_key_commands(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("keys", "Master keys: states and copies");
  group->require_subcommand(1);
  const auto [list, list_options] =
      add_json_command(*group, session, "list", "All master keys", list_keys);
  list->add_option("--domain", list_options->domains, "Of this domain")->expected(1);
  const auto [view, view_options] =
      add_json_command(*group, session, "view", "One master key", view_key);
  view->add_option("key", view_options->key, "Its id")->required();
}

void add_event_commands(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("events", "What an administrator should know");
  group->require_subcommand(1);
  add_json_command(*group, session, "list", "Events, the oldest first", list_events);
  const auto [follow, follow_options] = add_json_command(
      *group, session, "follow", "Events as they are raised, until interrupted", follow_events);
  follow->add_option("--after", follow_options->after, "From the first past this id");
}

void add_audit_commands(CLI::App& app, Session& session) {
  CLI::App* group = app.add_subcommand("audit", "Who did what");
  group->require_subcommand(1);
  const auto [list, list_options] =
      add_json_command(*group, session, "list", "Records, the oldest first", list_audit);
  list->add_option("--since", list_options->since, "From this time, 2026-01-05T02:00:00Z");
  list->add_option("--until", list_options->until, "Up to this time");
  list->add_option("--actor", list_options->actor, "By this actor, uid:0");
  list->add_option("--subject", list_options->subject, "About this domain, entry or custodian");
  add_json_command(*group, session, "verify", "Prove that no record was changed or removed",
                   verify_audit);
}

void add_admin_commands(CLI::App& app, Session& session) {
  const auto [doctor, doctor_options] =
      add_json_command(app, session, "doctor", "What does not fit together", run_doctor);
  const auto [remove, remove_options] = add_command(
      *doctor, session, "remove", "Destroy one unknown object in a custodian", remove_unknown);
  remove->add_option("custodian", remove_options->id, "kind:name")->required();
  remove->add_option("key", remove_options->key, "The key id that doctor shows")->required();
  remove->add_flag("--yes,-y", remove_options->yes, "Do not ask");

  CLI::App* upgrade = app.add_subcommand("upgrade", "Stores of an older format");
  upgrade->require_subcommand(1);
  add_json_command(*upgrade, session, "view", "What a commit would change", view_upgrade);
  const auto [commit, commit_options] =
      add_json_command(*upgrade, session, "commit", "Migrate the stores for good", commit_upgrade);
  commit->add_flag("--yes,-y", commit_options->yes, "Do not ask");

  add_json_command(app, session, "version", "Versions of command and daemon", show_version);
}

}  // namespace keyward::cli
