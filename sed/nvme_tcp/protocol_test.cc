// What a host does wrong, and hosts that come, go and stay.
#include <fmt/format.h>

#include <cstdlib>
#include <random>

#include "sed/nvme_tcp/server_fixture.h"

namespace keyward::sed::nvme {
namespace {

class ProtocolTest : public ServerTest {
 protected:
  // That the server ends the connection with this status and field.
  void expect_end(NvmeHost& host, unsigned status, unsigned field) {
    const Pdu end = host.receive();
    ASSERT_EQ(end.type, 0x03) << "no C2HTermReq";
    EXPECT_EQ(read_le(end.all, 8, 2), status);
    EXPECT_EQ(read_le(end.all, 10, 4), field);
    EXPECT_TRUE(host.is_closed());
    expect_service();
  }
};

constexpr unsigned kHeaderField = 1, kSequence = 2, kOutOfRange = 4, kUnsupported = 6;

TEST_F(ProtocolTest, NothingButAnIcReqComesFirst) {
  serve();
  NvmeHost host = this->host();
  host.send(host.connect_capsule(kNqn, 0, 0xFFFF));
  expect_end(host, kSequence, 0);
}

TEST_F(ProtocolTest, AnIcReqComesOnce) {
  serve();
  NvmeHost host = admin();
  host.send(NvmeHost::pdu(0x00, 0, 128, 0, Octets(120, '\0')));
  expect_end(host, kSequence, 0);
}

TEST_F(ProtocolTest, AnotherVersionIsUnsupported) {
  serve();
  NvmeHost host = this->host();
  host.send(NvmeHost::pdu(0x00, 0, 128, 0, le(1, 2) + Octets(118, '\0')));
  expect_end(host, kUnsupported, 8);
}

TEST_F(ProtocolTest, TypesThatNoHostSendsEndTheConnection) {
  serve();
  for (const int type : {0x01, 0x03, 0x05, 0x07, 0x08, 0x09, 0x0A, 0x42, 0xFF}) {
    SCOPED_TRACE(type);
    NvmeHost host = admin();
    host.send(NvmeHost::pdu(static_cast<std::uint8_t>(type), 0, 24, 0, Octets(16, '\0')));
    expect_end(host, kHeaderField, 0);
  }
}

TEST_F(ProtocolTest, HeadersThatContradictTheirTypeEndTheConnection) {
  serve();
  struct Case {
    Octets header;
    unsigned field;
  };
  const Case cases[] = {
      {le(4, 1) + le(1, 1) + le(72, 1) + le(0, 1) + le(72, 4), 1},           // A digest.
      {le(4, 1) + le(0, 1) + le(71, 1) + le(0, 1) + le(72, 4), 2},           // HLEN.
      {le(4, 1) + le(0, 1) + le(72, 1) + le(72, 1) + le(71, 4), 4},          // Shorter than that.
      {le(4, 1) + le(0, 1) + le(72, 1) + le(72, 1) + le(72 + 8193, 4), 4},   // More than IOCCSZ.
      {le(4, 1) + le(0, 1) + le(72, 1) + le(72, 1) + le(0xFFFFFFFF, 4), 4},  // Huge.
      {le(4, 1) + le(0, 1) + le(72, 1) + le(0, 1) + le(1096, 4), 3},         // Data in the header.
      {le(6, 1) + le(0, 1) + le(24, 1) + le(24, 1) + le(24, 4), 4},          // No data.
      {le(6, 1) + le(0, 1) + le(24, 1) + le(24, 1) + le(24 + 131073, 4), 4},
      {le(6, 1) + le(0, 1) + le(24, 1) + le(200, 1) + le(100, 4), 3},  // Beyond its end.
      {le(0, 1) + le(0, 1) + le(128, 1) + le(0, 1) + le(129, 4), 4},
      {le(2, 1) + le(0, 1) + le(24, 1) + le(0, 1) + le(153, 4), 4},
      {Octets(8, '\0'), 2},
      {Octets(8, '\xFF'), 0},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.header[0]);
    NvmeHost host = admin();
    host.send(wrong.header);
    expect_end(host, kHeaderField, wrong.field);
  }
}

TEST_F(ProtocolTest, WhatAHostStillSendsDoesNotOvertakeTheReasonOfTheEnd) {
  serve();
  NvmeHost host = admin();
  host.send(Octets(100'000, '\xFF'));
  EXPECT_EQ(host.receive().type, 0x03);
  EXPECT_TRUE(host.ends_in_order());
}

TEST_F(ProtocolTest, ATermReqOfTheHostEndsTheConnectionQuietly) {
  serve();
  NvmeHost host = admin();
  host.send(NvmeHost::pdu(0x02, 0, 24, 0, le(1, 2) + Octets(14, '\0')));
  EXPECT_TRUE(host.is_closed());
  expect_service();
}

TEST_F(ProtocolTest, DataThatNobodyAskedForEndTheConnection) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  host.send(NvmeHost::h2c_data(1, 1, 0, Octets(512, 'x'), true));
  expect_end(host, kHeaderField, 8);
}

TEST_F(ProtocolTest, DataInAnotherShapeThanAskedForEndTheConnection) {
  serve();
  struct Case {
    std::uint32_t offset;
    std::size_t size;
    bool last;
    int tag_off;
    unsigned status, field;
  };
  const Case cases[] = {
      {512, 512, true, 0, kOutOfRange, 12},  // Not from the start.
      {0, 1536, true, 0, kOutOfRange, 12},   // More than was asked for.
      {0, 512, true, 0, kHeaderField, 1},    // Not the last.
      {0, 1024, false, 0, kHeaderField, 1},  // The last, and not said so.
      {0, 1024, true, 1, kHeaderField, 10},  // Another's tag.
  };
  NvmeHost keep = admin();
  const std::uint16_t controller = controller_;
  for (const Case& wrong : cases) {
    SCOPED_TRACE(fmt::format("{} {} {}", wrong.offset, wrong.size, wrong.tag_off));
    controller_ = controller;
    EXPECT_TRUE(comes_true([&] { return server_->connections() == 1; }));
    NvmeHost host = io();
    host.send(host.capsule(write_sectors(0, 2), 0, 1024, 0x5A));
    const Pdu r2t = host.receive();
    const auto tag = static_cast<std::uint16_t>(read_le(r2t.all, 10, 2));
    host.send(NvmeHost::h2c_data(host.last_id(), static_cast<std::uint16_t>(tag + wrong.tag_off),
                                 wrong.offset, Octets(wrong.size, 'x'), wrong.last));
    expect_end(host, wrong.status, wrong.field);
  }
}

TEST_F(ProtocolTest, ALengthThatIsNotTheDatasEndsTheConnection) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  host.send(host.capsule(write_sectors(0, 1), 0, 512, 0x5A));
  ASSERT_EQ(host.receive().type, 0x09);
  Octets data = NvmeHost::h2c_data(host.last_id(), host.last_id(), 0, Octets(512, 'x'), true);
  data.replace(16, 4, le(511, 4));
  host.send(data);
  expect_end(host, kHeaderField, 16);
}

TEST_F(ProtocolTest, SglsThatDoNotFitAreRefusedAndTheConnectionGoesOn) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  const Octets sector(512, 'x');
  const auto status = [&](const Octets& capsule) {
    host.send(capsule);
    return host.answer().status;
  };
  const Sqe write = write_sectors(0, 1), read = read_sectors(0, 1);
  EXPECT_EQ(status(host.capsule(write, 0, 512, 0x00, sector)), kSglType);
  EXPECT_EQ(status(host.capsule(write, 513, 0, 0x01, sector)), kSglOffset);
  EXPECT_EQ(status(host.capsule(write, 0xFFFFFFFFFFFFFFFF, 512, 0x01, sector)), kSglOffset);
  EXPECT_EQ(status(host.capsule(write, 1, 512, 0x01, sector)), kSglLength);
  EXPECT_EQ(status(host.capsule(write, 0, 0xFFFFFFFF, 0x01, sector)), kSglLength);
  EXPECT_EQ(status(host.capsule(write, 0, 131073, 0x5A)), kSglLength);
  EXPECT_EQ(status(host.capsule(write, 0, 0, 0x5A)), kSglLength) << "no data at all";
  EXPECT_EQ(status(host.capsule(write, 0, 512, 0x5A, sector)), kInvalidField) << "data twice";
  EXPECT_EQ(status(host.capsule(read, 0, 512, 0x01)), kSglType);
  EXPECT_EQ(status(host.capsule(read, 0, 512, 0x5A, sector)), kInvalidField);
  Sqe prp = read;
  prp.flags = 0x00;
  EXPECT_EQ(status(host.capsule(prp, 0, 512, 0x5A)), kInvalidField) << "PRPs";
  Sqe fused = read;
  fused.flags = 0x41;
  EXPECT_EQ(status(host.capsule(fused, 0, 512, 0x5A)), kInvalidField);
  EXPECT_EQ(host.run(read, 512).status, kGood);
}

