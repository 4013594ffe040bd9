// NvmeTransport speaks to an NVMe drive: /dev/nvmeXnY, or its controller /dev/nvmeX.
//
//   auto transport = TRY(NvmeTransport::open(TRY(DeviceNode::open("/dev/nvme0n1"))));
//
// Security Send and Receive (NVMe 1.4, 5.25 and 5.26) go by the admin command's pass-through. Their
// namespace is 0, as SIIS has it: the TPer is the controller's. Error::native is the status: its
// type times 256, and its code.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "sed/transport/device_blocks.h"
#include "sed/transport/known_protocols.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

class NvmeTransport final : public SecurityTransport, private SectorCommands {
 public:
  // Two commands: Identify, of the controller and of the namespace.
  static Result<std::unique_ptr<NvmeTransport>> open(
      std::unique_ptr<DeviceNode> node,
      std::chrono::milliseconds timeout = std::chrono::seconds{30});

  const DriveIdentity& identity() const override { return identity_; }
  Result<Bytes> identify(IdentifyPage page) override;
  // `unsupported`, and nothing is sent, where the controller has no security commands.
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override;
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override;
  BlockAccess* blocks() override { return blocks_ ? &*blocks_ : nullptr; }

 private:
  struct Command;

  NvmeTransport(std::unique_ptr<DeviceNode> node, std::chrono::milliseconds timeout);

  Result<void> read_identity();
  Result<Bytes> identify_page(std::uint32_t structure, std::uint32_t name_space);
  Result<void> run(unsigned long request, const Command& command);
  Result<void> security(bool is_send, Protocol protocol, std::uint16_t specific, void* data,
                        std::size_t size);

  Result<void> read_sectors(std::uint64_t first, MutableByteView sectors) override;
  Result<void> write_sectors(std::uint64_t first, ByteView sectors) override;
  Result<void> sectors(std::uint8_t opcode, std::uint64_t first, void* data, std::size_t size);

  std::unique_ptr<DeviceNode> node_;
  std::chrono::milliseconds timeout_;
  DriveIdentity identity_;
  std::uint32_t namespace_ = 1;
  bool has_security_commands_ = false;
  KnownProtocols protocols_;
  std::optional<DeviceBlocks> blocks_;
};

}  // namespace keyward::sed
