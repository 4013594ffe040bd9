// keyward sed drives …
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <utility>

#include "api/drive_row.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/direct_drives.h"
#include "cli/terminal.h"

namespace keyward::cli {
namespace {

using api::Method;

constexpr std::size_t kPsidBytesMax = 128;
constexpr std::size_t kPassphraseBytesMax = 1024;
constexpr std::size_t kBundleBytesMax = 900 * 1024;  // With the passphrase it is one request.

struct DriveOptions {
  std::vector<std::string> drives;
  std::string method = "crypto";
  std::string file;
  int descriptor = STDIN_FILENO;
  bool all = false;
  bool recorded = false;
  bool yes = false;
  bool json = false;
  DirectOptions direct;
};

std::string drive_target(const DriveOptions& options) {
  return "/api/v1/sed/drives/" + api::percent_encode(options.drives.front());
}

// Everything that a file or a pipe gives, but its last line end.
Result<SecretBytes> read_line(int descriptor, std::string_view prompt, std::size_t size_max) {
  SecretBytes text = TRY(read_secret(descriptor, prompt, size_max));
  while (text.size() > 1 &&
         (text.reveal().back() == std::byte{'\n'} || text.reveal().back() == std::byte{'\r'}))
    text.truncate(text.size() - 1);
  return text;
}

// The exit code is that of the first drive that failed.
int show_results(const std::vector<api::DriveResult>& results, bool json) {
  show_rows(results, json);
  for (const api::DriveResult& result : results)
    if (!result.code.empty())
      return api::exit_code(api::error_code_of(result.code).value_or(ErrorCode::protocol));
  return api::kExitDone;
}

Result<int> show_answer(const std::string& answer, bool json) {
  const auto page = TRY(api::from_json<api::Page<api::DriveResult>>(answer));
  return show_results(page.items, json);
}

// ---- Many drives ----

Result<int> run_selection(ApiClient& client, const DriveOptions& options, const std::string& verb) {
  if (options.all == !options.drives.empty())
    return fail(ErrorCode::invalid_argument,
                "Name drives by serial or WWN, or give --all; one of the two.");
  if (options.direct.wanted) return run_direct(options.direct, verb, options.drives, options.json);
  const api::DriveSelection body{options.drives, options.all};
  const auto page = TRY(
      client.send<api::Page<api::DriveResult>>(Method::post, "/api/v1/sed/drives:" + verb, body));
  return show_results(page.items, options.json);
}

Result<int> list_drives(ApiClient& client, const DriveOptions& options) {
  if (options.direct.wanted) return list_direct(options.direct, options.json);
  return show_list<api::DriveRow>(client, "/api/v1/sed/drives", options.json);
}

// ---- One drive ----

Result<int> view_drive(ApiClient& client, const DriveOptions& options) {
  const auto row = TRY(client.get<api::DriveRow>(drive_target(options)));
  if (options.json) return show_rows(std::vector{row}, true);
  Table table{{"Field", "Value"}, {}};
  const auto add = [&](const char* name, std::string value) {
    table.rows.push_back({name, std::move(value)});
  };
  add("Serial", row.serial);
  add("WWN", row.wwn);
  add("Model", row.model);
  add("Firmware", row.firmware);
  add("Node", row.node.empty() ? "away" : row.node);
  add("Feature", row.feature);
  add("Owner", std::string(api::enum_text(row.owner)));
  add("Access", std::string(api::enum_text(row.access)));
  add("PINs", std::string(api::enum_text(row.pins)));
  add("PSID recorded", row.psid_recorded ? "yes" : "no");
  add("Tries left", row.tries_left ? std::to_string(*row.tries_left) : "not known");
  add("Last seen", row.last_seen ? to_iso8601(*row.last_seen) : "Never");
  for (const std::string& note : row.notes) add("Note", note);
  if (!row.error.empty()) add("Error", row.error);
  print_table(std::cout, table);
  return api::kExitDone;
}

bool confirm_erase(const DriveOptions& options, std::string_view what) {
  return confirm(fmt::format("Are you sure you want to {} {}? ALL DATA ON IT ARE DESTROYED.", what,
                             options.drives.front()),
                 options.yes);
}

Result<int> erase_drive(ApiClient& client, const DriveOptions& options) {
  if (!confirm_erase(options, "erase")) return api::kExitFailed;
  return show_answer(TRY(client.call(Method::post, drive_target(options) + ":erase?method=" +
                                                       api::percent_encode(options.method))),
                     options.json);
}

Result<int> revert_drive(ApiClient& client, const DriveOptions& options) {
  if (!confirm_erase(options, "revert")) return api::kExitFailed;
  return show_answer(TRY(client.call(Method::post, drive_target(options) + ":revert")),
                     options.json);
}

Result<int> psid_revert_drive(ApiClient& client, const DriveOptions& options) {
  if (!confirm_erase(options, "revert by its PSID")) return api::kExitFailed;
  if (options.recorded)
    return show_answer(
        TRY(client.call(Method::post, drive_target(options) + ":psid-revert-recorded")),
        options.json);
  const SecretBytes psid =
      TRY(read_line(options.descriptor, "PSID on the drive's label: ", kPsidBytesMax));
  if (options.direct.wanted)
    return psid_revert_direct(options.direct, options.drives.front(), psid, options.json);
  return show_answer(
      TRY(client.send_secret(Method::post, drive_target(options) + ":psid-revert", psid.reveal())),
      options.json);
}

Result<int> record_psid(ApiClient& client, const DriveOptions& options) {
  const SecretBytes psid =
      TRY(read_line(options.descriptor, "PSID on the drive's label: ", kPsidBytesMax));
  return show_answer(
      TRY(client.send_secret(Method::put, drive_target(options) + "/psid", psid.reveal())),
      options.json);
}

Result<int> reveal_psid(ApiClient& client, const DriveOptions& options) {
  const SecretBytes psid = TRY(client.get_secret(drive_target(options) + "/psid"));
  const int to = options.descriptor == STDIN_FILENO ? STDOUT_FILENO : options.descriptor;
  TRY(write_secret(to, psid));
  return api::kExitDone;
}

// ---- From node to node ----

Result<int> release_drives(ApiClient& client, const DriveOptions& options) {
  const std::string question =
      fmt::format("Are you sure you want to release {}? Their PINs are then in {} alone.",
                  fmt::join(options.drives, ", "), options.file);
  if (!confirm(question, options.yes)) return api::kExitFailed;
  // Whoever has the file but not where to put it has lost the drives: so it is opened first.
  const int file = ::open(options.file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0)
    return fail(ErrorCode::io, fmt::format("{} cannot be made; nothing was released. It must not "
                                           "exist yet, and its directory must be writable.",
                                           options.file));
  const auto bundle = [&]() -> Result<SecretBytes> {
    const SecretBytes passphrase =
        TRY(read_line(options.descriptor, "Passphrase for the bundle: ", kPassphraseBytesMax));
    std::string drives;
    for (const std::string& drive : options.drives)
      drives += (drives.empty() ? "" : ",") + api::percent_encode(drive);
    const std::string answer = TRY(client.send_secret(
        Method::post, "/api/v1/sed/drives:release?drives=" + drives, passphrase.reveal()));
    std::string copy = answer;
    return SecretBytes::take_from(std::as_writable_bytes(std::span(copy)));
  }();
  if (!bundle) {
    ::close(file);
    ::unlink(options.file.c_str());
    return std::unexpected(bundle.error());
  }
  const Result<void> written = write_secret(file, *bundle);
  const bool synced = written && ::fsync(file) == 0;
  ::close(file);
  if (!synced)
    return fail(ErrorCode::io,
                fmt::format("{} could not be written whole. The drives are released: run `keyward "
                            "sed drives release` for them again, to another place.",
                            options.file));
  std::cout << fmt::format("Released. On the other node: keyward sed drives adopt {}\n",
                           options.file);
  return api::kExitDone;
}

Result<int> adopt_drives(ApiClient& client, const DriveOptions& options) {
  const Bytes bundle = TRY(read_file(options.file, kBundleBytesMax));
  const SecretBytes passphrase =
      TRY(read_line(options.descriptor, "Passphrase of the bundle: ", kPassphraseBytesMax));
  SecretBytes body = TRY(SecretBytes::allocate(passphrase.size() + 1 + bundle.size()));
  const MutableByteView out = body.reveal_mutable();
  std::ranges::copy(passphrase.reveal(), out.begin());
  out[passphrase.size()] = std::byte{'\n'};
  std::ranges::copy(bundle, out.begin() + static_cast<std::ptrdiff_t>(passphrase.size()) + 1);
  return show_answer(
      TRY(client.send_secret(Method::post, "/api/v1/sed/drives:adopt", body.reveal())),
      options.json);
}

Result<int> list_certificates(ApiClient& client, const DriveOptions& options) {
  if (!options.file.empty()) {
    std::cout << TRY(client.call(
        Method::get, "/api/v1/sed/certificates/" + api::percent_encode(options.file) + "/html"));
    return api::kExitDone;
  }
  return show_list<api::EraseCertificate>(client, "/api/v1/sed/certificates", options.json);
}

// ---- The tree of commands ----

using Options = std::shared_ptr<DriveOptions>;
struct Made {
  CLI::App* command;
  Options options;
};

template <typename Run>
Made add_command(CLI::App& parent, Session& session, const std::string& name,
                 const std::string& help, Run run) {
  CLI::App* command = parent.add_subcommand(name, help);
  auto options = std::make_shared<DriveOptions>();
  command->add_flag("--json", options->json, "As JSON");
  command->callback([&session, options, run = std::move(run)] {
    session.action = [options, run](ApiClient& client) { return run(client, *options); };
  });
  return {command, options};
}

void add_direct(const Made& made) {
  DirectOptions& direct = made.options->direct;
  CLI::Option* flag = made.command->add_flag("--direct", direct.wanted,
                                             "Speak to the drives from here, without the daemon");
  made.command
      ->add_option("--emulated", direct.emulated,
                   "With --direct: the emulated drives of this directory")
      ->needs(flag);
  made.command
      ->add_option("--ledger", direct.ledger, "With --direct: where the tries of PINs are counted")
      ->needs(flag)
      ->capture_default_str();
  made.command->add_option("--fd", direct.descriptor, "With --direct: where the owner PIN is read")
      ->needs(flag);
}

void add_selection(CLI::App& drives, Session& session, const std::string& verb,
                   const std::string& help, bool direct = false) {
  const Made made = add_command(drives, session, verb, help,
                                [verb](ApiClient& client, const DriveOptions& options) {
                                  return run_selection(client, options, verb);
                                });
  made.command->add_option("drive", made.options->drives, "Serials or WWNs");
  made.command->add_flag("--all", made.options->all, "All that it can apply to");
  if (direct) add_direct(made);
}

Made add_single(CLI::App& drives, Session& session, const std::string& verb,
                const std::string& help, Result<int> (*run)(ApiClient&, const DriveOptions&)) {
  const Made made = add_command(drives, session, verb, help, run);
  made.command->add_option("drive", made.options->drives, "Its serial or WWN")
      ->required()
      ->expected(1);
  return made;
}

void add_yes(const Made& made) {
  made.command->add_flag("--yes,-y", made.options->yes, "Do not ask");
}

void add_descriptor(const Made& made, const std::string& help) {
  made.command->add_option("--fd", made.options->descriptor, help)->capture_default_str();
}

void add_psid_commands(CLI::App& drives, Session& session) {
  CLI::App* psid = drives.add_subcommand("psid", "The PSIDs on the drives' labels");
  psid->require_subcommand(1);
  add_descriptor(add_single(*psid, session, "record",
                            "Keep it, sealed, against the day that the "
                            "drive has to be reverted",
                            record_psid),
                 "Where the PSID is read");
  add_descriptor(add_single(*psid, session, "reveal", "Print it; always audited", reveal_psid),
                 "Where it is written, if not to standard output");
}

void add_erasing_commands(CLI::App& drives, Session& session) {
  const Made erase =
      add_single(drives, session, "erase", "Destroy all data; the drive stays ours", erase_drive);
  erase.command->add_option("--method", erase.options->method, "crypto, or ata")
      ->check(CLI::IsMember({"crypto", "ata"}))
      ->capture_default_str();
  add_yes(erase);
  add_yes(
      add_single(drives, session, "revert", "Back to the factory state, by our PIN", revert_drive));
  const Made psid_revert = add_single(drives, session, "psid-revert",
                                      "Back to the factory state, by the PSID", psid_revert_drive);
  psid_revert.command->add_flag("--recorded", psid_revert.options->recorded,
                                "By the PSID that was recorded");
  add_yes(psid_revert);
  DirectOptions& direct = psid_revert.options->direct;
  CLI::Option* flag = psid_revert.command->add_flag(
      "--direct", direct.wanted, "Speak to the drive from here, without the daemon");
  psid_revert.command
      ->add_option("--emulated", direct.emulated, "With --direct: drives of this directory")
      ->needs(flag);
  add_descriptor(psid_revert, "Where the PSID is read");
}

void add_moving_commands(CLI::App& drives, Session& session) {
  const Made release = add_command(drives, session, "release",
                                   "Drives that go to another node: their PINs into a file, sealed "
                                   "under a passphrase",
                                   release_drives);
  release.command->add_option("drive", release.options->drives, "Serials or WWNs")->required();
  release.command->add_option("--output,-o", release.options->file, "The file; it must not exist")
      ->required();
  add_yes(release);
  add_descriptor(release, "Where the passphrase is read");
  const Made adopt = add_command(drives, session, "adopt",
                                 "Drives that came from another node, by that file", adopt_drives);
  adopt.command->add_option("file", adopt.options->file, "What release wrote")->required();
  add_descriptor(adopt, "Where the passphrase is read");
}

}  // namespace

void add_drive_commands(CLI::App& sed, Session& session) {
  CLI::App* drives = sed.add_subcommand("drives", "Self-encrypting drives");
  drives->require_subcommand(1);
  add_direct(add_command(*drives, session, "list", "All drives", list_drives));
  add_single(*drives, session, "view", "One drive, with everything that is known", view_drive);
  add_selection(*drives, session, "provision", "Own drives that nobody owns");
  add_selection(*drives, session, "unlock", "Unlock all ranges of our drives", true);
  add_selection(*drives, session, "lock", "Lock all ranges of our drives, now", true);
  add_selection(*drives, session, "rotate", "New PINs on the drives");
  add_selection(*drives, session, "verify",
                "Prove that the stored PINs open the drives; needed once after a restore", true);
  add_erasing_commands(*drives, session);
  add_psid_commands(*drives, session);
  add_moving_commands(*drives, session);
  const Made certificates =
      add_command(*drives, session, "certificates", "Of erased drives", list_certificates);
  certificates.command->add_option("--html", certificates.options->file,
                                   "This one, as a page to be printed");
}

}  // namespace keyward::cli