TEST_F(ProtocolTest, AnIdInUseIsAConflict) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  host.send(host.capsule(write_sectors(0, 1), 0, 512, 0x5A));
  ASSERT_EQ(host.receive().type, 0x09);
  Sqe again = read_sectors(0, 1);
  again.id = host.last_id();
  EXPECT_EQ(host.run(again, 512).status, kIdConflict);
}

TEST_F(ProtocolTest, MoreCommandsThanTheQueueHasEntriesEndTheConnection) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  for (int n = 0; n < 33; ++n) host.send(host.capsule(write_sectors(0, 1), 0, 512, 0x5A));
  for (int n = 0; n < 32; ++n) ASSERT_EQ(host.receive().type, 0x09);
  expect_end(host, kSequence, 0);
}

TEST_F(ProtocolTest, CommandsBeforeConnectAreOutOfSequence) {
  serve();
  NvmeHost host = this->host();
  ASSERT_EQ(host.greet().type, 0x01);
  EXPECT_EQ(host.run(identify(1), 4096).status, kSequenceError);
  EXPECT_EQ(host.run(security_receive(0x01, 0x0001, 2048), 2048).status, kSequenceError);
  EXPECT_EQ(host.enable(), kSequenceError);
  EXPECT_EQ(host.connect(kNqn).status, kGood);
  EXPECT_EQ(host.connect(kNqn).status, kSequenceError);
}

