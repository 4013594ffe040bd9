#include "sed/transport/drive_frames.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace keyward::sed {
namespace {

constexpr std::size_t kTextBytesMax = 4096;
constexpr std::size_t kLengthBytes = 4;

// In this order for ever; a new one goes to the end.
constexpr ErrorCode kWireCodes[] = {
    ErrorCode::invalid_argument, ErrorCode::not_permitted,
    ErrorCode::auth_failed,      ErrorCode::locked_out,
    ErrorCode::not_found,        ErrorCode::already_exists,
    ErrorCode::conflict,         ErrorCode::busy,
    ErrorCode::unavailable,      ErrorCode::timeout,
    ErrorCode::cancelled,        ErrorCode::exhausted,
    ErrorCode::unsupported,      ErrorCode::corrupt,
    ErrorCode::protocol,         ErrorCode::io,
};

std::unexpected<Error> failed(std::string_view function) {
  const int number = errno;
  const bool late = number == EAGAIN || number == EWOULDBLOCK;
  return fail(late ? ErrorCode::timeout : ErrorCode::unavailable,
              late ? fmt::format("{}: no answer on the drive socket in time", function)
                   : fmt::format("{}: the drive socket: {}", function,
                                 std::generic_category().message(number)),
              function, static_cast<std::uint64_t>(number));
}

Result<void> receive_all(int socket, MutableByteView out) {
  while (!out.empty()) {
    const ssize_t got = ::recv(socket, out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("recv");
    if (got == 0)
      return fail(ErrorCode::unavailable, "recv: the other side of the drive socket is gone",
                  "recv");
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace

std::uint8_t wire_code(ErrorCode code) {
  const auto* found = std::ranges::find(kWireCodes, code);
  return static_cast<std::uint8_t>(1 + (found - std::begin(kWireCodes)));
}

ErrorCode code_of_wire(std::uint8_t number) {
  if (number == 0 || number > std::size(kWireCodes)) return ErrorCode::protocol;
  return kWireCodes[number - 1];
}

FrameWriter& FrameWriter::number(std::uint64_t value, std::size_t bytes) {
  for (std::size_t n = bytes; n > 0; --n)
    bytes_.push_back(static_cast<std::byte>(value >> (8 * (n - 1))));
  return *this;
}

FrameWriter& FrameWriter::text(std::string_view text) {
  text = text.substr(0, kTextBytesMax);
  u16(text.size());
  for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
  return *this;
}

ByteView FrameReader::take(std::size_t size) {
  if (size > rest_.size()) {
    is_complete_ = false;
    rest_ = {};
  }
  const ByteView front = rest_.first(std::min(size, rest_.size()));
  rest_ = rest_.subspan(front.size());
  return front;
}

std::uint64_t FrameReader::number(std::size_t bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : take(bytes)) value = value << 8 | std::to_integer<unsigned>(byte);
  return value;
}

std::string FrameReader::text() {
  const std::size_t size = u16();
  if (size > kTextBytesMax) is_complete_ = false;
  const ByteView bytes = take(size);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<void> send_frame(int socket, ByteView head, ByteView body) {
  if (head.size() + body.size() > kFrameBytesMax)
    return fail(ErrorCode::invalid_argument, "the drive socket moves 1 MiB at most");
  const Bytes length = FrameWriter().u32(head.size() + body.size()).take();
  std::array<iovec, 3> parts{};
  const ByteView views[] = {length, head, body};
  for (std::size_t n = 0; n < parts.size(); ++n)
    parts[n] = {const_cast<std::byte*>(views[n].data()), views[n].size()};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  while (message.msg_iovlen > 0) {
    ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return failed("sendmsg");
    for (; message.msg_iovlen > 0; ++message.msg_iov, --message.msg_iovlen) {
      const auto size = std::min(static_cast<std::size_t>(sent), message.msg_iov->iov_len);
      message.msg_iov->iov_base = static_cast<std::byte*>(message.msg_iov->iov_base) + size;
      message.msg_iov->iov_len -= size;
      sent -= static_cast<ssize_t>(size);
      if (message.msg_iov->iov_len > 0) break;
    }
  }
  return {};
}

Result<SecretBytes> receive_frame(int socket) {
  std::array<std::byte, kLengthBytes> length{};
  TRY(receive_all(socket, length));
  const std::uint32_t size = FrameReader(length).u32();
  if (size == 0 || size > kFrameBytesMax)
    return fail(ErrorCode::protocol, fmt::format("the drive socket: a frame of {} bytes", size));
  SecretBytes frame = TRY(SecretBytes::allocate(size));
  TRY(receive_all(socket, frame.reveal_mutable()));
  return frame;
}

}  // namespace keyward::sed
