// FaultyTransport passes every call on to another transport, and lets a FaultPlan fail the Nth.
//
//   FaultPlan plan(n, FaultMoment::crash_after, {ErrorCode::unavailable, "power cut"});
//   auto transport = std::make_unique<FaultyTransport>(emulated.connect(), plan);
//   std::unique_ptr<Drive> drive = TRY(attach_drive(std::move(transport), clock, options));
//
// Owns its target, borrows the plan. identity() never fails and is not counted; what blocks() gives
// counts like the rest. The drive's own faults (busy, outstanding, lock-out, half a command) are
// the emulator's: this one is for what lies between. Used by one thread, as its target is.
#pragma once

#include <memory>

#include "base/fault_plan.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

class FaultyTransport final : public SecurityTransport, private BlockAccess {
 public:
  FaultyTransport(std::unique_ptr<SecurityTransport> target, FaultPlan& plan)
      : target_(std::move(target)), plan_(plan) {}

  const DriveIdentity& identity() const override { return target_->identity(); }
  Result<Bytes> identify(IdentifyPage page) override;
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override;
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override;
  BlockAccess* blocks() override { return target_->blocks() == nullptr ? nullptr : this; }

 private:
  std::uint32_t sector_bytes() const override { return target_->blocks()->sector_bytes(); }
  std::uint64_t sector_count() const override { return target_->blocks()->sector_count(); }
  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override;
  Result<void> write(std::uint64_t first_sector, ByteView sectors) override;
  Result<void> reread_partitions() override;

  std::unique_ptr<SecurityTransport> target_;
  FaultPlan& plan_;
};

}  // namespace keyward::sed
