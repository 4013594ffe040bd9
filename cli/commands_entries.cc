#include <unistd.h>

#include <CLI/CLI.hpp>

#include "api/entry_row.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/import_reader.h"
#include "cli/terminal.h"

namespace keyward::cli {
namespace {

using api::Method;

constexpr std::size_t kSecretBytesMax = 1u << 20;

struct EntryOptions {
  std::string domain;
  std::string name;
  std::string format = "binary";
  int descriptor = STDIN_FILENO;
  std::optional<std::uint64_t> if_version;
  bool only_new = false;
  bool json = false;
};
using Options = std::shared_ptr<EntryOptions>;

std::string entries_path(const EntryOptions& options) {
  return "/api/v1/domains/" + api::percent_encode(options.domain) + "/entries";
}

Result<std::string> entry_path(const EntryOptions& options) {
  if (options.name.empty()) {
    return fail(ErrorCode::invalid_argument,
                "An entry's name has 1 to 512 bytes; this one is empty.");
  }
  std::string target = entries_path(options) + "/" + api::percent_encode(options.name);
  if (options.only_new) return target + "?if_version=0";
  if (options.if_version) target += fmt::format("?if_version={}", *options.if_version);
  return target;
}

Result<int> put_entry(ApiClient& client, const EntryOptions& options) {
  const SecretBytes secret = TRY(read_secret(options.descriptor, "Secret: ", kSecretBytesMax));
  const std::string answer =
      TRY(client.send_secret(Method::put, TRY(entry_path(options)), secret.reveal()));
  const auto written = TRY(api::from_json<api::EntryWritten>(answer));
  if (options.json) std::cout << api::to_json(written) << '\n';
  return api::kExitDone;
}

Result<int> get_entry(ApiClient& client, const EntryOptions& options) {
  const SecretBytes secret = TRY(client.get_secret(TRY(entry_path(options))));
  TRY(write_secret(options.descriptor == STDIN_FILENO ? STDOUT_FILENO : options.descriptor,
                   secret));
  return api::kExitDone;
}

Result<int> list_entries(ApiClient& client, const EntryOptions& options) {
  return show_list<api::EntryRow>(client, entries_path(options), options.json);
}

Result<int> delete_entry(ApiClient& client, const EntryOptions& options) {
  TRY(client.call(Method::remove, TRY(entry_path(options))));
  return api::kExitDone;
}

Result<int> import_entries(ApiClient& client, const EntryOptions& options) {
  ImportReader reader(options.descriptor,
                      options.format == "jsonl" ? ImportFormat::json_lines : ImportFormat::binary);
  std::uint64_t committed = 0;
  const auto said = [&](Error error) {
    error.message = fmt::format("{} ({} entries were imported before.)", error.message, committed);
    return std::unexpected(std::move(error));
  };
  for (;;) {
    auto batch = reader.next_batch();
    if (!batch) return said(batch.error());
    if (batch->size() == 0) break;
    auto answer =
        client.send_secret(Method::post, entries_path(options) + ":import", batch->reveal());
    if (!answer) return said(answer.error());
    const auto result = TRY(api::from_json<api::ImportResult>(*answer));
    committed += result.committed;
    if (!result.code.empty()) {
      return said({api::error_code_of(result.code).value_or(ErrorCode::protocol), result.error});
    }
  }
  if (options.json) {
    std::cout << fmt::format("{{\"committed\":{}}}\n", committed);
  } else {
    std::cout << fmt::format("{} entries imported into {}.\n", committed, options.domain);
  }
  return api::kExitDone;
}

struct EntryCommand {
  CLI::App* command;
  Options options;
};

EntryCommand add_entry_command(CLI::App& entries, Session& session, const std::string& name,
                               const std::string& help,
                               Result<int> (*run)(ApiClient&, const EntryOptions&)) {
  CLI::App* command = entries.add_subcommand(name, help);
  auto options = std::make_shared<EntryOptions>();
  command->add_option("--domain", options->domain, "The entry's domain")->required();
  command->callback([&session, options, run] {
    session.action = [options, run](ApiClient& client) { return run(client, *options); };
  });
  return {command, options};
}

}  // namespace

void add_entry_commands(CLI::App& app, Session& session) {
  CLI::App* entries = app.add_subcommand("entries", "Secrets: put, get, list, delete, import");
  entries->require_subcommand(1);

  const auto [put, put_options] = add_entry_command(
      *entries, session, "put", "Store a secret, read from standard input", put_entry);
  put->add_option("name", put_options->name, "The entry's name")->required();
  put->add_option("--fd", put_options->descriptor, "Read the secret from this descriptor")
      ->check(CLI::Range(0, 1023));
  put->add_option("--if-version", put_options->if_version, "Replace this version only");
  put->add_flag("--new", put_options->only_new, "Only if there is none of that name");
  put->add_flag("--json", put_options->json, "Print the new version as JSON");

  const auto [get, get_options] =
      add_entry_command(*entries, session, "get", "Write a secret to standard output", get_entry);
  get->add_option("name", get_options->name, "The entry's name")->required();
  get->add_option("--fd", get_options->descriptor, "Write the secret to this descriptor")
      ->check(CLI::Range(1, 1023));

  const auto [list, list_options] =
      add_entry_command(*entries, session, "list", "Names, versions and keys", list_entries);
  list->add_flag("--json", list_options->json, "As JSON");

  const auto [remove, remove_options] =
      add_entry_command(*entries, session, "delete", "Delete an entry", delete_entry);
  remove->add_option("name", remove_options->name, "The entry's name")->required();
  remove->add_option("--if-version", remove_options->if_version, "Delete this version only");

  const auto [import, import_options] = add_entry_command(
      *entries, session, "import", "Store many, read from standard input, in bulk transactions",
      import_entries);
  import
      ->add_option("--format", import_options->format,
                   "binary: for each entry, name and secret, each after its length in 4 bytes, "
                   "big-endian. jsonl: a line {\"name\": …, \"secret\": base64} each.")
      ->check(CLI::IsMember({"binary", "jsonl"}));
  import->add_option("--fd", import_options->descriptor, "Read from this descriptor")
      ->check(CLI::Range(0, 1023));
  import->add_flag("--json", import_options->json, "Print the count as JSON");
}

}  // namespace keyward::cli
