#include "sed/transport/socket_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/text.h"
#include "sed/transport/drive_frames.h"
#include "sed/transport/drive_session.h"
#include "sed/transport/emulated/emulated_drive_bus.h"
#include "sed/transport/socket_drive_bus.h"
#include "sed/transport/socket_drive_server.h"
#include "sed/transport/unix_socket.h"

namespace keyward::sed {
namespace {

using ::testing::ElementsAre;

ErrorCode code_of(const auto& result) { return result ? ErrorCode{255} : result.error().code; }

std::uint64_t printed_seed() {
  const char* seed = std::getenv("KEYWARD_SEED");
  const std::uint64_t value =
      seed == nullptr ? std::random_device{}() : std::strtoull(seed, nullptr, 10);
  std::printf("KEYWARD_SEED=%llu\n", static_cast<unsigned long long>(value));
  return value;
}

class SocketTransportTest : public ::testing::Test {
 protected:
  SocketTransportTest() {
    std::string name = ::testing::TempDir() + "keyward-socket-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ / "drives";
    EmulatedDriveOptions options;
    options.backing_file = directory_ / "a.drive";
    options.sectors = 8192;
    options.data_store_bytes = options.shadow_mbr_bytes = 1u << 16;
    drive_ = EmulatedDrive::open(options).value();
    bus_.add({"/dev/sda", "hba0", "it carries /"}, drive_);
    server_ = SocketDriveServer::start(bus_, *clock_, path_).value();
  }
  ~SocketTransportTest() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::unique_ptr<SocketTransport> open() {
    return SocketTransport::open(path_, "/dev/sda").value();
  }

