// `keyward emulator`: drives in software, for tests. No daemon is asked.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <map>
#include <set>

#include "api/fields.h"
#include "base/os_random.h"
#include "base/text.h"
#include "cli/commands.h"
#include "sed/device_node/attached_drive.h"
#include "sed/device_node/command_runner.h"

namespace keyward::cli {
namespace {

namespace fs = std::filesystem;
using sed::Bus;
using sed::EmulatedDrive;
using sed::EmulatedDriveOptions;
using sed::Family;

const std::map<std::string, Family> kFamilies{{"opal2", Family::opal2},
                                              {"enterprise", Family::enterprise},
                                              {"pyrite2", Family::pyrite2},
                                              {"ruby", Family::ruby},
                                              {"ata-security", Family::ata_security}};
const std::map<std::string, Bus> kBuses{
    {"sata", Bus::sata}, {"sas", Bus::sas}, {"nvme", Bus::nvme}};

template <typename Value>
std::string name_in(const std::map<std::string, Value>& names, Value value) {
  for (const auto& [name, known] : names)
    if (known == value) return name;
  return "?";
}

// One row of `keyward emulator list`: what stands on a drive's label.
struct DriveRow {
  std::string file;
  std::string serial;
  std::string wwn;
  std::string model;
  std::string family;
  std::string bus;
  std::string size;
  std::uint64_t size_bytes = 0;
  std::string psid;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("file", &DriveRow::file, "File");
    visit("serial", &DriveRow::serial, "Serial");
    visit("wwn", &DriveRow::wwn, "WWN");
    visit("model", &DriveRow::model);
    visit("family", &DriveRow::family, "Family");
    visit("bus", &DriveRow::bus, "Bus");
    visit("size", &DriveRow::size, "Size");
    visit("size_bytes", &DriveRow::size_bytes);
    visit("psid", &DriveRow::psid, "PSID");
  }
};

// "512M", where that is exact.
std::string size_text(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "TGMK";
  unsigned shift = 40;
  for (const char unit : kUnits) {
    if (bytes != 0 && bytes % (std::uint64_t{1} << shift) == 0)
      return fmt::format("{}{}", bytes >> shift, unit);
    shift -= 10;
  }
  return fmt::to_string(bytes);
}

DriveRow row_of(const fs::path& file, const EmulatedDriveOptions& options,
                const std::string& psid) {
  const std::uint64_t bytes = options.sectors * options.sector_bytes;
  return {.file = file.string(),
          .serial = options.identity.serial,
          .wwn = options.identity.wwn,
          .model = options.identity.model,
          .family = name_in(kFamilies, options.family),
          .bus = name_in(kBuses, options.bus),
          .size = size_text(bytes),
          .size_bytes = bytes,
          .psid = psid};
}

struct CreateOptions {
  EmulatedDriveOptions drive;
  std::uint64_t bytes = 512u << 20;
  bool msid_unknown = false;
  bool json = false;
};

// A serial number and a WWN that no other drive will have.
void name_drive(EmulatedDriveOptions& drive) {
  std::array<std::byte, 5> random{};
  os_random_fill(random);
  const std::string digits = to_hex(random);
  if (drive.identity.serial.empty()) {
    drive.identity.serial = "KW" + digits;
    std::ranges::transform(drive.identity.serial, drive.identity.serial.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  }
  if (drive.identity.wwn.empty()) drive.identity.wwn = "5000c5" + digits;
}

Result<int> create_drive(CreateOptions options) {
  EmulatedDriveOptions& drive = options.drive;
  for (const char* suffix : {"", ".state"}) {
    std::error_code error;
    if (fs::exists(drive.backing_file.string() + suffix, error))
      return fail(ErrorCode::already_exists,
                  fmt::format("{}{} exists; a drive is not made anew over it",
                              drive.backing_file.string(), suffix));
  }
  if (options.bytes % drive.sector_bytes != 0)
    return fail(ErrorCode::invalid_argument, "--size: a drive has whole sectors");
  drive.sectors = options.bytes / drive.sector_bytes;
  drive.sid_is_msid = !options.msid_unknown;
  name_drive(drive);
  const std::unique_ptr<EmulatedDrive> made = TRY(EmulatedDrive::open(drive));
  const DriveRow row = row_of(drive.backing_file, made->options(), made->psid());
  if (options.json) {
    std::cout << api::to_json(row) << '\n';
  } else {
    std::cout << fmt::format("Serial: {}\nWWN:    {}\nPSID:   {}\n", printable(row.serial), row.wwn,
                             row.psid);
  }
  return api::kExitDone;
}

void add_create(CLI::App& emulator, Session& session) {
  CLI::App* command = emulator.add_subcommand("create", "Make a drive, and print its label");
  auto options = std::make_shared<CreateOptions>();
  EmulatedDriveOptions& drive = options->drive;
  drive.identity.serial.clear();
  drive.identity.wwn.clear();
  command->add_option("file", drive.backing_file, "Its sectors; FILE.state holds the rest")
      ->required();
  command->add_option("--family", drive.family, "What it speaks")
      ->transform(CLI::CheckedTransformer(kFamilies));
  command->add_option("--bus", drive.bus, "What it is plugged into")
      ->transform(CLI::CheckedTransformer(kBuses));
  command->add_option("--size", options->bytes, "Bytes, or with K, M, G, T")
      ->transform(CLI::AsSizeValue(false));
  command->add_option("--sector-size", drive.sector_bytes, "512 or 4096");
  command->add_option("--serial", drive.identity.serial, "Default: random");
  command->add_option("--wwn", drive.identity.wwn,
                      "16 or 32 hexadecimal digits; EUI-64 or NGUID on NVMe. Default: random");
  command->add_option("--model", drive.identity.model, "Default: KEYWARD EMULATED");
  command->add_option("--firmware", drive.identity.firmware, "Default: 1.0");
  command->add_option("--ranges", drive.ranges, "Locking ranges beside the global one");
  command->add_option("--try-limit", drive.try_limit, "Wrong PINs until it locks out; 0: no limit");
  command->add_flag("--tries-persist", drive.tries_persist, "Power cycles forgive no try");
  command->add_flag("--msid-unknown", options->msid_unknown,
                    "The SID's first PIN is not the MSID; only the PSID opens the drive");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([&session, options] {
    session.action = [options](ApiClient&) { return create_drive(*options); };
  });
}

// Without powering any of them on.
Result<int> list_drives(const fs::path& directory, bool json) {
  std::error_code error;
  std::vector<DriveRow> rows;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    fs::path file = entry->path();
    if (file.extension() != ".state") continue;
    file.replace_extension();
    const auto label = EmulatedDrive::label(file);
    if (label) {
      rows.push_back(row_of(file.filename(), label->options, label->psid));
    } else {
      std::cerr << fmt::format("keyward: {}: {}\n", printable(file.string()),
                               printable(label.error().message, 4096));
    }
  }
  if (error)
    return fail(
        error == std::errc::no_such_file_or_directory ? ErrorCode::not_found : ErrorCode::io,
        fmt::format("{}: {}", directory.string(), error.message()));
  std::ranges::sort(rows, {}, &DriveRow::file);
  return show_rows(rows, json);
}

void add_list(CLI::App& emulator, Session& session) {
  CLI::App* command = emulator.add_subcommand("list", "The labels of a directory's drives");
  struct ListOptions {
    fs::path directory = ".";
    bool json = false;
  };
  auto options = std::make_shared<ListOptions>();
  command->add_option("directory", options->directory, "Default: this one");
  command->add_flag("--json", options->json, "As JSON");
  command->callback([&session, options] {
    session.action = [options](ApiClient&) {
      return list_drives(options->directory, options->json);
    };
  });
}

struct RunOptions {
  std::vector<std::string> drives;
  std::vector<std::string> words;
};

// "a.drive=/dev/sdq", where a file's name may have a "=" of its own.
std::pair<std::string, std::string> file_and_node(const std::string& text) {
  const std::size_t at = text.rfind("=/dev/");
  if (at == std::string::npos) return {text, ""};
  return {text.substr(0, at), text.substr(at + 1)};
}

Result<sed::CommandEnd> run_with_drives(const RunOptions& options) {
  std::vector<sed::AttachedDrive> drives;
  std::vector<sed::DeviceNode> nodes;
  std::set<std::string> taken;
  for (const std::string& text : options.drives) {
    const auto [file, node] = file_and_node(text);
    sed::AttachedDrive& drive = drives.emplace_back(TRY(sed::attach_drive(file, node, taken)));
    for (const sed::DeviceNode& made : drive.nodes) nodes.push_back(made);
    if (node.empty())
      std::cerr << fmt::format("keyward: {} is {}\n", printable(file), drive.nodes.back().path());
  }
  sed::DeviceServer server(std::move(nodes));
  return sed::run_command(options.words, server);
}

Result<int> run_program(const RunOptions& options) {
  constexpr int kSignalBase = 128;  // As a shell's exit status has it.
  const sed::CommandEnd end = TRY(run_with_drives(options));
  if (!end.by_signal) return end.number;
  std::signal(end.number, SIG_DFL);
  std::raise(end.number);
  return kSignalBase + end.number;
}

void add_run(CLI::App& emulator, Session& session) {
  CLI::App* command =
      emulator.add_subcommand("run", "Run a command that sees drives as device nodes");
  auto options = std::make_shared<RunOptions>();
  command
      ->add_option("--drive", options->drives,
                   "FILE or FILE=/dev/sdX or FILE=/dev/nvmeXn1; as often as there are drives")
      ->required()
      ->allow_extra_args(false);
  command->add_option("command", options->words, "After --: the command and its arguments")
      ->required();
  command->callback([&session, options] {
    session.action = [options](ApiClient&) { return run_program(*options); };
  });
}

}  // namespace

void add_emulator_commands(CLI::App& app, Session& session) {
  CLI::App* emulator = app.add_subcommand("emulator", "Self-encrypting drives in software");
  emulator->require_subcommand(1);
  add_create(*emulator, session);
  add_list(*emulator, session);
  add_run(*emulator, session);
}

}  // namespace keyward::cli
