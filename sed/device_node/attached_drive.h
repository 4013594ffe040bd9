// An emulated drive, powered on, with the device nodes that a program will see.
//
//   AttachedDrive drive = TRY(attach_drive("a.drive", "/dev/sdq", taken));
//
// No two processes have one drive file at a time.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "sed/device_node/device_node.h"

namespace keyward::sed {

struct AttachedDrive {
  std::unique_ptr<EmulatedDrive> drive;
  std::vector<DeviceNode> nodes;
};

// With an empty `node` the first name of the bus that is neither in `taken` nor on this machine.
// `taken` gets the names. `not_found`: no such drive file; `busy`: another process has it;
// `conflict`: the node exists, here or for another drive, and would be hidden.
Result<AttachedDrive> attach_drive(const std::filesystem::path& file, const std::string& node,
                                   std::set<std::string>& taken);

}  // namespace keyward::sed
