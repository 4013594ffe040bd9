// The messages between SocketTransport and SocketDriveServer, over a Unix socket. docs/FORMATS.md
// has the layout.
//
//   TRY(send_frame(socket, FrameWriter().u8(7).u64(first).take(), sectors));
//   FrameReader reply(TRY(receive_frame(socket)).reveal());
//
// A frame is its length (4 bytes, big-endian, kFrameBytesMax at most) and that many bytes. They may
// hold a PIN: so they are read into SecretBytes, and sent from where they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::sed {

inline constexpr std::size_t kFrameDataBytesMax = 1u << 20;
inline constexpr std::size_t kFrameBytesMax = kFrameDataBytesMax + 64;
inline constexpr std::uint8_t kDriveProtocolVersion = 1;

enum class DriveRequest : std::uint8_t {
  list = 1,
  open = 2,
  identify = 3,
  send = 4,
  receive = 5,
  read = 6,
  write = 7,
  reread_partitions = 8,
};

// Numbers of their own on the wire, so that ErrorCode may change. 0 is success; a number that
// nobody gave is `protocol`.
std::uint8_t wire_code(ErrorCode code);
ErrorCode code_of_wire(std::uint8_t number);

class FrameWriter final {
 public:
  FrameWriter& number(std::uint64_t value, std::size_t bytes);
  FrameWriter& u8(std::uint64_t value) { return number(value, 1); }
  FrameWriter& u16(std::uint64_t value) { return number(value, 2); }
  FrameWriter& u32(std::uint64_t value) { return number(value, 4); }
  FrameWriter& u64(std::uint64_t value) { return number(value, 8); }
  // Two bytes of length, then the text, cut off after 4 KiB.
  FrameWriter& text(std::string_view text);
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

// After the end everything reads as zero or empty, and is_complete() is false for good.
class FrameReader final {
 public:
  explicit FrameReader(ByteView frame) : rest_(frame) {}

  std::uint64_t number(std::size_t bytes);
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::string text();
  ByteView rest() { return take(rest_.size()); }

  // All was there that was read.
  bool is_complete() const { return is_complete_; }
  // And nothing more.
  bool is_whole() const { return is_complete_ && rest_.empty(); }

 private:
  ByteView take(std::size_t size);

  ByteView rest_;
  bool is_complete_ = true;
};

// `unavailable` when the other side is gone, `timeout` when it does not take it in time.
Result<void> send_frame(int socket, ByteView head, ByteView body);
// `protocol` too, for a length that cannot be. An end between two frames is `unavailable`.
Result<SecretBytes> receive_frame(int socket);

}  // namespace keyward::sed
