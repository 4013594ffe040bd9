#include "sed/transport/block_topology.h"

#include <system_error>

#include "base/file.h"

namespace keyward::sed {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAttributeBytes = 64u << 10;

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator entry(directory, failed), end; !failed && entry != end;
       entry.increment(failed))
    names.push_back(entry->path().filename().string());
  return names;
}

bool is_there(const fs::path& path) {
  std::error_code failed;
  return fs::exists(path, failed);
}

}  // namespace

BlockTopology::BlockTopology(fs::path root) {
  std::error_code failed;
  root_ = fs::weakly_canonical(root, failed);
  if (failed) root_ = std::move(root);
}

std::string BlockTopology::canonical(const std::string& path) const {
  std::error_code failed;
  const fs::path whole = fs::weakly_canonical(root_ / fs::path(path).relative_path(), failed);
  if (failed) return path;
  const fs::path inside = whole.lexically_relative(root_);
  if (inside.empty() || *inside.begin() == "..") return path;
  return inside == "." ? "/" : "/" + inside.string();
}

std::optional<std::string> BlockTopology::device_of_number(const std::string& major_minor) const {
  const fs::path device = link("/sys/dev/block/" + major_minor);
  if (device.empty()) return std::nullopt;
  return device.filename().string();
}

std::optional<std::string> BlockTopology::device_of_node(const std::string& path) const {
  std::string name = canonical(path);
  if (!name.starts_with("/dev/")) return std::nullopt;
  name.erase(0, std::string_view("/dev/").size());
  for (char& c : name)
    if (c == '/') c = '!';  // As the kernel writes a name with a slash.
  if (!is_there(root_ / "sys/class/block" / name)) return std::nullopt;
  return name;
}

// Visits `device` and what it lies on. A partition lies on the device that has its directory.
template <typename Visit>
void BlockTopology::descend(const std::string& device, std::set<std::string>& seen,
                            const Visit& visit) const {
  if (!seen.insert(device).second) return;
  const std::string directory = "/sys/class/block/" + device;
  if (!attribute(directory + "/partition").empty())
    return descend(link(directory).parent_path().filename().string(), seen, visit);
  const std::vector<std::string> below = names_in(root_ / "sys/class/block" / device / "slaves");
  visit(device, below.empty());
  for (const std::string& name : below) descend(name, seen, visit);
}

std::set<std::string> BlockTopology::disks_under(const std::string& device) const {
  std::set<std::string> disks, seen;
  descend(device, seen, [&](const std::string& name, bool is_lowest) {
    if (is_lowest) disks.insert(name);
  });
  return disks;
}

std::vector<std::string> BlockTopology::backing_files(const std::string& device) const {
  std::vector<std::string> files;
  std::set<std::string> seen;
  descend(device, seen, [&](const std::string& name, bool) {
    const std::string file = attribute("/sys/class/block/" + name + "/loop/backing_file");
    if (!file.empty()) files.push_back(file);
  });
  return files;
}

std::vector<std::string> BlockTopology::btrfs_members(const std::string& device) const {
  for (const std::string& volume : names_in(root_ / "sys/fs/btrfs")) {
    std::vector<std::string> members = names_in(root_ / "sys/fs/btrfs" / volume / "devices");
    for (const std::string& name : members)
      if (name == device) return members;
  }
  return {device};
}

std::string BlockTopology::attribute(const std::string& path) const {
  const Result<Bytes> content =
      read_file((root_ / fs::path(path).relative_path()).string(), kAttributeBytes);
  if (!content) return "";
  std::string text(reinterpret_cast<const char*>(content->data()), content->size());
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

fs::path BlockTopology::link(const std::string& path) const {
  std::error_code failed;
  fs::path target = fs::canonical(root_ / fs::path(path).relative_path(), failed);
  return failed ? fs::path() : target;
}

}  // namespace keyward::sed
