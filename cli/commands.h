// The commands of `keyward`. Each group adds its subcommands to CLI11's tree; a subcommand's
// callback sets the session's action, which main runs when the whole line has been parsed.
//
//   CLI::App app("…");
//   Session session;
//   add_cluster_commands(app, session);
//
// A group keeps its options' values in memory that the callback shares, so no global is needed.
#pragma once

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/error_table.h"
#include "api/page.h"
#include "api/rekey_requests.h"
#include "api/url.h"
#include "base/result.h"
#include "cli/api_client.h"
#include "cli/table.h"

namespace CLI {
class App;
}

namespace keyward::cli {

struct Session {
  std::string socket_path;
  std::unique_ptr<ApiClient> client{};
  // Answers the exit code.
  std::function<Result<int>(ApiClient&)> action{};
};

void add_cluster_commands(CLI::App& app, Session& session);
void add_sed_commands(CLI::App& app, Session& session);
void add_drive_commands(CLI::App& sed, Session& session);
// `rekey` and what belongs to it, of one component.
void add_rekey_commands(CLI::App& parent, Session& session, api::Component component);
void add_entry_commands(CLI::App& app, Session& session);
void add_custodian_commands(CLI::App& app, Session& session);
void add_key_commands(CLI::App& app, Session& session);
void add_event_commands(CLI::App& app, Session& session);
void add_audit_commands(CLI::App& app, Session& session);
void add_admin_commands(CLI::App& app, Session& session);  // doctor, upgrade, version
void add_emulator_commands(CLI::App& app, Session& session);
void add_emulator_serve_command(CLI::App& app, Session& session);

// All pages of a list.
template <typename Row>
Result<std::vector<Row>> fetch_all(ApiClient& client, const std::string& target) {
  std::vector<Row> rows;
  const char separator = target.contains('?') ? '&' : '?';
  std::string page_target = target;
  for (;;) {
    auto page = TRY(client.get<api::Page<Row>>(page_target));
    for (Row& row : page.items) rows.push_back(std::move(row));
    if (!page.next) return rows;
    page_target = target + separator + "after=" + api::percent_encode(*page.next);
  }
}

// A JSON array, one row a line.
template <typename Row>
void print_json(const std::vector<Row>& rows) {
  std::cout << '[';
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::cout << (i == 0 ? "\n" : ",\n") << api::to_json(rows[i]);
  }
  std::cout << "\n]\n";
}

template <typename Row>
int show_rows(const std::vector<Row>& rows, bool json) {
  if (json) {
    print_json(rows);
  } else {
    print_table(std::cout, rows);
  }
  return api::kExitDone;
}

template <typename Row>
Result<int> show_list(ApiClient& client, const std::string& target, bool json) {
  return show_rows(TRY(fetch_all<Row>(client, target)), json);
}

// Prints what went wrong in single domains, and answers the exit code of the first that failed.
int report_domains(const std::vector<api::DomainResult>& results);

}  // namespace keyward::cli
