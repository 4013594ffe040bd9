// Runs a command, and all that it starts, with device nodes that are not there.
//
//   DeviceServer server(std::move(nodes));
//   CommandEnd end = TRY(run_command({"hdparm", "-I", "/dev/sdq"}, server));
//
// Signals that this process gets are the command's. It returns when the command and everything that
// it left in the background have ended. Call it from a process with one thread.
#pragma once

#include <string>
#include <vector>

#include "sed/device_node/device_server.h"

namespace keyward::sed {

struct CommandEnd {
  bool by_signal = false;
  int number = 0;  // The exit status, or the signal. 127: no such command; 126: not to be run.
};

Result<CommandEnd> run_command(const std::vector<std::string>& words, DeviceServer& server);

}  // namespace keyward::sed
