// SystemStorage says which disks the running system cannot do without: those that carry /, /boot,
// swap, and the directories that the caller names.
//
//   const SystemStorage storage = SystemStorage::read(topology, "/", {"/var/lib/keyward"});
//   storage.use_of("sda");          // "it carries / and swap", or empty
//
// From /proc/self/mountinfo and /proc/swaps, down through sysfs. Where it cannot be told, every
// disk counts as in use. A value; one look.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "sed/transport/block_topology.h"

namespace keyward::sed {

struct Mount {
  std::string device_number;  // "8:1"; "0:45" where no block device is behind it.
  std::string point;
  std::string type;
  std::string source;
};
// proc_pid_mountinfo(5). Lines that make no sense are left out.
std::vector<Mount> parse_mountinfo(std::string_view text);
// proc_swaps(5): the files and devices.
std::vector<std::string> parse_swaps(std::string_view text);

class SystemStorage final {
 public:
  static SystemStorage read(const BlockTopology& topology, const std::filesystem::path& root,
                            const std::vector<std::string>& directories);

  // For people. Empty: the system does not need it.
  std::string use_of(const std::string& disk) const;

 private:
  explicit SystemStorage(const BlockTopology& topology) : topology_(&topology) {}

  void add_mount(const Mount& mount, const std::string& use, int depth);
  void add_directory(const std::string& path, const std::string& use, int depth);
  void add_device(const std::string& device, const std::string& use, int depth);
  const Mount* mount_of(const std::string& path) const;

  const BlockTopology* topology_;  // While it reads.
  std::vector<Mount> mounts_;
  std::map<std::string, std::vector<std::string>> uses_;
  std::string unknown_;  // Why any disk may be in use.
};

}  // namespace keyward::sed