  std::filesystem::path directory_;
  std::string path_;
  std::unique_ptr<Clock> clock_ = real_clock();
  std::shared_ptr<EmulatedDrive> drive_;
  EmulatedDriveBus bus_{*clock_};
  std::unique_ptr<SocketDriveServer> server_;
};

TEST_F(SocketTransportTest, ABusOfTheSocketHasTheDrivesAndHearsOfOthers) {
  VirtualClock clock(from_iso8601("2026-01-05T02:00:00Z").value());
  SocketDriveBus bus(path_, clock);
  const auto found = bus.list().value();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(bus.open(found.front()).value()->identity().serial, drive_->options().identity.serial);
  std::vector<std::pair<std::string, DriveChange>> heard;
  bus.watch([&](const DriveAddress& address, DriveChange change) {
    heard.emplace_back(address.node, change);
  });
  ASSERT_TRUE(clock.await_waiters(1));
  bus_.add({"/dev/sdb", "hba0", ""}, drive_);
  clock.advance(std::chrono::seconds{1});
  bus_.remove("/dev/sdb");
  clock.advance(std::chrono::seconds{1});
  server_.reset();
  clock.advance(std::chrono::seconds{1});
  EXPECT_THAT(heard, ElementsAre(std::pair(std::string("/dev/sdb"), DriveChange::added),
                                 std::pair(std::string("/dev/sdb"), DriveChange::removed)));
  EXPECT_EQ(code_of(bus.list()), ErrorCode::unavailable);
}

TEST_F(SocketTransportTest, TheDriveIsTheSameFromTheOtherSide) {
  EXPECT_THAT(SocketTransport::list(path_).value(),
              ElementsAre(DriveAddress{"/dev/sda", "hba0", "it carries /"}));
  const auto transport = open();
  EXPECT_EQ(transport->identity().serial, drive_->options().identity.serial);
  EXPECT_EQ(transport->identity().wwn, drive_->options().identity.wwn);
  EXPECT_EQ(transport->identity().model, drive_->options().identity.model);
  EXPECT_EQ(transport->identity().firmware, drive_->options().identity.firmware);
  EXPECT_EQ(transport->identify(IdentifyPage::ata_device).value(),
            drive_->identify(IdentifyPage::ata_device).value());
  Bytes far(2048), near(2048);
  EXPECT_EQ(transport->receive(Protocol::tcg, 1, far).value(), 2048u);
  ASSERT_EQ(drive_->security_receive(1, 1, near), BusStatus::good);
  EXPECT_EQ(far, near);
  const Bytes reset{std::byte{0x10}, std::byte{}, std::byte{}, std::byte{},
                    std::byte{},     std::byte{}, std::byte{}, std::byte{2}};
  ASSERT_TRUE(transport->send(Protocol::com_id, 0x1000, reset));
  ASSERT_TRUE(transport->receive(Protocol::com_id, 0x1000, far));
  EXPECT_EQ(to_hex(ByteView(far).first(16)), "10000000000000020000000400000000");
}

TEST_F(SocketTransportTest, SectorsOfMoreThanOneFrameArrive) {
  const auto transport = open();
  BlockAccess& blocks = *transport->blocks();
  EXPECT_EQ(blocks.sector_bytes(), 512u);
  EXPECT_EQ(blocks.sector_count(), 8192u);
  Bytes data(2 * kFrameDataBytesMax + 512), read(data.size());
  for (std::size_t n = 0; n < data.size(); ++n) data[n] = static_cast<std::byte>(n / 512 + n);
  ASSERT_TRUE(blocks.write(5, data));
  ASSERT_TRUE(blocks.read(5, read));
  EXPECT_EQ(read, data);
  EXPECT_TRUE(blocks.reread_partitions());
  EXPECT_EQ(code_of(blocks.read(8192, MutableByteView(read).first(512))),
            ErrorCode::invalid_argument);
  EXPECT_TRUE(blocks.read(0, MutableByteView(read).first(512)));  // That error was the drive's.
}

TEST_F(SocketTransportTest, TheDrivesErrorsArriveAsTheyWere) {
  const auto transport = open();
  Bytes buffer(512);
  const auto com_id = transport->send(Protocol::tcg, 0x4444, buffer);
  EXPECT_EQ(code_of(com_id), ErrorCode::invalid_argument);
  EXPECT_EQ(com_id.error().native, 0x052400u);
  EXPECT_EQ(com_id.error().message, "the drive has no such ComID");
  EXPECT_EQ(code_of(transport->identify(IdentifyPage::nvme_controller)), ErrorCode::unsupported);
  Bytes most(kFrameDataBytesMax + 1);
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, most)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(transport->send(Protocol::tcg, 1, Bytes(kFrameBytesMax))),
            ErrorCode::invalid_argument);
  EXPECT_TRUE(transport->receive(Protocol::tcg, 1, buffer));
  ASSERT_TRUE(bus_.remove("/dev/sda"));
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
}

TEST_F(SocketTransportTest, ADriveIsOneConnectionsAtATime) {
  auto first = open();
  EXPECT_EQ(code_of(SocketTransport::open(path_, "/dev/sda")), ErrorCode::busy);
  EXPECT_EQ(code_of(SocketTransport::open(path_, "/dev/sdb")), ErrorCode::unavailable);
  first.reset();
  // The server learns of the end a moment later.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  auto next = SocketTransport::open(path_, "/dev/sda");
  while (code_of(next) == ErrorCode::busy && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
    next = SocketTransport::open(path_, "/dev/sda");
  }
  EXPECT_TRUE(next);
}

TEST_F(SocketTransportTest, ATimeOutEndsTheConnection) {
  const auto transport =
      SocketTransport::open(path_, "/dev/sda", std::chrono::milliseconds{300}).value();
  drive_->set_faults({.delay = std::chrono::milliseconds{600}});
  Bytes buffer(512);
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::timeout);
  drive_->set_faults({});
  // The late answer is nobody's.
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
}

