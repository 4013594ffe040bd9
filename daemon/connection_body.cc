#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <cstring>
#include <utility>

#include "api/entry_row.h"
#include "api/error_table.h"
#include "daemon/connection.h"
#include "store/entry_cipher.h"

namespace keyward::daemon {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

// Smaller secrets do not wait for the budget: the number of connections bounds them.
constexpr std::size_t kSmallSecret = 4 * 1024;
constexpr std::size_t kImportChunk = 64 * 1024;
// One transaction, the secret that follows it, and the chunk.
constexpr std::size_t kImportShare =
    EntryImporter::kBatchBytesMax + store::kSecretBytesMax + kImportChunk;

}  // namespace

void Connection::refuse_body(std::string message, unsigned status) {
  write_answer(problem_response({ErrorCode::invalid_argument, std::move(message)}, status));
}

void Connection::begin_body() {
  const std::string_view kind = request_.route->request;
  if (kind == "records") return begin_import();
  if (parser_->chunked())
    return refuse_body("This request needs a Content-Length; only an import may be chunked.", 411);
  const std::uint64_t size = parser_->content_length().value_or(0);
  if (kind.empty()) return size == 0 ? dispatch() : refuse_body("This request takes no body.", 400);
  if (kind != "secret") {
    if (size > shared_.limits.json_bytes_max)
      return refuse_body(fmt::format("The body has {} bytes; JSON may have {}.", size,
                                     shared_.limits.json_bytes_max),
                         413);
    return read_json(static_cast<std::size_t>(size));
  }
  if (!parser_->content_length()) return refuse_body("A secret needs a Content-Length.", 411);
  if (size > store::kSecretBytesMax)
    return refuse_body(fmt::format("The secret has {} bytes; {} (1 MiB) is the most.", size,
                                   store::kSecretBytesMax),
                       413);
  if (size == 0) return refuse_body("The secret is empty. It has 1 byte to 1 MiB.", 400);
  read_secret(static_cast<std::size_t>(size));
}

// RFC 9110, 10.1.1. It is too short not to fit into the socket's buffer.
void Connection::offer_continue() {
  const auto expected = parser_->get().find(http::field::expect);
  if (expected == parser_->get().end() || end_ > begin_) return;
  constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.write_some(asio::buffer(kContinue.data(), kContinue.size()), ignored);
}

void Connection::read_secret(std::size_t size) {
  if (size <= kSmallSecret) return receive_secret();
  acquire(size, [this] { receive_secret(); });
}

void Connection::receive_secret() {
  const auto size = static_cast<std::size_t>(*parser_->content_length());
  Result<SecretBytes> secret = SecretBytes::allocate(size);
  if (!secret) return answer(std::unexpected(std::move(secret.error())));
  request_.secret = std::move(*secret);
  read_exactly(request_.secret->reveal_mutable().data(), size);
}

void Connection::read_json(std::size_t size) {
  request_.body.resize(size);
  if (size > 0) return read_exactly(reinterpret_cast<std::byte*>(request_.body.data()), size);
  // What needs nothing may be asked with nothing.
  request_.body = "{}";
  dispatch();
}

std::size_t Connection::take_unread(std::byte* to, std::size_t size) {
  const std::size_t count = std::min(size, end_ - begin_);
  std::byte* from = input_.reveal_mutable().data() + begin_;
  std::memcpy(to, from, count);
  std::memset(from, 0, count);
  begin_ += count;
  return count;
}

void Connection::read_exactly(std::byte* to, std::size_t size) {
  enter(State::body, shared_.limits.body_timeout);
  offer_continue();
  const std::size_t had = take_unread(to, size);
  const auto done = [this] {
    body_unread_ = false;
    dispatch();
  };
  if (had == size) return done();
  asio::async_read(socket_, asio::buffer(to + had, size - had),
                   [self = shared_from_this(), done](const error_code& error, std::size_t) {
                     if (self->state_ == State::closed) return;
                     if (std::exchange(self->timed_out_, false)) {
                       self->keep_alive_ = false;
                       return self->write_answer(
                           problem_response({ErrorCode::timeout,
                                             "The body did not arrive in time, so the request was "
                                             "given up. Nothing was changed."},
                                            408));
                     }
                     if (error) return self->cut();
                     done();
                   });
}

