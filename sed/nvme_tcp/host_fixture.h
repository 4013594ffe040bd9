// NvmeHost speaks NVMe/TCP to a server for the tests. It builds and reads the bytes by itself, from
// the specification and not from the target's code, so that one mistake is not made twice.
//
//   NvmeHost admin(server->port());
//   admin.greet();
//   EXPECT_EQ(admin.connect(nqn).status, 0);
//   Answer page = admin.run(identify(1), 4096);
//
// One thread. Every wait ends after 10 s, and the test then fails.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "base/file.h"

namespace keyward::sed::nvme {

using Octets = std::string;

// `size` bytes, little-endian.
Octets le(std::uint64_t value, std::size_t size);
std::uint64_t read_le(const Octets& bytes, std::size_t at, std::size_t size);

// A submission queue entry; what is not named is zero.
struct Sqe {
  std::uint8_t opcode = 0;
  std::uint32_t nsid = 0;
  std::uint32_t cdw10 = 0, cdw11 = 0, cdw12 = 0, cdw13 = 0;
  std::uint8_t flags = 0x40;  // PSDT: an SGL.
  std::uint16_t id = 0;       // 0: the next that is free.
};

struct Pdu {
  int type = -1;  // -1: the connection has ended, or nothing came in time.
  std::uint8_t flags = 0;
  std::uint8_t hlen = 0;
  std::uint8_t pdo = 0;
  Octets all{};
  Octets data() const { return pdo == 0 ? Octets{} : all.substr(pdo); }
};

struct Answer {
  int status = -1;  // SCT in the upper byte, SC in the lower; -1 when none came.
  std::uint64_t result = 0;
  std::uint16_t id = 0;
  std::uint16_t head = 0;
  Octets data{};
};

class NvmeHost final {
 public:
  explicit NvmeHost(std::uint16_t port);

  void send(const Octets& bytes);
  Pdu receive();
  // True when the server has closed, without another byte.
  bool is_closed();
  bool ends_in_order();  // The same, and not by a TCP reset.
  void abort();          // Closes with a TCP reset.

  // ICReq; the answer, ICResp or C2HTermReq.
  Pdu greet(std::uint8_t alignment = 0);
  Answer connect(const std::string& nqn, std::uint16_t queue = 0, std::uint16_t controller = 0xFFFF,
                 std::uint32_t keep_alive_ms = 0, std::uint16_t last_entry = 31);
  // The bytes of a Connect capsule, for tests that change some.
  Octets connect_capsule(const std::string& nqn, std::uint16_t queue, std::uint16_t controller,
                         std::uint32_t keep_alive_ms = 0, std::uint16_t last_entry = 31);
  int enable();  // CC.EN.

  // A command without data, or one that answers up to `room` bytes.
  Answer run(Sqe command, std::uint32_t room = 0);
  // A command with data in its capsule.
  Answer run_in_capsule(Sqe command, const Octets& data);
  // With data that the controller asks for, in PDUs of `part` bytes.
  Answer run_with_r2t(Sqe command, const Octets& data, std::size_t part = 4096);
  Answer answer();  // To what was sent before.

  // The pieces, for tests that send them apart.
  Octets capsule(Sqe command, std::uint64_t sgl_address, std::uint32_t sgl_length,
                 std::uint8_t sgl_type, const Octets& data = {});
  static Octets h2c_data(std::uint16_t id, std::uint16_t tag, std::uint32_t offset,
                         const Octets& data, bool last);
  static Octets pdu(std::uint8_t type, std::uint8_t flags, std::uint8_t hlen, std::uint8_t pdo,
                    const Octets& rest);
  std::uint16_t last_id() const { return last_id_; }

 private:
  // What recv() says of one byte more: 0 at the end, -1 after a reset; 1 when nothing comes too.
  ssize_t next_byte();
  bool receive_exactly(Octets& bytes, std::size_t size);

  Descriptor socket_;
  std::uint16_t last_id_ = 0;
};

}  // namespace keyward::sed::nvme