TEST_F(ProtocolTest, AConnectSaysWhatIsWrongWithIt) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = this->host();
  ASSERT_EQ(host.greet().type, 0x01);
  constexpr std::uint64_t kInData = 0x10000;
  const auto expect = [&](const Answer& answer, int status, std::uint64_t where) {
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(answer.result, where);
  };
  expect(host.connect("nqn.2026-01.internal.keyward:drive:none"), kConnectInvalid, kInData | 256);
  expect(host.connect(""), kConnectInvalid, kInData | 256);
  expect(host.connect(std::string(256, 'n')), kConnectInvalid, kInData | 256);
  expect(host.connect(kNqn, 0, 5), kConnectInvalid, kInData | 16);
  expect(host.connect(kNqn, 1, 0x7777), kConnectInvalid, kInData | 16);
  expect(host.connect(kNqn, 9, controller_), kConnectInvalid, 42);
  expect(host.connect(kNqn, 0, 0xFFFF, 0, 0), kConnectInvalid, 44);
  expect(host.connect(kNqn, 0, 0xFFFF, 0, 32), kConnectInvalid, 44);
  Octets format = host.connect_capsule(kNqn, 0, 0xFFFF);
  format[8 + 40] = 1;
  host.send(format);
  EXPECT_EQ(host.answer().status, kConnectFormat);
  Octets stranger = host.connect_capsule(kNqn, 1, controller_);
  stranger[72] = '\0';  // Another host's id.
  host.send(stranger);
  expect(host.answer(), kConnectInvalid, kInData | 16);
  const NvmeHost taken = io(1);
  EXPECT_EQ(host.connect(kNqn, 1, controller_).status, kSequenceError) << "it is taken";
  EXPECT_EQ(host.connect(kNqn, 2, controller_).status, kGood);
}

