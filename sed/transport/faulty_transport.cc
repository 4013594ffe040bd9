#include "sed/transport/faulty_transport.h"

namespace keyward::sed {

Result<Bytes> FaultyTransport::identify(IdentifyPage page) {
  return plan_.apply([&] { return target_->identify(page); });
}

Result<void> FaultyTransport::send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  return plan_.apply([&] { return target_->send(protocol, specific, payload); });
}

Result<std::size_t> FaultyTransport::receive(Protocol protocol, std::uint16_t specific,
                                             MutableByteView buffer) {
  return plan_.apply([&] { return target_->receive(protocol, specific, buffer); });
}

Result<void> FaultyTransport::read(std::uint64_t first_sector, MutableByteView sectors) {
  return plan_.apply([&] { return target_->blocks()->read(first_sector, sectors); });
}

Result<void> FaultyTransport::write(std::uint64_t first_sector, ByteView sectors) {
  return plan_.apply([&] { return target_->blocks()->write(first_sector, sectors); });
}

Result<void> FaultyTransport::reread_partitions() {
  return plan_.apply([&] { return target_->blocks()->reread_partitions(); });
}

}  // namespace keyward::sed
