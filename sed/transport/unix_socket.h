// What both ends of the drive socket need of Unix sockets.
#pragma once

#include <sys/un.h>

#include <chrono>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace keyward::sed {

// `invalid_argument` for a path of more than 107 bytes.
Result<sockaddr_un> unix_address(const std::string& path);
// `unavailable` when nobody listens there, `not_permitted` when it is not for us.
Result<Descriptor> connect_unix(const std::string& path);
// For each call that receives or sends.
void set_unix_timeouts(int socket, std::chrono::milliseconds timeout);

}  // namespace keyward::sed