TEST_F(SocketTransportTest, AServersEndIsSeen) {
  const auto transport = open();
  server_.reset();
  Bytes buffer(512);
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(SocketTransport::list(path_)), ErrorCode::unavailable);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(SocketTransportTest, TheSocketIsItsOwnersAlone) {
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_EQ(code_of(SocketDriveServer::start(bus_, *clock_, path_)), ErrorCode::already_exists);
  EXPECT_TRUE(SocketTransport::list(path_));
  const std::string file = directory_ / "file";
  std::ofstream(file).put('x');
  EXPECT_EQ(code_of(SocketDriveServer::start(bus_, *clock_, file)), ErrorCode::io);
  EXPECT_EQ(code_of(SocketDriveServer::start(bus_, *clock_, std::string(200, 'x'))),
            ErrorCode::invalid_argument);
  // What a server that was killed has left.
  const std::string stale = directory_ / "stale";
  const sockaddr_un address = unix_address(stale).value();
  {
    const Descriptor dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_TRUE(SocketDriveServer::start(bus_, *clock_, stale));
}

TEST_F(SocketTransportTest, ManyConnectionsAreServedAtOnce) {
  std::vector<Descriptor> idle;
  for (int n = 0; n < 100; ++n) idle.push_back(connect_unix(path_).value());
  EXPECT_TRUE(SocketTransport::list(path_));
}

TEST_F(SocketTransportTest, ARequestThatIsCutShortDoesNothing) {
  const Bytes requests[] = {
      FrameWriter().u8(4).u8(1).u8(0).take(),         // Half of a ComID.
      FrameWriter().u8(5).u8(1).u16(1).u8(0).take(),  // A part of a size.
      FrameWriter().u8(6).u64(0).u16(0).take(),
      FrameWriter().u8(7).u32(0).take(),       // Half of a sector's number.
      FrameWriter().u8(3).u8(0).u8(0).take(),  // More than there should be.
      FrameWriter().u8(8).u8(0).take(),
      FrameWriter().u8(9).take(),  // A request that nobody has.
  };
  for (const Bytes& request : requests) {
    DriveSession session(bus_);
    ASSERT_FALSE(session.answer(FrameWriter().u8(2).u8(1).text("/dev/sda").take()).is_last);
    const DriveReply reply = session.answer(request);
    EXPECT_TRUE(reply.is_last);
    EXPECT_EQ(reply.frame.front(), std::byte{15}) << to_hex(request);
  }
  EXPECT_EQ(drive_->commands(), 0u);
}

// Requests as they are, with fields cut off, too long, or of other values.
TEST_F(SocketTransportTest, AnyRequestIsAnsweredOrEndsTheConnection) {
  std::mt19937_64 random(printed_seed());
  const auto below = [&](std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random);
  };
  std::size_t good = 0, last = 0;
  std::optional<DriveSession> session(std::in_place, bus_);
  for (int n = 0; n < 20000; ++n) {
    FrameWriter writer;
    const std::size_t number = 1 + below(9);
    writer.u8(number);
    if (number == 2) writer.u8(1).text("/dev/sda");
    if (number == 3) writer.u8(below(9));
    if (number == 4 || number == 5) writer.u8(below(4)).u16(below(2) == 0 ? 1 : 0x1000);
    if (number == 5 || number == 6) writer.u32(below(4) == 0 ? below(1u << 20) : 512);
    if (number == 6 || number == 7) writer.u64(below(9000));
    Bytes frame = writer.take();
    if (number == 4 || number == 7) frame.resize(frame.size() + below(2000));
    if (below(3) == 0) frame.resize(below(frame.size() + 3));
    if (below(3) == 0 && !frame.empty())
      frame[below(frame.size())] = static_cast<std::byte>(below(256));
    const DriveReply reply = session->answer(frame);
    ASSERT_FALSE(reply.frame.empty());
    FrameReader fields(reply.frame);
    const std::uint8_t status = fields.u8();
    good += status == 0 ? 1 : 0;
    if (status != 0) {
      fields.u64();
      EXPECT_TRUE(is_printable_utf8(fields.text()));
      EXPECT_TRUE(fields.is_whole());
    }
    if (!reply.is_last) continue;
    ++last;
    session.emplace(bus_);
  }
  EXPECT_GT(good, 1000u);
  EXPECT_GT(last, 1000u);
}

