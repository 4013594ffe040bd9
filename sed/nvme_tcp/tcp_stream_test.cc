#include "sed/nvme_tcp/tcp_stream.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

namespace keyward::sed::nvme {
namespace {

using namespace std::chrono_literals;

// Both ends of a connection over loopback.
class TcpStreamTest : public ::testing::Test {
 protected:
  TcpStreamTest() {
    const Descriptor listener(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    auto* address = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(listener.get(), address, size), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), address, &size), 0);
    peer_ = Descriptor(::socket(AF_INET, SOCK_STREAM, 0));
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(peer_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    EXPECT_EQ(::connect(peer_.get(), address, size), 0);
    stream_.emplace(Descriptor(::accept(listener.get(), nullptr, nullptr)));
  }

  void peer_sends(std::size_t count) {
    const std::string bytes(count, 'x');
    EXPECT_EQ(::send(peer_.get(), bytes.data(), count, MSG_NOSIGNAL), static_cast<ssize_t>(count));
  }
  ssize_t peer_receives() {
    char byte = 0;
    return ::recv(peer_.get(), &byte, 1, 0);
  }

  Descriptor peer_;
  std::optional<TcpStream> stream_;
  Bytes buffer_ = Bytes(100);
};

TEST_F(TcpStreamTest, ALimitIsForTheWholeBuffer) {
  peer_sends(99);
  EXPECT_EQ(stream_->read(buffer_, 50ms), TcpStream::End::timed_out);
  peer_sends(100);
  EXPECT_EQ(stream_->read(buffer_, 50ms), TcpStream::End::none);
}

TEST_F(TcpStreamTest, AnEndInTheMiddleIsAnEnd) {
  peer_sends(50);
  peer_ = Descriptor();
  EXPECT_EQ(stream_->read(buffer_, std::nullopt), TcpStream::End::closed);
}

TEST_F(TcpStreamTest, AnotherThreadEndsAReadAndAWriteThatWait) {
  std::thread other([this] { stream_->shut_down(); });
  EXPECT_EQ(stream_->read(buffer_, std::nullopt), TcpStream::End::closed);
  other.join();
  EXPECT_EQ(stream_->write(buffer_), TcpStream::End::closed);
}

// Closing at once, with unread bytes, would be a reset.
TEST_F(TcpStreamTest, AFinishedStreamEndsInOrderWhateverThePeerHasSent) {
  peer_sends(10'000);
  ::shutdown(peer_.get(), SHUT_WR);
  stream_->finish();
  stream_.reset();
  EXPECT_EQ(peer_receives(), 0);
}

TEST_F(TcpStreamTest, AStreamIsFinishedThoughThePeerGoesOn) {
  peer_sends(10'000);
  const auto begin = std::chrono::steady_clock::now();
  stream_->finish();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_EQ(peer_receives(), 0);
}

}  // namespace
}  // namespace keyward::sed::nvme
