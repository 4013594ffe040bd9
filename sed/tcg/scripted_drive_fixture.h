// A drive that says what a test has written down, and a clock that never waits: for the channel's
// own tests.
//
//   ScriptedDrive drive;
//   drive.answer(com_packet(0x1000, hex("F0 F1 F9 F0 00 00 00 F1")));
//   …
//   EXPECT_EQ(drive.sent[0].payload, …);
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "sed/tcg/byte_reader.h"
#include "sed/tcg/hex_fixture.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed::tcg {

// Waiting is moving on, and is remembered.
class SteppingClock final : public Clock {
 public:
  UtcTime now() const override { return UtcTime{}; }
  MonotonicTime monotonic() const override { return now_; }
  void wait_until(std::unique_lock<std::mutex>&, std::condition_variable_any&, std::stop_token,
                  MonotonicTime deadline) override {
    waits.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now_));
    now_ = deadline;
  }

  std::vector<std::chrono::milliseconds> waits;

 private:
  MonotonicTime now_{};
};

// The envelopes around `tokens`, by Core 3.2.3.
inline Bytes com_packet(std::uint16_t com_id, const Bytes& tokens, std::uint32_t tper = 0,
                        std::uint32_t host = 0) {
  const std::size_t padded = (tokens.size() + 3) / 4 * 4;
  Bytes out;
  append_big_endian(0, 4, out);
  append_big_endian(com_id, 2, out);
  out.resize(16);
  append_big_endian(36 + padded, 4, out);
  append_big_endian(tper, 4, out);
  append_big_endian(host, 4, out);
  out.resize(40);
  append_big_endian(12 + padded, 4, out);
  out.resize(52);
  append_big_endian(tokens.size(), 4, out);
  out.insert(out.end(), tokens.begin(), tokens.end());
  out.resize(56 + padded);
  return out;
}

inline Bytes no_answer(std::uint16_t com_id, std::uint32_t outstanding = 0,
                       std::uint32_t min_transfer = 0) {
  Bytes out;
  append_big_endian(0, 4, out);
  append_big_endian(com_id, 2, out);
  out.resize(8);
  append_big_endian(outstanding, 4, out);
  append_big_endian(min_transfer, 4, out);
  out.resize(20);
  return out;
}

class ScriptedDrive final : public SecurityTransport {
 public:
  struct Sent {
    Protocol protocol;
    std::uint16_t specific;
    Bytes payload;
  };

  const DriveIdentity& identity() const override { return identity_; }
  Result<Bytes> identify(IdentifyPage) override { return fail(ErrorCode::unsupported, "none"); }

  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override {
    sent.push_back({protocol, specific, Bytes(payload.begin(), payload.end())});
    if (refusals_.empty()) return {};
    const auto code = refusals_.front();
    refusals_.pop_front();
    if (!code) return {};
    return fail(*code, "refused by the script");
  }

  // After the script's end, nothing to say.
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override {
    received.push_back({protocol, specific, {}});
    buffers.push_back(buffer.size());
    Result<Bytes> answer = no_answer(specific);
    if (!answers_.empty()) {
      answer = answers_.front();
      if (answers_.size() > 1 || !last_repeats) answers_.pop_front();
    }
    if (!answer) return std::unexpected(answer.error());
    std::ranges::fill(buffer, std::byte{0});
    std::ranges::copy(ByteView(*answer).first(std::min(answer->size(), buffer.size())),
                      buffer.begin());
    return buffer.size();
  }

  void answer(Bytes bytes) { answers_.push_back(std::move(bytes)); }
  void fail_receive(ErrorCode code) { answers_.push_back(fail(code, "by the script")); }
  void fail_send(std::optional<ErrorCode> code) { refusals_.push_back(code); }

  std::vector<Sent> sent;
  std::vector<Sent> received;
  std::vector<std::size_t> buffers;
  bool last_repeats = false;

 private:
  DriveIdentity identity_;
  std::deque<Result<Bytes>> answers_;
  std::deque<std::optional<ErrorCode>> refusals_;
};

}  // namespace keyward::sed::tcg
