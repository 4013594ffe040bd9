// Which device node a path means, as a program would write it: absolute, relative to a directory,
// or by one of its own descriptors (/dev/stdin, /proc/self/fd/3). Symbolic links to nodes are not
// followed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sed/device_node/device_node.h"
#include "sed/device_node/open_files.h"

namespace keyward::sed {

struct PathLookup {
  DeviceNode* node = nullptr;
  bool by_descriptor = false;  // What the path names is a link of /proc to an open node.
  int code = 0;                // An errno when it cannot be told.
};

class NodePaths final {
 public:
  NodePaths(std::vector<DeviceNode>& nodes, OpenFiles& files) : nodes_(nodes), files_(files) {}

  // `directory` may be AT_FDCWD.
  PathLookup find(pid_t process, int directory, std::string_view path);

 private:
  PathLookup by_descriptor(pid_t process, const std::string& path);

  std::vector<DeviceNode>& nodes_;
  OpenFiles& files_;
};

// A string of the caller's: an errno, ENAMETOOLONG beyond PATH_MAX.
int read_path(CallerMemory& memory, std::uint64_t address, std::string& path);

}  // namespace keyward::sed
