#include <CLI/CLI.hpp>

#include "api/sed_status.h"
#include "cli/commands.h"

namespace keyward::cli {
namespace {

void add_status_command(CLI::App& sed, Session& session) {
  CLI::App* status = sed.add_subcommand("status", "Where the master key of the drives' PINs is");
  auto json = std::make_shared<bool>(false);
  status->add_flag("--json", *json, "As JSON");
  status->callback([&session, json] {
    session.action = [json](ApiClient& client) {
      return show_list<api::SedStatus>(client, "/api/v1/sed/status", *json);
    };
  });
}

}  // namespace

void add_sed_commands(CLI::App& app, Session& session) {
  CLI::App* sed = app.add_subcommand("sed", "Self-encrypting drives: status, rekey, drives");
  sed->require_subcommand(1);
  add_status_command(*sed, session);
  add_rekey_commands(*sed, session, api::Component::sed);
  add_drive_commands(*sed, session);
}

}  // namespace keyward::cli
