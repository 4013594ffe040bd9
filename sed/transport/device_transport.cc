#include "sed/transport/device_transport.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "base/text.h"
#include "sed/transport/nvme_transport.h"
#include "sed/transport/scsi_transport.h"

namespace keyward::sed {

Result<std::unique_ptr<SecurityTransport>> open_device(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::canonical(path, failed);
  if (failed)
    return fail(ErrorCode::unavailable, fmt::format("{}: {}", printable(path), failed.message()),
                "realpath", static_cast<std::uint64_t>(failed.value()));
  return speak_to(TRY(DeviceNode::open(real.string())));
}

Result<std::unique_ptr<SecurityTransport>> speak_to(std::unique_ptr<DeviceNode> node) {
  const std::string name = std::filesystem::path(node->path()).filename().string();
  if (name.starts_with("nvme")) return TRY(NvmeTransport::open(std::move(node)));
  return TRY(ScsiTransport::open(std::move(node)));
}

}  // namespace keyward::sed
