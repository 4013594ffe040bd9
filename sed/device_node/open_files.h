// OpenFiles are the descriptors that programs hold on device nodes. Each is an empty, sealed memfd
// of the disk's size, which the program shares with the server: lseek, dup, fork and close are the
// kernel's, and the offset is read from the server's own copy.
//
//   OpenFile& file = TRY(files.open(node, O_RDWR));
//   FileLookup found = files.find(pid, fd);
//
// Nothing tells when the last copy is closed, so what no process holds is looked for now and then.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>

#include "base/file.h"
#include "sed/device_node/device_node.h"

namespace keyward::sed {

struct OpenFile {
  DeviceNode* node;
  int flags;
  Descriptor shared;  // The program's open file description.
  Descriptor lock;    // What flock() locks, on a file that all openings of the node have.
};

struct FileLookup {
  enum class Kind : std::uint8_t {
    other,    // No node's descriptor, or none at all.
    node,     // `file` is it.
    unknown,  // The process may not be looked into, or the file was given up.
  };
  Kind kind = Kind::other;
  OpenFile* file = nullptr;
};

class OpenFiles final {
 public:
  // An errno when it fails.
  int open(DeviceNode& node, int flags, OpenFile*& file);
  FileLookup find(pid_t process, int descriptor);
  // As flock(2), without waiting.
  int lock(OpenFile& file, int operation);
  // Gives up what no process has open, but `keep`.
  void collect(const OpenFile* keep = nullptr);

 private:
  int try_lock(OpenFile& file, int operation);

  std::uint64_t next_number_ = 1;
  std::size_t collect_at_ = 64;
  std::map<std::uint64_t, OpenFile> files_;
  std::map<const DeviceNode*, Descriptor> locks_;
};

}  // namespace keyward::sed
