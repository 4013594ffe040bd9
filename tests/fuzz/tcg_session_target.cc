#include <algorithm>

#include "base/check.h"
#include "base/text.h"
#include "sed/tcg/channel.h"
#include "sed/tcg/session.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace sed;
using namespace sed::tcg;

// A clock on which waiting is moving on.
class SwiftClock final : public Clock {
 public:
  UtcTime now() const override { return UtcTime{}; }
  MonotonicTime monotonic() const override { return now_; }
  void wait_until(std::unique_lock<std::mutex>&, std::condition_variable_any&, std::stop_token,
                  MonotonicTime deadline) override {
    now_ = deadline;
  }

 private:
  MonotonicTime now_{};
};

// A drive whose every word comes from the input: a byte that says of which kind, then what it says.
// After the input's end it is silent.
class LyingDrive final : public SecurityTransport {
 public:
  explicit LyingDrive(Input input) : input_(input) {}

  const DriveIdentity& identity() const override { return identity_; }
  Result<Bytes> identify(IdentifyPage) override { return fail(ErrorCode::unsupported, "none"); }

  Result<void> send(Protocol, std::uint16_t, ByteView payload) override {
    CHECK(payload.size() % 512 == 0, "a payload of no whole blocks");
    ++commands_;
    const unsigned kind = input_.rest().empty() ? 0 : input_.byte();
    if (kind < 0xF0) return {};
    return fail(static_cast<ErrorCode>(kind & 0x0F), "as the input has it");
  }

  Result<std::size_t> receive(Protocol, std::uint16_t specific, MutableByteView buffer) override {
    ++commands_;
    std::ranges::fill(buffer, std::byte{0});
    const unsigned kind = input_.byte();
    if (kind >= 0xF0) return fail(static_cast<ErrorCode>(kind & 0x0F), "as the input has it");
    // Seldom the whole ComPacket, else what is in one.
    const ByteView said = input_.take(input_.byte());
    const Bytes whole =
        kind < 0xC0 ? wrapped(specific, said, kind % 4) : Bytes(said.begin(), said.end());
    const std::size_t size = std::min(whole.size(), buffer.size());
    std::copy_n(whole.begin(), size, buffer.begin());
    return kind < 0xE0 ? buffer.size() : size;
  }

  std::uint64_t commands() const { return commands_; }

 private:
  static void put(std::uint64_t value, std::size_t at, std::size_t size, Bytes& out) {
    for (std::size_t n = 0; n < size; ++n)
      out[at + n] = static_cast<std::byte>(value >> (8 * (size - 1 - n)));
  }

  // In the control session, in the first one, or with OutstandingData.
  static Bytes wrapped(std::uint16_t com_id, ByteView tokens, unsigned kind) {
    const std::size_t padded = (tokens.size() + 3) / 4 * 4;
    Bytes out(56 + padded);
    put(com_id, 4, 2, out);
    put(kind == 3 ? tokens.size() : 0, 8, 4, out);
    put(kind == 2 ? 0 : 36 + padded, 16, 4, out);
    put(kind == 1 ? 1 : 0, 20, 4, out);
    put(kind == 1 ? 1 : 0, 24, 4, out);
    put(12 + padded, 40, 4, out);
    put(tokens.size(), 52, 4, out);
    std::ranges::copy(tokens, out.begin() + 56);
    return out;
  }

  Input input_;
  DriveIdentity identity_{};
  std::uint64_t commands_ = 0;
};

template <typename T>
bool fine(const Result<T>& result) {
  if (!result) CHECK(is_printable_utf8(result.error().message), "a text for no terminal");
  return result.has_value();
}

void act(Session& session, unsigned what, const SecretBytes& pin) {
  switch (what % 12) {
    case 0:
      return static_cast<void>(fine(session.get(range::kGlobal, {0, 10})));
    case 1:
      return static_cast<void>(fine(session.set(range::kGlobal, {{7, std::uint64_t{0}}})));
    case 2:
      return static_cast<void>(fine(session.set_pin(pin::kSid, pin)));
    case 3: {
      const auto content = session.read_table(kDataStore, 5, 3000);
      if (fine(content)) CHECK(content->size() == 3000, "another number of bytes than asked for");
      return;
    }
    case 4:
      return static_cast<void>(fine(session.write_table(kDataStore, 0, Bytes(3000))));
    case 5:
      return static_cast<void>(fine(session.invoke(kThisSp, method::kRevertSp)));
    case 6: {
      const auto random = session.random(8);
      if (fine(random)) CHECK(random->size() == 8, "another number of bytes than asked for");
      return;
    }
    case 7:
      return static_cast<void>(fine(session.authenticate({authority::user(1), &pin})));
    case 8:
      return static_cast<void>(fine(session.begin_transaction()));
    case 9:
      return static_cast<void>(fine(session.commit()));
    case 10:
      return static_cast<void>(fine(session.abort()));
    default:
      return static_cast<void>(fine(session.close()));
  }
}

}  // namespace

// Byte 0: the dialect, and how many acts follow; a byte for each; then what the drive says.
void fuzz_tcg_session(ByteView bytes) {
  Input input(bytes);
  const unsigned head = input.byte();
  const ByteView acts = input.take(head / 4 % 8);
  LyingDrive drive(input);
  SwiftClock clock;
  Discovery found;
  found.sscs = {{.ssc = head % 2 == 0 ? Ssc::opal2 : Ssc::enterprise, .base_com_id = 0x1000}};
  auto channel = Channel::open(drive, clock, found, {.quirks = {.no_stack_reset = head % 4 >= 2}});
  CHECK(channel.has_value(), "a channel that needs no command");
  if (head >= 128) fine(channel->negotiate());
  CHECK(channel->request_bytes_max() <= kComPacketBytesMax, "requests of any size");
  const SecretBytes pin = SecretBytes::allocate(32).value();
  auto session =
      Session::start(*channel, sp::kAdmin, {authority::kSid, &pin}, Session::Mode::write);
  if (fine(session))
    for (const std::byte what : acts) {
      act(*session, std::to_integer<unsigned>(what), pin);
      CHECK(!session->is_open() || !channel->hangs(), "a session goes on where its channel hangs");
    }
  CHECK(drive.commands() < 200'000, "polling has no end");
}

}  // namespace keyward::fuzz
