#include "sed/transport/system_storage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/file.h"
#include "base/text.h"

namespace keyward::sed {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileBytesMax = 16u << 20;
// Files in loops in files in loops.
constexpr int kDepthMax = 8;
constexpr std::string_view kSystemDirectories[] = {"/", "/boot", "/boot/efi", "/usr", "/var"};
constexpr std::string_view kWithoutDisk[] = {"rootfs", "ramfs", "tmpfs",   "devtmpfs",
                                             "nfs",    "nfs4",  "cifs",    "smb3",
                                             "ceph",   "9p",    "virtiofs"};

Result<std::string> read_text(const fs::path& path) {
  const Bytes content = TRY(read_file(path.string(), kFileBytesMax));
  return std::string(reinterpret_cast<const char*>(content.data()), content.size());
}

// The kernel writes blanks and backslashes as three octal digits.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t n = 0; n < text.size(); ++n) {
    unsigned value = 0;
    const char* digits = text.data() + n + 1;
    if (text[n] == '\\' && n + 3 < text.size() &&
        std::from_chars(digits, digits + 3, value, 8).ptr == digits + 3 && value < 256) {
      out.push_back(static_cast<char>(value));
      n += 3;
    } else {
      out.push_back(text[n]);
    }
  }
  return out;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

bool is_inside(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) {
    const std::vector<std::string> words = words_of(line);
    const auto dash = std::ranges::find(words, "-");
    if (dash - words.begin() < 6 || words.end() - dash < 3) continue;
    mounts.push_back({words[2], unescape(words[4]), dash[1], unescape(dash[2])});
  }
  return mounts;
}

std::vector<std::string> parse_swaps(std::string_view text) {
  std::vector<std::string> swaps;
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with('/')) swaps.push_back(unescape(words_of(line).front()));
  return swaps;
}

SystemStorage SystemStorage::read(const BlockTopology& topology, const fs::path& root,
                                  const std::vector<std::string>& directories) {
  SystemStorage storage(topology);
  const Result<std::string> mounts = read_text(root / "proc/self/mountinfo");
  if (mounts) storage.mounts_ = parse_mountinfo(*mounts);
  if (storage.mounts_.empty()) storage.unknown_ = "nobody can tell what is mounted";
  for (const std::string_view path : kSystemDirectories)
    if (const Mount* mount = storage.mount_of(std::string(path)); mount && mount->point == path)
      storage.add_mount(*mount, mount->point, 0);
  for (const std::string& path : directories) storage.add_directory(path, path, 0);
  const Result<std::string> swaps = read_text(root / "proc/swaps");
  // A kernel without swap has no such file.
  if (!swaps && swaps.error().code != ErrorCode::not_found)
    storage.unknown_ = "nobody can tell where swap is";
  for (const std::string& swap : parse_swaps(swaps.value_or(""))) {
    if (const auto device = topology.device_of_node(swap))
      storage.add_device(*device, "swap", 0);
    else
      storage.add_directory(swap, "swap", 0);
  }
  storage.topology_ = nullptr;
  return storage;
}

// The longest mount point on the way to `path`; of several there, the last one hides the others.
const Mount* SystemStorage::mount_of(const std::string& path) const {
  const Mount* found = nullptr;
  for (const Mount& mount : mounts_)
    if (is_inside(path, mount.point) &&
        (found == nullptr || mount.point.size() >= found->point.size()))
      found = &mount;
  return found;
}

void SystemStorage::add_directory(const std::string& path, const std::string& use, int depth) {
  if (const Mount* mount = mount_of(topology_->canonical(path))) add_mount(*mount, use, depth);
}

void SystemStorage::add_mount(const Mount& mount, const std::string& use, int depth) {
  std::optional<std::string> device = topology_->device_of_number(mount.device_number);
  // Some file systems have numbers of their own; their source is a device all the same.
  if (!device) device = topology_->device_of_node(mount.source);
  if (!device) {
    // A ZFS pool's disks, and those behind an overlay, are in no file of the kernel.
    if (std::ranges::count(kWithoutDisk, mount.type) == 0)
      unknown_ = fmt::format("{} is on {}, and nobody can tell where that is", printable(use),
                             printable(mount.type));
    return;
  }
  if (mount.type != "btrfs") return add_device(*device, use, depth);
  for (const std::string& member : topology_->btrfs_members(*device))
    add_device(member, use, depth);
}

void SystemStorage::add_device(const std::string& device, const std::string& use, int depth) {
  for (const std::string& disk : topology_->disks_under(device)) {
    std::vector<std::string>& uses = uses_[disk];
    if (std::ranges::count(uses, use) == 0) uses.push_back(use);
  }
  if (depth == kDepthMax) return;
  for (const std::string& file : topology_->backing_files(device))
    add_directory(file, use, depth + 1);
}

std::string SystemStorage::use_of(const std::string& disk) const {
  const auto found = uses_.find(disk);
  if (found == uses_.end())
    return unknown_.empty() ? "" : fmt::format("it may be in use: {}", unknown_);
  std::vector<std::string> uses;
  for (const std::string& use : found->second) uses.push_back(printable(use));
  const std::string last = uses.back();
  uses.pop_back();
  if (uses.empty()) return "it carries " + last;
  return fmt::format("it carries {} and {}", fmt::join(uses, ", "), last);
}

}  // namespace keyward::sed
