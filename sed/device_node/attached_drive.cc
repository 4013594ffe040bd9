#include "sed/device_node/attached_drive.h"

#include <fmt/format.h>

#include <system_error>

namespace keyward::sed {
namespace {

constexpr unsigned kNodesMax = 256;

bool is_free(const std::vector<DeviceNode>& nodes, const std::set<std::string>& taken) {
  for (const DeviceNode& node : nodes) {
    std::error_code error;
    const auto there = std::filesystem::symlink_status(node.path(), error);
    if (taken.contains(node.path()) || std::filesystem::exists(there)) return false;
  }
  return true;
}

Result<std::vector<DeviceNode>> free_nodes(EmulatedDrive& drive,
                                           const std::set<std::string>& taken) {
  const bool is_nvme = drive.options().bus == Bus::nvme;
  for (unsigned n = 0; n < kNodesMax; ++n) {
    std::vector<DeviceNode> nodes = TRY(make_nodes(is_nvme ? nvme_path(n) : sd_path(n), drive));
    if (is_free(nodes, taken)) return nodes;
  }
  return fail(ErrorCode::exhausted, "no name for a device node is left");
}

}  // namespace

Result<AttachedDrive> attach_drive(const std::filesystem::path& file, const std::string& node,
                                   std::set<std::string>& taken) {
  AttachedDrive attached;
  std::error_code error;
  // Opening makes a drive where there is none.
  if (!std::filesystem::exists(file, error))
    return fail(ErrorCode::not_found,
                fmt::format("{}: no emulated drive; make one with `keyward emulator create`",
                            file.string()));
  const Result<DriveLabel> label = EmulatedDrive::label(file);
  if (!label) return std::unexpected(with_context(label.error(), file.string()));
  attached.drive = TRY(EmulatedDrive::open(label->options));
  attached.nodes = node.empty() ? TRY(free_nodes(*attached.drive, taken))
                                : TRY(make_nodes(node, *attached.drive));
  if (!is_free(attached.nodes, taken))
    return fail(ErrorCode::conflict,
                fmt::format("{}: there is such a device; choose a name that is free", node));
  for (const DeviceNode& made : attached.nodes) taken.insert(made.path());
  return attached;
}

}  // namespace keyward::sed
