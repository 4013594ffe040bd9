#include "sed/nvme_tcp/controller.h"

#include <algorithm>

#include "sed/nvme_tcp/limits.h"
#include "sed/nvme_tcp/pages.h"
#include "sed/nvme_tcp/pdu.h"

namespace keyward::sed::nvme {
namespace {

// Properties: NVM Express 1.4, 3.1.
constexpr std::uint32_t kCap = 0x00, kVs = 0x08, kCc = 0x14, kCsts = 0x1C;
constexpr std::uint32_t kVersion = 0x00010400;
constexpr std::uint32_t kEnable = 1, kReady = 1, kFatal = 2, kShutdownDone = 2u << 2;

constexpr std::uint8_t kFeatureQueues = 0x07, kFeatureEvents = 0x0B, kFeatureKeepAlive = 0x0F;

// The drive answers for its only namespace.
constexpr std::uint32_t kNamespace = 1, kAllNamespaces = 0xFFFFFFFF;

// Entries of a queue, physically contiguous; resets take up to 5 s; the NVM command set.
constexpr std::uint64_t capabilities() {
  constexpr std::uint64_t kContiguous = 1u << 16, kTimeout = 10u << 24;
  constexpr std::uint64_t kNvmCommandSet = std::uint64_t{1} << 37;
  return (kQueueEntriesMax - 1u) | kContiguous | kTimeout | kNvmCommandSet;
}

Outcome refused(Status status) { return {.status = status}; }

Outcome from_bus(BusStatus bus) {
  const NvmeStatus status = nvme_status(bus);
  return {.status = {status.type, status.code}};
}

// The first part of `data` that the host has room for.
Outcome answer(Bytes data, const Command& command) {
  if (command.sgl_length < data.size()) data.resize(command.sgl_length);
  return {.data = std::move(data)};
}

std::uint16_t protocol_specific(const Command& command) {
  return static_cast<std::uint16_t>(command.cdw(10) >> 8);
}

std::uint8_t protocol(const Command& command) {
  return static_cast<std::uint8_t>(command.cdw(10) >> 24);
}

}  // namespace

Controller::Controller(std::uint16_t id, const Subsystem& subsystem, const ConnectRequest& request)
    : id_(id),
      subsystem_(subsystem),
      host_id_(request.host_id),
      host_(request.host),
      keep_alive_ms_(request.keep_alive_ms) {}

bool Controller::is_of(const ConnectRequest& request) const {
  return request.subsystem == subsystem_.nqn && request.host == host_ &&
         request.host_id == host_id_;
}

bool Controller::take_queue(std::uint16_t queue_id) {
  const std::lock_guard lock(mutex_);
  return (state_ & kReady) != 0 && queues_.insert(queue_id).second;
}

void Controller::free_queue(std::uint16_t queue_id) {
  const std::lock_guard lock(mutex_);
  queues_.erase(queue_id);
}

std::chrono::milliseconds Controller::keep_alive() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::milliseconds(keep_alive_ms_);
}

bool Controller::is_ready() const {
  const std::lock_guard lock(mutex_);
  return (state_ & kReady) != 0;
}

Outcome Controller::execute(const Command& command, ByteView data, std::uint16_t queue_id) {
  if (command.opcode == opcode::kFabrics)
    return queue_id == 0 ? fabrics_command(command) : refused(status::kInvalidOpcode);
  if (!is_ready()) return refused(status::kSequence);
  return queue_id == 0 ? admin(command, data) : io(command, data);
}

Outcome Controller::fabrics_command(const Command& command) {
  switch (command.fabrics_type()) {
    case fabrics::kPropertyGet:
      return property_get(command);
    case fabrics::kPropertySet:
      return property_set(command);
    case fabrics::kConnect:
      return refused(status::kSequence);
    default:
      return refused(status::kInvalidOpcode);
  }
}

Outcome Controller::property_get(const Command& command) {
  const bool wide = (command.cdw(10) & 7) == 1;
  const std::uint32_t offset = command.cdw(11);
  if (wide)
    return offset == kCap ? Outcome{.result = capabilities()} : refused(status::kInvalidField);
  const std::lock_guard lock(mutex_);
  switch (offset) {
    case kVs:
      return {.result = kVersion};
    case kCc:
      return {.result = configuration_};
    case kCsts:
      return {.result = state_};
    default:
      return refused(status::kInvalidField);
  }
}