TEST_F(ProtocolTest, AnIoQueueWaitsForItsControllerToBeEnabled) {
  serve();
  NvmeHost keep = host();
  ASSERT_EQ(keep.greet().type, 0x01);
  const auto controller = static_cast<std::uint16_t>(keep.connect(kNqn).result);
  NvmeHost host = this->host();
  ASSERT_EQ(host.greet().type, 0x01);
  EXPECT_EQ(host.connect(kNqn, 1, controller).status, kSequenceError);
  EXPECT_EQ(keep.run({.opcode = 0x7F, .cdw11 = 0x14, .cdw12 = 0x00000001}).status, kGood)
      << "entries of 1 byte";
  EXPECT_EQ(keep.run({.opcode = 0x7F, .nsid = 0x04, .cdw11 = 0x1C}).result, 2u) << "CSTS.CFS";
  EXPECT_EQ(host.connect(kNqn, 1, controller).status, kSequenceError);
  EXPECT_EQ(keep.run({.opcode = 0x7F, .cdw11 = 0x14, .cdw12 = 0}).status, kGood);
  EXPECT_EQ(keep.enable(), kGood);
  EXPECT_EQ(host.connect(kNqn, 1, controller).status, kGood);
  EXPECT_EQ(host.enable(), kInvalidOpcode) << "properties are the admin queue's";
}

TEST_F(ProtocolTest, WithTheAdminQueueItsIoQueuesEnd) {
  serve();
  auto keep = std::make_unique<NvmeHost>(admin());
  NvmeHost first = io(1), second = io(2);
  keep->abort();
  EXPECT_TRUE(first.is_closed());
  EXPECT_TRUE(second.is_closed());
  EXPECT_TRUE(comes_true([&] { return target_.controllers() == 0; }));
  expect_service();
}

TEST_F(ProtocolTest, AControllerWhoseKeepAliveStaysAwayEnds) {
  serve();
  NvmeHost keep = admin(200);
  NvmeHost host = io();
  EXPECT_EQ(keep.run({.opcode = 0x18}).status, kGood);
  EXPECT_TRUE(keep.is_closed());
  EXPECT_TRUE(host.is_closed());
  EXPECT_TRUE(comes_true([&] { return target_.controllers() == 0; }));
}

TEST_F(ProtocolTest, AbruptEndsInEveryPlaceLeaveNothingBehind) {
  serve();
  {
    NvmeHost keep = admin();
    for (const std::size_t size : {1u, 8u, 40u, 72u, 300u}) {
      NvmeHost host = this->host();
      ASSERT_EQ(host.greet().type, 0x01);
      host.send(host.connect_capsule(kNqn, 0, 0xFFFF).substr(0, size));
      host.abort();
    }
    NvmeHost host = io();
    host.send(host.capsule(write_sectors(0, 256), 0, 131072, 0x5A));
    ASSERT_EQ(host.receive().type, 0x09);
    host.send(NvmeHost::h2c_data(host.last_id(), host.last_id(), 0, Octets(5000, 'x'), false));
    host.abort();
    // A reader that does not wait for its data.
    NvmeHost reader = io(2);
    for (int n = 0; n < 30; ++n) reader.send(reader.capsule(read_sectors(0, 256), 0, 131072, 0x5A));
    reader.abort();
  }
  EXPECT_TRUE(comes_true([&] { return server_->connections() == 0; }));
  EXPECT_EQ(target_.controllers(), 0u);
  expect_service();
}

TEST_F(ProtocolTest, OneConnectionTooManyIsClosedAndTheOthersGoOn) {
  serve({.port = 0, .connections_max = 3});
  NvmeHost keep = admin();
  NvmeHost first = io(1), second = io(2);
  NvmeHost fourth = host();
  EXPECT_TRUE(fourth.is_closed());
  EXPECT_TRUE(logged().contains("one more was closed")) << "it was its time that ran out";
  EXPECT_EQ(first.run(read_sectors(0, 1), 512).status, kGood);
  second.abort();
  EXPECT_TRUE(comes_true([&] { return server_->connections() == 2; }));
  EXPECT_EQ(io(3).run(read_sectors(0, 1), 512).status, kGood);
}

