// BlockTopology reads from sysfs how block devices lie on one another: partitions on disks, and
// mappings, RAIDs and loops on these. It asks no drive anything.
//
//   BlockTopology topology("/");
//   topology.disks_under("dm-1");                 // {"sda", "sdb"}
//   topology.device_of_number("253:1");           // "dm-1"
//
// `root` is where /sys and /dev are; tests have a tree of their own. Names are the kernel's
// ("sda1").
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace keyward::sed {

class BlockTopology final {
 public:
  explicit BlockTopology(std::filesystem::path root);

  // A file's or a node's path without any link in it, as the kernel would find it from `root`.
  // What is not there yet is kept as it is.
  std::string canonical(const std::string& path) const;

  std::optional<std::string> device_of_number(const std::string& major_minor) const;
  // "/dev/mapper/swap", "/dev/sda2".
  std::optional<std::string> device_of_node(const std::string& path) const;

  // The whole disks that it lies on, itself if it is one. Loops end here: see backing_files().
  std::set<std::string> disks_under(const std::string& device) const;
  // The files that loop devices under it lie in.
  std::vector<std::string> backing_files(const std::string& device) const;
  // All devices of the btrfs that has `device` among its own.
  std::vector<std::string> btrfs_members(const std::string& device) const;

  // A file of sysfs without its newline; empty where there is none. `path` is under /sys.
  std::string attribute(const std::string& path) const;
  // Where a link in /sys leads to; empty where there is none.
  std::filesystem::path link(const std::string& path) const;

 private:
  template <typename Visit>
  void descend(const std::string& device, std::set<std::string>& seen, const Visit& visit) const;

  std::filesystem::path root_;
};

}  // namespace keyward::sed
