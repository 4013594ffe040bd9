#include "sed/device_node/scsi_reply.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kFixedSenseBytes = 18;
constexpr std::uint16_t kNoConnect = 1, kTimeOut = 3;

}  // namespace

Bytes fixed_sense(SenseCode code) {
  Bytes sense(kFixedSenseBytes);
  sense[0] = std::byte{0x70};
  sense[2] = static_cast<std::byte>(code.key);
  sense[7] = static_cast<std::byte>(kFixedSenseBytes - 8);
  sense[12] = static_cast<std::byte>(code.additional);
  sense[13] = static_cast<std::byte>(code.qualifier);
  return sense;
}

ScsiReply good_reply(Bytes data) { return {.data = std::move(data)}; }

ScsiReply refused(SenseCode code) {
  return {.status = kScsiCheckCondition, .sense = fixed_sense(code)};
}

ScsiReply reply_of(BusStatus status) {
  switch (status) {
    case BusStatus::good:
      return {};
    case BusStatus::busy:
      return {.status = kScsiBusy};
    case BusStatus::gone:
      return {.host_status = kNoConnect};
    case BusStatus::timed_out:
      return {.host_status = kTimeOut};
    default:
      return refused(sense_code(status));
  }
}

}  // namespace keyward::sed
