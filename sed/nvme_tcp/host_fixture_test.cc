#include "sed/nvme_tcp/host_fixture.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace keyward::sed::nvme {

Octets le(std::uint64_t value, std::size_t size) {
  Octets bytes;
  for (std::size_t n = 0; n < size; ++n) bytes += static_cast<char>(value >> (8 * n));
  return bytes;
}

std::uint64_t read_le(const Octets& bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t n = 0; n < size; ++n)
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes.at(at + n))) << (8 * n);
  return value;
}

NvmeHost::NvmeHost(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
}

void NvmeHost::send(const Octets& bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent <= 0) return;  // The server has closed: what it said is read next.
    at += static_cast<std::size_t>(sent);
  }
}

bool NvmeHost::receive_exactly(Octets& bytes, std::size_t size) {
  constexpr int kLimitMs = 10'000;
  while (bytes.size() < size) {
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, kLimitMs) != 1) return false;
    Octets part(size - bytes.size(), '\0');
    const ssize_t got = ::recv(socket_.get(), part.data(), part.size(), 0);
    if (got <= 0) return false;
    bytes.append(part, 0, static_cast<std::size_t>(got));
  }
  return true;
}

Pdu NvmeHost::receive() {
  Octets all;
  if (!receive_exactly(all, 8)) return {};
  const std::uint64_t size = read_le(all, 4, 4);
  if (!receive_exactly(all, size)) return {};
  return {.type = static_cast<unsigned char>(all[0]),
          .flags = static_cast<std::uint8_t>(all[1]),
          .hlen = static_cast<std::uint8_t>(all[2]),
          .pdo = static_cast<std::uint8_t>(all[3]),
          .all = std::move(all)};
}

ssize_t NvmeHost::next_byte() {
  constexpr int kLimitMs = 10'000;
  pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, kLimitMs) != 1) return 1;
  char byte = 0;
  return ::recv(socket_.get(), &byte, 1, 0);
}

bool NvmeHost::is_closed() { return next_byte() <= 0; }
bool NvmeHost::ends_in_order() { return next_byte() == 0; }

void NvmeHost::abort() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  socket_ = Descriptor();
}

Octets NvmeHost::pdu(std::uint8_t type, std::uint8_t flags, std::uint8_t hlen, std::uint8_t pdo,
                     const Octets& rest) {
  return le(type, 1) + le(flags, 1) + le(hlen, 1) + le(pdo, 1) + le(8 + rest.size(), 4) + rest;
}

Pdu NvmeHost::greet(std::uint8_t alignment) {
  send(pdu(0x00, 0, 128, 0, le(0, 2) + le(alignment, 1) + le(0, 1) + le(0, 4) + Octets(112, '\0')));
  return receive();
}

Octets NvmeHost::capsule(Sqe command, std::uint64_t sgl_address, std::uint32_t sgl_length,
                         std::uint8_t sgl_type, const Octets& data) {
  last_id_ = command.id != 0 ? command.id : static_cast<std::uint16_t>(last_id_ + 1);
  const Octets entry = le(command.opcode, 1) + le(command.flags, 1) + le(last_id_, 2) +
                       le(command.nsid, 4) + Octets(16, '\0') + le(sgl_address, 8) +
                       le(sgl_length, 4) + Octets(3, '\0') + le(sgl_type, 1) +
                       le(command.cdw10, 4) + le(command.cdw11, 4) + le(command.cdw12, 4) +
                       le(command.cdw13, 4) + Octets(8, '\0');
  return pdu(0x04, 0, 72, data.empty() ? 0 : 72, entry + data);
}

Octets NvmeHost::connect_capsule(const std::string& nqn, std::uint16_t queue,
                                 std::uint16_t controller, std::uint32_t keep_alive_ms,
                                 std::uint16_t last_entry) {
  Octets data(1024, '\0');
  data.replace(0, 16, "host-id-16-bytes");
  data.replace(16, 2, le(controller, 2));
  data.replace(256, nqn.size(), nqn);
  const std::string host = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
  data.replace(512, host.size(), host);
  return capsule({.opcode = 0x7F,
                  .nsid = 0x01,  // FCTYPE: Connect.
                  .cdw10 = static_cast<std::uint32_t>(queue) << 16,
                  .cdw11 = last_entry,
                  .cdw12 = keep_alive_ms},
                 0, 1024, 0x01, data);
}

Answer NvmeHost::connect(const std::string& nqn, std::uint16_t queue, std::uint16_t controller,
                         std::uint32_t keep_alive_ms, std::uint16_t last_entry) {
  send(connect_capsule(nqn, queue, controller, keep_alive_ms, last_entry));
  return answer();
}

int NvmeHost::enable() {
  return run({.opcode = 0x7F, .nsid = 0x00, .cdw11 = 0x14, .cdw12 = 0x00460001}).status;
}

Answer NvmeHost::answer() {
  Answer result;
  for (;;) {
    const Pdu got = receive();
    if (got.type == 0x07) {
      result.data += got.data();
      continue;
    }
    if (got.type != 0x05) return result;
    const std::uint64_t field = read_le(got.all, 22, 2);
    result.status = static_cast<int>((field >> 1 & 0xFF) | (field >> 9 & 7) << 8);
    result.result = read_le(got.all, 8, 8);
    result.head = static_cast<std::uint16_t>(read_le(got.all, 16, 2));
    result.id = static_cast<std::uint16_t>(read_le(got.all, 20, 2));
    return result;
  }
}

Answer NvmeHost::run(Sqe command, std::uint32_t room) {
  send(capsule(command, 0, room, room == 0 ? 0 : 0x5A));
  return answer();
}

Answer NvmeHost::run_in_capsule(Sqe command, const Octets& data) {
  send(capsule(command, 0, static_cast<std::uint32_t>(data.size()), 0x01, data));
  return answer();
}

Octets NvmeHost::h2c_data(std::uint16_t id, std::uint16_t tag, std::uint32_t offset,
                          const Octets& data, bool last) {
  return pdu(0x06, last ? 0x04 : 0x00, 24, 24,
             le(id, 2) + le(tag, 2) + le(offset, 4) + le(data.size(), 4) + le(0, 4) + data);
}

Answer NvmeHost::run_with_r2t(Sqe command, const Octets& data, std::size_t part) {
  send(capsule(command, 0, static_cast<std::uint32_t>(data.size()), 0x5A));
  const Pdu r2t = receive();
  if (r2t.type != 0x09) return {};
  EXPECT_EQ(read_le(r2t.all, 8, 2), last_id_);
  EXPECT_EQ(read_le(r2t.all, 12, 4), 0u);
  EXPECT_EQ(read_le(r2t.all, 16, 4), data.size());
  const auto tag = static_cast<std::uint16_t>(read_le(r2t.all, 10, 2));
  for (std::size_t at = 0; at < data.size(); at += part)
    send(h2c_data(last_id_, tag, static_cast<std::uint32_t>(at), data.substr(at, part),
                  at + part >= data.size()));
  return answer();
}

}  // namespace keyward::sed::nvme