TEST_F(SocketTransportTest, GarbageOnTheSocketHarmsNobodyElse) {
  std::mt19937_64 random(printed_seed());
  for (int n = 0; n < 200; ++n) {
    const Descriptor socket = connect_unix(path_).value();
    Bytes bytes(random() % 64);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    if (bytes.size() > 4 && n % 2 == 0) bytes[0] = bytes[1] = bytes[2] = std::byte{0};
    ASSERT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  EXPECT_TRUE(open()->identify(IdentifyPage::ata_device));
}

// A server that answers anything at all, once for each request.
class BadServerTest : public ::testing::Test {
 protected:
  BadServerTest() {
    std::string name = ::testing::TempDir() + "keyward-bad-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ / "drives";
    const sockaddr_un address = unix_address(path_).value();
    listener_ = Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
  }
  ~BadServerTest() override { std::filesystem::remove_all(directory_); }

  // What the client makes of these bytes in place of an answer to `list`.
  Result<std::vector<DriveAddress>> list_answered_by(const Bytes& bytes) {
    std::jthread server([&] {
      const Descriptor socket(::accept(listener_.get(), nullptr, nullptr));
      static_cast<void>(receive_frame(socket.get()));
      ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    });
    return SocketTransport::list(path_, std::chrono::seconds{20});
  }

  std::filesystem::path directory_;
  std::string path_;
  Descriptor listener_;
};

TEST_F(BadServerTest, EachKindOfNonsenseIsToldFromAnEnd) {
  const auto answer = [&](std::string_view hex) {
    return code_of(list_answered_by(from_hex(hex).value()));
  };
  EXPECT_EQ(answer("00000003000000"), ErrorCode{255});
  EXPECT_EQ(answer(""), ErrorCode::unavailable);
  EXPECT_EQ(answer("000000"), ErrorCode::unavailable);
  EXPECT_EQ(answer("0000000300"), ErrorCode::unavailable);
  EXPECT_EQ(answer("00000000"), ErrorCode::protocol);
  EXPECT_EQ(answer("ffffffff"), ErrorCode::protocol);
  EXPECT_EQ(answer("00100041"), ErrorCode::protocol);          // One more than the limit.
  EXPECT_EQ(answer("0000000100"), ErrorCode::protocol);        // No count.
  EXPECT_EQ(answer("0000000400000000"), ErrorCode::protocol);  // More than there should be.
  EXPECT_EQ(answer("00000003000001"), ErrorCode::protocol);    // Less.
  EXPECT_EQ(answer("0000000101"), ErrorCode::protocol);        // An error without its text.
  EXPECT_EQ(answer("0000000c080000000000000005000161"), ErrorCode::busy);
  EXPECT_EQ(answer("0000000cff0000000000000005000161"), ErrorCode::protocol);
}

TEST_F(BadServerTest, AnyAnswerIsAnErrorOrAList) {
  std::mt19937_64 random(printed_seed());
  for (int n = 0; n < 500; ++n) {
    Bytes bytes(random() % 40);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % (n % 3 == 0 ? 256 : 3));
    Bytes frame = FrameWriter().u32(bytes.size()).take();
    frame.insert(frame.end(), bytes.begin(), bytes.end());
    const auto answered = list_answered_by(frame);
    if (answered) continue;
    EXPECT_TRUE(is_printable_utf8(answered.error().message));
  }
}

TEST(DriveFramesTest, EachErrorCodeComesBackAndTheirNumbersStay) {
  for (unsigned code = 0; code <= static_cast<unsigned>(ErrorCode::io); ++code)
    EXPECT_EQ(code_of_wire(wire_code(static_cast<ErrorCode>(code))), static_cast<ErrorCode>(code));
  EXPECT_EQ(wire_code(ErrorCode::invalid_argument), 1);
  EXPECT_EQ(wire_code(ErrorCode::busy), 8);
  EXPECT_EQ(wire_code(ErrorCode::io), 16);
  EXPECT_EQ(code_of_wire(0), ErrorCode::protocol);
  EXPECT_EQ(code_of_wire(17), ErrorCode::protocol);
}

}  // namespace
}  // namespace keyward::sed