Outcome Controller::property_set(const Command& command) {
  const bool wide = (command.cdw(10) & 7) == 1;
  if (wide || command.cdw(11) != kCc) return refused(status::kInvalidField);
  configure(command.cdw(12));
  return {};
}

// Disabling a controller is a Controller Level Reset, which TCG calls a hardware reset.
void Controller::configure(std::uint32_t configuration) {
  constexpr std::uint32_t kShapeMask = 0x00FF07F0;  // Entry sizes, page size, command set.
  constexpr std::uint32_t kShape = 0x00460000;      // 64 and 16 bytes, 4 KiB, NVM.
  constexpr std::uint32_t kShutdown = 3u << 14;
  bool reset = false;
  {
    const std::lock_guard lock(mutex_);
    const bool was_enabled = (configuration_ & kEnable) != 0;
    configuration_ = configuration;
    if ((configuration & kEnable) == 0) {
      reset = was_enabled;
      state_ = 0;
      events_held_ = 0;
    } else if (!was_enabled) {
      state_ = (configuration & kShapeMask) == kShape ? kReady : kFatal;
    }
    if ((configuration & kShutdown) != 0) state_ |= kShutdownDone;
  }
  if (reset) subsystem_.drive.hardware_reset();
}

Outcome Controller::admin(const Command& command, ByteView data) {
  switch (command.opcode) {
    case opcode::kIdentify:
      return identify(command);
    case opcode::kSecuritySend:
      return security_send(command, data);
    case opcode::kSecurityReceive:
      return security_receive(command);
    case opcode::kGetLogPage:
      return get_log(command);
    case opcode::kSetFeatures:
      return set_features(command);
    case opcode::kGetFeatures:
      return get_features(command);
    case opcode::kAsyncEvent:
      return async_event();
    case opcode::kAbort:
      return {.result = 1};  // Not aborted: commands have ended before the next is looked at.
    case opcode::kKeepAlive:
      return {};
    default:
      return refused(status::kInvalidOpcode);
  }
}

Outcome Controller::drive_page(IdentifyPage page) {
  Result<Bytes> bytes = subsystem_.drive.identify(page);
  if (!bytes) return from_bus(BusStatus::gone);
  return {.data = *std::move(bytes)};
}

Outcome Controller::identify(const Command& command) {
  constexpr std::uint32_t kCnsNamespace = 0, kCnsController = 1, kCnsList = 2, kCnsDescriptors = 3;
  const std::uint32_t cns = command.cdw(10) & 0xFF;
  if (cns == kCnsList) {
    if (command.nsid >= kAllNamespaces - 1) return refused(status::kInvalidNamespace);
    return answer(namespace_list(command.nsid), command);
  }
  if (cns != kCnsNamespace && cns != kCnsController && cns != kCnsDescriptors)
    return refused(status::kInvalidField);
  if (cns != kCnsController && command.nsid != kNamespace)
    return refused(status::kInvalidNamespace);
  Outcome page = drive_page(cns == kCnsController ? IdentifyPage::nvme_controller
                                                  : IdentifyPage::nvme_namespace);
  if (page.status != status::kSuccess) return page;
  if (cns == kCnsController)
    page.data = identify_controller(std::move(page.data), id_, subsystem_.nqn);
  if (cns == kCnsDescriptors) page.data = namespace_descriptors(page.data, subsystem_.nqn);
  return answer(std::move(page.data), command);
}

Outcome Controller::security_send(const Command& command, ByteView data) {
  if (command.cdw(11) != data.size()) return refused(status::kInvalidField);
  return from_bus(
      subsystem_.drive.security_send(protocol(command), protocol_specific(command), data));
}

Outcome Controller::security_receive(const Command& command) {
  const std::uint32_t size = command.cdw(11);
  if (size > kTransferBytesMax) return refused(status::kInvalidField);
  if (size > command.sgl_length) return refused(status::kSglLength);
  Bytes data(size);
  Outcome outcome = from_bus(subsystem_.drive.security_receive(
      protocol(command), protocol_specific(command), MutableByteView(data)));
  if (outcome.status == status::kSuccess) outcome.data = std::move(data);
  return outcome;
}