TEST_F(ProtocolTest, ManyHostsReadAndWriteSideBySide) {
  serve();
  constexpr unsigned kHosts = 16, kRounds = 20;
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < kHosts; ++n) {
    threads.emplace_back([this, n] {
      NvmeHost keep(server_->port());
      EXPECT_EQ(keep.greet().type, 0x01);
      const auto controller = static_cast<std::uint16_t>(keep.connect(kNqn).result);
      EXPECT_EQ(keep.enable(), kGood);
      NvmeHost host(server_->port());
      EXPECT_EQ(host.greet().type, 0x01);
      EXPECT_EQ(host.connect(kNqn, 1, controller).status, kGood);
      for (unsigned round = 0; round < kRounds; ++round) {
        const Octets text(4096, static_cast<char>(n * kRounds + round));
        EXPECT_EQ(host.run_with_r2t(write_sectors(8 * n, 8), text, 1000).status, kGood);
        EXPECT_EQ(host.run(read_sectors(8 * n, 8), 4096).data, text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(comes_true([&] { return target_.controllers() == 0; }));
}

TEST_F(ProtocolTest, StoppingEndsAllConnectionsWhateverTheyAreAt) {
  serve();
  NvmeHost silent = host();
  NvmeHost keep = admin();
  NvmeHost idle = io(1), halfway = io(2);
  halfway.send(halfway.capsule(write_sectors(0, 1), 0, 512, 0x5A).substr(0, 30));
  server_.reset();
  EXPECT_TRUE(silent.is_closed());
  EXPECT_TRUE(keep.is_closed());
  EXPECT_TRUE(idle.is_closed());
  EXPECT_TRUE(halfway.is_closed());
}

// A host's PIN may stand in any part of what goes wrong.
TEST_F(ProtocolTest, NothingOfWhatAHostSentIsLogged) {
  serve();
  const Octets secret = "correct-horse-battery-staple";
  NvmeHost host = admin();
  const Octets packet = secret + Octets(512 - secret.size(), '\0');
  host.run_in_capsule(security_send(0x01, 0x1000, 512), packet);
  host.send(NvmeHost::h2c_data(1, 1, 0, packet, true));
  expect_end(host, kHeaderField, 8);
  NvmeHost other = admin();
  other.send(secret);
  EXPECT_EQ(other.receive().type, 0x03);
  EXPECT_TRUE(comes_true([&] { return logged().contains("broke the protocol"); }));
  EXPECT_FALSE(logged().contains("horse"));
}

// A conversation with bytes changed, added and left out, from a seed.
TEST_F(ProtocolTest, NoDamagedConversationHarmsTheServer) {
  const char* given = std::getenv("KEYWARD_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  SCOPED_TRACE(fmt::format("KEYWARD_SEED={}", seed));
  serve();
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    NvmeHost keep = admin();
    NvmeHost host = this->host();
    Octets talk = NvmeHost::pdu(0x00, 0, 128, 0, Octets(120, '\0')) +
                  host.connect_capsule(kNqn, random() % 2 == 0 ? 1 : 0,
                                       random() % 2 == 0 ? controller_ : std::uint16_t{0xFFFF}) +
                  host.capsule(identify(1), 0, 4096, 0x5A) +
                  host.capsule(write_sectors(0, 1), 0, 512, 0x01, Octets(512, 'x')) +
                  host.capsule(write_sectors(0, 2), 0, 1024, 0x5A) +
                  NvmeHost::h2c_data(host.last_id(), host.last_id(), 0, Octets(1024, 'y'), true) +
                  host.capsule(security_send(0x01, 0x1000, 512), 0, 512, 0x01, Octets(512, 'z')) +
                  host.capsule(security_receive(0x01, 0x1000, 512), 0, 512, 0x5A);
    for (std::uint64_t n = random() % 4; n > 0; --n) {
      const std::size_t at = random() % talk.size();
      switch (random() % 3) {
        case 0:
          talk[at] = static_cast<char>(random());
          break;
        case 1:
          talk.insert(at, 1, static_cast<char>(random()));
          break;
        default:
          talk.erase(at, 1 + random() % 8);
      }
    }
    host.send(talk);
    if (random() % 2 == 0) host.abort();
  }
  EXPECT_TRUE(comes_true([&] { return server_->connections() == 0; }));
  EXPECT_EQ(target_.controllers(), 0u);
  expect_service();
}

}  // namespace
}  // namespace keyward::sed::nvme