void Connection::begin_import() {
  if (!parser_->chunked() && !parser_->content_length())
    return refuse_body("An import needs a Content-Length, or comes chunked.", 411);
  Result<Domain> domain = Domain::parse(request_.parameters[0]);
  if (!domain) return answer(std::unexpected(std::move(domain.error())));
  acquire(kImportShare, [this, domain = std::move(*domain)] {
    Result<SecretBytes> chunk = SecretBytes::allocate(kImportChunk);
    Result<SecretBytes> input = SecretBytes::allocate(std::max(kImportChunk, input_.size()));
    if (!chunk) return answer(std::unexpected(std::move(chunk.error())));
    if (!input) return answer(std::unexpected(std::move(input.error())));
    end_ = take_unread(input->reveal_mutable().data(), end_ - begin_);
    begin_ = 0;
    input_ = std::move(*input);
    chunk_ = std::move(*chunk);
    importer_ = std::make_unique<EntryImporter>(shared_.services.keyring, domain, request_.caller);
    offer_continue();
    stream_parser_ = std::make_unique<StreamParser>(std::move(*parser_));
    decode_import();
  });
}

// Fills the chunk as far as the input goes. False when the stream breaks HTTP's rules.
bool Connection::decode_some() {
  while (begin_ < end_ && chunk_filled_ < chunk_->size() && !stream_parser_->is_done()) {
    auto& body = stream_parser_->get().body();
    body.data = chunk_->reveal_mutable().data() + chunk_filled_;
    body.size = chunk_->size() - chunk_filled_;
    body.more = true;
    error_code error;
    const std::size_t used =
        stream_parser_->put(asio::buffer(unread().data(), unread().size()), error);
    begin_ += used;
    const std::size_t filled = chunk_->size() - body.size;
    const bool stuck = used == 0 && filled == chunk_filled_;
    chunk_filled_ = filled;
    if (error == http::error::need_more || (!error && stuck)) return end_ - begin_ < input_.size();
    if (error && error != http::error::need_buffer) return false;
  }
  return true;
}

void Connection::decode_import() {
  if (!decode_some())
    return end_import(fail(ErrorCode::invalid_argument, "The chunks of the body are malformed."));
  if (chunk_filled_ > 0) return feed_import();
  if (stream_parser_->is_done()) {
    body_unread_ = false;
    return feed_import();
  }
  if (begin_ > 0) {
    const std::size_t rest = end_ - begin_;
    std::memmove(input_.reveal_mutable().data(), unread().data(), rest);
    begin_ = 0;
    end_ = rest;
  }
  enter(State::body, shared_.limits.body_timeout);
  read_input(&Connection::decode_import);
}

// With no bytes: the end.
void Connection::feed_import() {
  enter(State::handling, {});
  shared_.writers->run([self = shared_from_this()] {
    const ByteView bytes = self->chunk_->reveal().first(self->chunk_filled_);
    Result<void> outcome = bytes.empty() ? self->importer_->finish() : self->importer_->feed(bytes);
    asio::post(self->loop_, [self, ended = bytes.empty(), outcome = std::move(outcome)] {
      if (self->state_ == State::closed) return;
      self->chunk_filled_ = 0;
      if (ended || !outcome || self->finishing_) return self->end_import(outcome);
      self->decode_import();
    });
  });
}

void Connection::end_import(const Result<void>& outcome) {
  api::ImportResult result{.committed = importer_->committed(),
                           .bytes = importer_->committed_bytes(),
                           .code = {},
                           .error = {}};
  unsigned status = 200;
  if (outcome && body_unread_) {
    result.code = error_code_name(ErrorCode::cancelled);
    result.error = "The daemon stops. What was committed stays; send the rest again.";
    status = api::http_status(ErrorCode::cancelled);
  }
  if (!outcome) {
    result.code = error_code_name(outcome.error().code);
    result.error = outcome.error().message;
    status = api::http_status(outcome.error().code);
  }
  importer_.reset();
  chunk_.reset();
  stream_parser_.reset();
  // The large buffer goes, unless the next request lies in it already.
  if (begin_ == end_)
    if (Result<SecretBytes> input = SecretBytes::allocate(kInputBytes)) {
      input_ = std::move(*input);
      begin_ = end_ = 0;
    }
  answer(json_response(result, status));
}

}  // namespace keyward::daemon
