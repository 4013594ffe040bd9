// A software TPM of a test's own: swtpm with its state in a private directory, started and ended by
// the test.
//
//   Swtpm tpm(directory);
//   ASSERT_TRUE(tpm.start());
//   config.settings = fmt::format("tcti = \"{}\"", tpm.tcti());
//   tpm.stop_answering();       // SIGSTOP
//
// For test programs only. It serves one client at a time, has no resource manager, and its state
// survives kill() and start(). Not safe from threads. See swtpm(8).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace keyward::hsm {

// tpm2-tools leave objects in a TPM that has no resource manager.
enum class LeftOvers : bool { flush, keep };

class Swtpm final {
 public:
  // `directory` exists, is empty, and has a short path: sockets lie in it.
  explicit Swtpm(std::string directory) : directory_(std::move(directory)) {}
  Swtpm(const Swtpm&) = delete;
  Swtpm& operator=(const Swtpm&) = delete;
  ~Swtpm() { kill(); }

  // Returns once it listens; false, with the reason on stderr, when it does not within 10 s.
  bool start();
  void kill();            // SIGKILL, as a crash or a power cut.
  void stop_answering();  // SIGSTOP.
  void go_on();           // SIGCONT.

  std::string tcti() const { return "swtpm:path=" + socket_path(); }
  const std::string& directory() const { return directory_; }
  // Runs one of tpm2-tools against it, {"tpm2_pcrextend", …}; what it printed is added to the file
  // "tools" in the directory. The tool's exit code.
  int run_tool(const std::vector<std::string>& command,
               LeftOvers left_overs = LeftOvers::flush) const;

 private:
  std::string socket_path() const { return directory_ + "/s"; }

  std::string directory_;
  pid_t pid_ = -1;
};

}  // namespace keyward::hsm
