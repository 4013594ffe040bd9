#include "sed/transport/nvme_transport.h"

#include <fmt/format.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "base/secret_bytes.h"
#include "base/text.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kIdentifyBytes = 4096;
constexpr std::size_t kBlockBytes = 512;
constexpr std::uint8_t kIdentify = 0x06, kSecuritySend = 0x81, kSecurityReceive = 0x82;
constexpr std::uint8_t kWrite = 0x01, kRead = 0x02;
constexpr std::uint32_t kNamespaceStructure = 0, kControllerStructure = 1;
constexpr std::string_view kStatusOrigin = "NVMe status";
constexpr unsigned kInvalidField = 0x002;
// What is above status type and code: whether to retry, and where to read more.
constexpr unsigned kStatusMask = 0x7FF;

struct Meaning {
  unsigned status;
  ErrorCode code;
  std::string_view message;
};

// NVMe 1.4, figures 127 to 131.
constexpr Meaning kMeanings[] = {
    {0x001, ErrorCode::unsupported, "the drive has no such command"},
    {0x002, ErrorCode::invalid_argument, "the drive does not take the request"},
    {0x005, ErrorCode::unavailable, "the drive loses its power"},
    {0x007, ErrorCode::timeout, "the command was aborted"},
    {0x008, ErrorCode::timeout, "the command was aborted with its queue"},
    {0x00B, ErrorCode::unavailable, "the namespace is not there"},
    {0x00C, ErrorCode::conflict, "the command is out of sequence"},
    {0x015, ErrorCode::not_permitted, "the drive denies the operation"},
    {0x01D, ErrorCode::busy, "the drive is being sanitized"},
    {0x020, ErrorCode::not_permitted, "the namespace is write protected"},
    {0x021, ErrorCode::busy, "the command was interrupted"},
    {0x022, ErrorCode::busy, "the connection to the drive was disturbed"},
    {0x080, ErrorCode::invalid_argument, "the drive has no such sector"},
    {0x082, ErrorCode::busy, "the namespace is not ready"},
    {0x083, ErrorCode::conflict, "another host has reserved the namespace"},
    {0x084, ErrorCode::busy, "the drive is being formatted"},
    {0x286, ErrorCode::not_permitted, "the drive denies access; its range is locked"},
    {0x300, ErrorCode::unavailable, "the path to the drive has failed"},
    {0x301, ErrorCode::unavailable, "the namespace cannot be reached for good"},
    {0x302, ErrorCode::unavailable, "the namespace cannot be reached"},
    {0x303, ErrorCode::busy, "the path to the namespace changes"},
    {0x360, ErrorCode::unavailable, "the path to the controller has failed"},
    {0x370, ErrorCode::unavailable, "the host's path to the drive has failed"},
    {0x371, ErrorCode::timeout, "the host gave the command up"},
};

Error status_error(unsigned status, const std::string& path) {
  Meaning meaning{status, ErrorCode::io, "the drive reports an error"};
  for (const Meaning& known : kMeanings)
    if (known.status == status) meaning = known;
  return {meaning.code,
          fmt::format("{}: {} (NVMe status {:X}h/{:02X}h)", printable(path), meaning.message,
                      status >> 8, status & 0xFF),
          kStatusOrigin, status};
}

}  // namespace

struct NvmeTransport::Command {
  std::uint8_t opcode = 0;
  std::uint32_t name_space = 0;
  void* data = nullptr;
  std::size_t size = 0;
  std::uint32_t dword_10 = 0;
  std::uint32_t dword_11 = 0;
  std::uint32_t dword_12 = 0;
};

NvmeTransport::NvmeTransport(std::unique_ptr<DeviceNode> node, std::chrono::milliseconds timeout)
    : node_(std::move(node)), timeout_(timeout) {
  SectorCommands& commands = *this;
  if (const auto geometry = node_->geometry()) blocks_.emplace(*node_, *geometry, commands);
}

Result<std::unique_ptr<NvmeTransport>> NvmeTransport::open(std::unique_ptr<DeviceNode> node,
                                                           std::chrono::milliseconds timeout) {
  std::unique_ptr<NvmeTransport> transport(new NvmeTransport(std::move(node), timeout));
  TRY(transport->read_identity());
  return transport;
}

Result<void> NvmeTransport::read_identity() {
  // A controller's node stands for no namespace; the first one's name is the drive's.
  const Result<int> number = node_->ioctl(NVME_IOCTL_ID, nullptr);
  if (number && *number > 0) namespace_ = static_cast<std::uint32_t>(*number);
  NvmeController controller =
      TRY(parse_nvme_controller(TRY(identify_page(kControllerStructure, 0))));
  identity_ = std::move(controller.identity);
  has_security_commands_ = controller.security_commands;
  const Result<Bytes> page = identify_page(kNamespaceStructure, namespace_);
  const bool is_failure = number || (!page && page.error().origin != kStatusOrigin);
  if (!page && is_failure) return std::unexpected(page.error());
  if (page) identity_.wwn = TRY(parse_nvme_namespace(*page)).wwn;
  return {};
}