Outcome Controller::get_log(const Command& command) const {
  const Bytes page = log_page(static_cast<std::uint8_t>(command.cdw(10)));
  if (page.empty()) return refused(status::kInvalidLogPage);
  const std::uint64_t dwords =
      (command.cdw(10) >> 16 | static_cast<std::uint64_t>(command.cdw(11) & 0xFFFF) << 16) + 1;
  const std::uint64_t offset = command.cdw(12) | static_cast<std::uint64_t>(command.cdw(13)) << 32;
  if (offset > page.size() || offset % 4 != 0) return refused(status::kInvalidField);
  if (dwords * 4 > command.sgl_length) return refused(status::kSglLength);
  // Beyond the page there are zeros.
  Bytes part(static_cast<std::size_t>(dwords * 4));
  const ByteView rest = ByteView(page).subspan(static_cast<std::size_t>(offset));
  std::ranges::copy(rest.first(std::min(rest.size(), part.size())), part.begin());
  return {.data = std::move(part)};
}

Outcome Controller::set_features(const Command& command) {
  constexpr std::uint32_t kSave = 1u << 31;
  if ((command.cdw(10) & kSave) != 0) return refused(status::kNotSaveable);
  const std::lock_guard lock(mutex_);
  switch (command.cdw(10) & 0xFF) {
    case kFeatureQueues: {
      constexpr std::uint32_t kLast = kIoQueuesMax - 1;
      const std::uint32_t submission = command.cdw(11) & 0xFFFF, completion = command.cdw(11) >> 16;
      if (submission == 0xFFFF || completion == 0xFFFF) return refused(status::kInvalidField);
      return {.result = std::min(submission, kLast) | std::min(completion, kLast) << 16};
    }
    case kFeatureEvents:
      event_configuration_ = command.cdw(11);
      return {};
    case kFeatureKeepAlive:
      keep_alive_ms_ = command.cdw(11);
      return {};
    default:
      return refused(status::kInvalidField);
  }
}

Outcome Controller::get_features(const Command& command) const {
  const std::lock_guard lock(mutex_);
  switch (command.cdw(10) & 0xFF) {
    case kFeatureQueues:
      return {.result = (kIoQueuesMax - 1u) | (kIoQueuesMax - 1u) << 16};
    case kFeatureEvents:
      return {.result = event_configuration_};
    case kFeatureKeepAlive:
      return {.result = keep_alive_ms_};
    default:
      return refused(status::kInvalidField);
  }
}

// No event ever comes: a drive that is locked or unlocked tells nobody.
Outcome Controller::async_event() {
  const std::lock_guard lock(mutex_);
  if (events_held_ == kAsyncEventsMax) return refused(status::kEventLimit);
  ++events_held_;
  return {.held = true};
}

Outcome Controller::io(const Command& command, ByteView data) {
  const bool flush = command.opcode == opcode::kFlush;
  if (!flush && command.opcode != opcode::kRead && command.opcode != opcode::kWrite)
    return refused(status::kInvalidOpcode);
  if (command.nsid != kNamespace && !(flush && command.nsid == kAllNamespaces))
    return refused(status::kInvalidNamespace);
  if (flush) return {};  // A write is in the backing file when it ends.
  EmulatedDrive& drive = subsystem_.drive;
  const std::uint64_t first = command.cdw(10) | static_cast<std::uint64_t>(command.cdw(11)) << 32;
  const std::size_t size =
      (static_cast<std::size_t>(command.cdw(12) & 0xFFFF) + 1) * drive.options().sector_bytes;
  if (size > kTransferBytesMax) return refused(status::kInvalidField);
  if (command.opcode == opcode::kWrite)
    return data.size() == size ? from_bus(drive.write(first, data)) : refused(status::kSglLength);
  if (size > command.sgl_length) return refused(status::kSglLength);
  Bytes sectors(size);
  Outcome outcome = from_bus(drive.read(first, sectors));
  if (outcome.status == status::kSuccess) outcome.data = std::move(sectors);
  return outcome;
}

}  // namespace keyward::sed::nvme
