// A SoftHSM2 token in a private directory, for tests.
//
//   SoftHsmToken token;
//   auto custodian = open_pkcs11_custodian(token.config(), *clock).value();
//   token.take_away();                       // its files are gone
//
// For test programs only. The PIN is no secret here.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/check.h"
#include "hsm/custodian.h"

namespace keyward::hsm {

class SoftHsmToken final {
 public:
  static constexpr const char* kModule = "/usr/lib/softhsm/libsofthsm2.so";
  static constexpr const char* kPin = "123456";

  explicit SoftHsmToken(const std::string& label = "mktok") : label_(label) {
    std::string pattern = (std::filesystem::temp_directory_path() / "keyward-hsm-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
    directory_ = pattern;
    std::filesystem::create_directory(directory_ / "tokens");
    std::filesystem::create_directory(directory_ / "faults");
    std::ofstream(directory_ / "conf")
        << "directories.tokendir = " << (directory_ / "tokens").string()
        << "\nobjectstore.backend = file\nlog.level = ERROR\n";
    init(label);
    write_pin(kPin);
  }
  ~SoftHsmToken() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  SoftHsmToken(const SoftHsmToken&) = delete;
  SoftHsmToken& operator=(const SoftHsmToken&) = delete;

  // Another token in the same place: same label, another serial number.
  void replace_by_new() {
    std::filesystem::remove_all(directory_ / "tokens");
    std::filesystem::create_directory(directory_ / "tokens");
    init(label_);
  }
  void take_away() { std::filesystem::rename(directory_ / "tokens", directory_ / "elsewhere"); }
  void bring_back() { std::filesystem::rename(directory_ / "elsewhere", directory_ / "tokens"); }

  void write_pin(const std::string& pin) const {
    std::ofstream(pin_path()) << pin << '\n';
    ::chmod(pin_path().c_str(), 0600);
  }
  std::string pin_path() const { return (directory_ / "pin").string(); }
  std::filesystem::path path(const std::string& name) const { return directory_ / name; }

  // With the faults of helper/testing/faulty_module.cc.
  void use_faulty_module() {
    module_ =
        (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "keyward_faulty_p11.so")
            .string();
  }
  void fault(const std::string& name) const { std::ofstream(directory_ / "faults" / name) << '\n'; }
  void no_fault(const std::string& name) const {
    std::filesystem::remove(directory_ / "faults" / name);
  }
  long counted(const std::string& name) const {
    std::ifstream file(directory_ / "faults" / name);
    return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
  }

  // `extra` are further settings, as TOML lines.
  CustodianConfig config(const std::string& extra = "", const std::string& uri = "") const {
    return {"pkcs11", "hsm1",
            "module = \"" + module_ + "\"\n" + "token = \"" +
                (uri.empty() ? "pkcs11:token=" + label_ : uri) + "\"\npin = \"file:" + pin_path() +
                "\"\nenvironment = { SOFTHSM2_CONF = \"" + (directory_ / "conf").string() +
                "\", FAULTY_P11_DIR = \"" + (directory_ / "faults").string() +
                "\" }\nsync_dirs = [\"" + directory_.string() + "\"]\nreconnect_min_ms = 0\n" +
                extra,
            directory_.string()};
  }

  // What the vendor's own tool shows, over a connection of its own.
  std::string tool(const std::string& arguments) const {
    const std::string out = (directory_ / "tool.out").string();
    run("pkcs11-tool --module " + std::string(kModule) + " --token-label " + label_ +
        " --login --pin " + kPin + " " + arguments + " > " + out + " 2>&1");
    std::ifstream file(out);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  void init(const std::string& label) const {
    CHECK(run("softhsm2-util --init-token --free --label " + label + " --so-pin 87654321 --pin " +
              kPin + " > /dev/null 2>&1") == 0,
          "softhsm2-util --init-token");
  }
  int run(const std::string& command) const {
    return std::system(("SOFTHSM2_CONF=" + (directory_ / "conf").string() + " " + command).c_str());
  }

  std::filesystem::path directory_;
  std::string label_;
  std::string module_ = kModule;
};

// The helper processes that this process has started and that still run.
inline std::vector<pid_t> helper_processes() {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string pid;
    std::string name;
    std::string state;
    pid_t parent = 0;
    if (!(file >> pid >> name >> state >> parent)) continue;
    if (name == "(keyward-p11)" && parent == ::getpid() && state != "Z")
      found.push_back(static_cast<pid_t>(std::stol(pid)));
  }
  return found;
}

}  // namespace keyward::hsm