Result<Bytes> NvmeTransport::identify(IdentifyPage page) {
  if (page == IdentifyPage::nvme_controller) return identify_page(kControllerStructure, 0);
  if (page == IdentifyPage::nvme_namespace) return identify_page(kNamespaceStructure, namespace_);
  return fail(ErrorCode::unsupported, "an NVMe drive has neither INQUIRY nor IDENTIFY DEVICE");
}

Result<Bytes> NvmeTransport::identify_page(std::uint32_t structure, std::uint32_t name_space) {
  Bytes page(kIdentifyBytes);
  TRY(run(NVME_IOCTL_ADMIN_CMD, {.opcode = kIdentify,
                                 .name_space = name_space,
                                 .data = page.data(),
                                 .size = page.size(),
                                 .dword_10 = structure}));
  return page;
}

Result<void> NvmeTransport::send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  if (payload.empty()) return fail(ErrorCode::invalid_argument, "nothing to send");
  // Whole blocks, as every host sends them, whatever the length that NVMe would take.
  const std::size_t size = (payload.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  SecretBytes whole = TRY(SecretBytes::allocate(size));
  std::ranges::copy(payload, whole.reveal_mutable().begin());
  return security(true, protocol, specific, whole.reveal_mutable().data(), size);
}

Result<std::size_t> NvmeTransport::receive(Protocol protocol, std::uint16_t specific,
                                           MutableByteView buffer) {
  if (buffer.empty()) return fail(ErrorCode::invalid_argument, "no room for an answer");
  TRY(security(false, protocol, specific, buffer.data(), buffer.size()));
  return buffer.size();
}

Result<void> NvmeTransport::security(bool is_send, Protocol protocol, std::uint16_t specific,
                                     void* data, std::size_t size) {
  if (!has_security_commands_)
    return fail(ErrorCode::unsupported, fmt::format("{}: the controller has no security commands",
                                                    printable(node_->path())));
  const auto length = static_cast<std::uint32_t>(size);
  auto done = run(NVME_IOCTL_ADMIN_CMD, {.opcode = is_send ? kSecuritySend : kSecurityReceive,
                                         .data = data,
                                         .size = size,
                                         .dword_10 = static_cast<std::uint32_t>(protocol) << 24 |
                                                     static_cast<std::uint32_t>(specific) << 8,
                                         .dword_11 = length});
  if (done || done.error().origin != kStatusOrigin || done.error().native != kInvalidField)
    return done;
  const bool lacks = protocols_.lacks(
      protocol, [&](MutableByteView page) { return receive(Protocol::information, 0, page); });
  if (!lacks) return done;
  return fail(ErrorCode::unsupported,
              fmt::format("{}: the drive has no security protocol {:02X}h",
                          printable(node_->path()), static_cast<unsigned>(protocol)),
              done.error().origin, kInvalidField);
}

Result<void> NvmeTransport::run(unsigned long request, const Command& command) {
  nvme_passthru_cmd io{};
  io.opcode = command.opcode;
  io.nsid = command.name_space;
  io.addr = reinterpret_cast<std::uintptr_t>(command.data);
  io.data_len = static_cast<std::uint32_t>(command.size);
  io.cdw10 = command.dword_10;
  io.cdw11 = command.dword_11;
  io.cdw12 = command.dword_12;
  io.timeout_ms = static_cast<std::uint32_t>(timeout_.count());
  const auto status = static_cast<unsigned>(TRY(node_->ioctl(request, &io))) & kStatusMask;
  if (status != 0) return std::unexpected(status_error(status, node_->path()));
  return {};
}

Result<void> NvmeTransport::read_sectors(std::uint64_t first, MutableByteView data) {
  return sectors(kRead, first, data.data(), data.size());
}

Result<void> NvmeTransport::write_sectors(std::uint64_t first, ByteView data) {
  // The kernel reads from there only.
  return sectors(kWrite, first, const_cast<std::byte*>(data.data()), data.size());
}

Result<void> NvmeTransport::sectors(std::uint8_t opcode, std::uint64_t first, void* data,
                                    std::size_t size) {
  return run(NVME_IOCTL_IO_CMD,
             {.opcode = opcode,
              .name_space = namespace_,
              .data = data,
              .size = size,
              .dword_10 = static_cast<std::uint32_t>(first),
              .dword_11 = static_cast<std::uint32_t>(first >> 32),
              .dword_12 = static_cast<std::uint32_t>(size / blocks_->sector_bytes() - 1)});
}

}  // namespace keyward::sed
