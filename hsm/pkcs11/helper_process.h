// HelperProcess is one running keyward-p11: started, spoken to with a deadline, ended.
//
//   auto helper = TRY(HelperProcess::start(path, {"SOFTHSM2_CONF=/etc/softhsm2.conf"}));
//   TRY(helper->exchange(request, reply, 5s));    // else it is dead, or is killed now
//
// It is started with posix_spawn, which suits a process with threads. It inherits the socket, the
// environment given, stderr, and nothing else. Not safe from threads.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "hsm/pkcs11/helper_protocol.h"

namespace keyward::hsm::pkcs11 {

class HelperProcess final {
 public:
  static Result<std::unique_ptr<HelperProcess>> start(const std::string& path,
                                                      const std::vector<std::string>& environment);
  // Lets it finalize the module; kills it when that takes more than a moment.
  ~HelperProcess();
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  bool is_alive() const;

  // Gives `request` the next number and waits for its reply. `timeout` when none came: the process
  // is then killed, since nobody knows what it is at. `unavailable` when it died.
  Result<void> exchange(HelperMessage& request, HelperMessage& reply,
                        std::chrono::milliseconds limit);

 private:
  HelperProcess(pid_t pid, int pidfd, int socket) : pid_(pid), pidfd_(pidfd), socket_(socket) {}
  // True when it holds a message.
  Result<bool> receive(const HelperMessage& request, HelperMessage& reply);
  bool wait_for_end(std::chrono::milliseconds limit) const;
  void kill();
  std::string end_text();

  pid_t pid_;
  int pidfd_;
  int socket_;
  std::uint64_t last_seq_ = 0;
};

}  // namespace keyward::hsm::pkcs11
