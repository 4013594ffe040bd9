#include "hsm/pkcs11/helper/server.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/secret_bytes.h"
#include "base/text.h"
#include "hsm/pkcs11/cryptoki_error.h"
#include "hsm/pkcs11/helper/sandbox.h"

namespace keyward::hsm::pkcs11 {
namespace {

std::unexpected<Error> bad_request() {
  return fail(ErrorCode::protocol,
              "keyward-p11: a request that is not of this version; restart "
              "keywardd after an upgrade");
}

bool is_well_formed(const HelperMessage& request) {
  return request.iv_size <= request.iv.size() && request.aad_size <= request.aad.size() &&
         request.data_size <= request.data.size();
}

std::string_view data_text(const HelperMessage& request) {
  return {reinterpret_cast<const char*>(request.data.data()), request.data_size};
}

void write_error(const Error& error, HelperMessage& reply) {
  reply.status = 1 + static_cast<std::uint32_t>(error.code);
  reply.native = error.native;
  std::ranges::copy(error.origin.substr(0, reply.origin.size() - 1), reply.origin.begin());
  const ByteView message =
      as_bytes(error.message).first(std::min(error.message.size(), reply.data.size()));
  std::ranges::copy(message, reply.data.begin());
  reply.data_size = static_cast<std::uint32_t>(message.size());
}

// One message in locked memory.
class LockedMessage final {
 public:
  static Result<LockedMessage> make() {
    return LockedMessage(TRY(SecretBytes::allocate(sizeof(HelperMessage))));
  }
  HelperMessage& get() { return *message_; }
  void wipe() { ::explicit_bzero(message_, sizeof(HelperMessage)); }

 private:
  explicit LockedMessage(SecretBytes bytes)
      : bytes_(std::move(bytes)), message_(new (bytes_.reveal_mutable().data()) HelperMessage{}) {}

  SecretBytes bytes_;
  HelperMessage* message_;
};

// False at the end of the socket.
Result<bool> receive(int socket, HelperMessage& request) {
  ssize_t size = 0;
  do {
    size = ::recv(socket, &request, sizeof(request), MSG_TRUNC);
  } while (size < 0 && errno == EINTR);
  if (size == 0 || (size < 0 && errno == ECONNRESET)) return false;
  if (size != static_cast<ssize_t>(sizeof(request))) return bad_request();
  return true;
}

Result<void> send_reply(int socket, const HelperMessage& reply) {
  ssize_t size = 0;
  do {
    size = ::send(socket, &reply, sizeof(reply), MSG_NOSIGNAL);
  } while (size < 0 && errno == EINTR);
  if (size == static_cast<ssize_t>(sizeof(reply))) return {};
  return fail(ErrorCode::io, "send: the custodian does not listen any more", "send");
}

}  // namespace

void Server::answer(HelperMessage& request, HelperMessage& reply) {
  reply.seq = request.seq;
  reply.op = request.op;
  const Result<void> done =
      is_well_formed(request) ? run(request, reply) : Result<void>(bad_request());
  if (!done) write_error(done.error(), reply);
}

Result<void> Server::run(HelperMessage& request, HelperMessage& reply) {
  if (request.op == HelperOp::hello) return hello(request, reply);
  if (keys_ == nullptr) return bad_request();
  Result<void> done = run_in_session(request, reply);
  if (done || !is_session_error(done.error().native)) return done;
  // What makes an object is repeated only when it surely had no effect.
  if (request.op == HelperOp::generate && !had_no_effect(done.error().native)) return done;
  if (!token_->reopen_session()) return done;
  return run_in_session(request, reply);
}

Result<void> Server::run_in_session(HelperMessage& request, HelperMessage& reply) {
  switch (request.op) {
    case HelperOp::generate:
      return keys_->generate(request.id, data_text(request), request.mechanism);
    case HelperOp::wrap:
    case HelperOp::unwrap:
      return wrap_or_unwrap(request, reply);
    case HelperOp::list:
      return list(request, reply);
    case HelperOp::destroy:
      return keys_->destroy(request.id, data_text(request));
    case HelperOp::confirm:
      return keys_->relabel(request.id, data_text(request));
    case HelperOp::random:
      return random(request, reply);
    case HelperOp::self_test:
      return keys_->self_test(request.mechanism);
    case HelperOp::hello:
      break;
  }
  return bad_request();
}

Result<void> Server::hello(HelperMessage& request, HelperMessage& reply) {
  if (token_ != nullptr || request.data_size != sizeof(HelloRequest)) return bad_request();
  const auto& hello = *reinterpret_cast<const HelloRequest*>(request.data.data());
  TRY(forbid_system_calls(hello.allow_network ? Network::allowed : Network::forbidden));
  token_ = TRY(Token::open(hello));
  auto keys = std::make_unique<WrappingKeys>(*token_);
  reply.mechanism = TRY(keys->choose_mechanism(request.mechanism));
  keys_ = std::move(keys);
  const HelloReply description = token_->describe();
  std::memcpy(reply.data.data(), &description, sizeof(description));
  reply.data_size = sizeof(description);
  return {};
}

Result<void> Server::wrap_or_unwrap(HelperMessage& request, HelperMessage& reply) {
  reply.iv = request.iv;
  reply.iv_size = request.iv_size;
  const WrapParameters how{request.id,
                           request.mechanism,
                           {reply.iv.data(), reply.iv_size},
                           {request.aad.data(), request.aad_size}};
  const ByteView in(request.data.data(), request.data_size);
  const std::size_t size = request.op == HelperOp::wrap ? TRY(keys_->wrap(how, in, reply.data))
                                                        : TRY(keys_->unwrap(how, in, reply.data));
  reply.data_size = static_cast<std::uint32_t>(size);
  return {};
}

Result<void> Server::list(const HelperMessage& request, HelperMessage& reply) {
  const std::vector<ListedObject> listed = TRY(keys_->list(request.first, kListedPerMessage));
  reply.data_size = static_cast<std::uint32_t>(listed.size() * sizeof(ListedObject));
  if (!listed.empty()) std::memcpy(reply.data.data(), listed.data(), reply.data_size);
  return {};
}

Result<void> Server::random(const HelperMessage& request, HelperMessage& reply) {
  TRY(keys_->random({reply.data.data(), request.data_size}));
  reply.data_size = request.data_size;
  return {};
}

Result<void> serve(int socket) {
  LockedMessage request = TRY(LockedMessage::make());
  LockedMessage reply = TRY(LockedMessage::make());
  Server server;
  while (TRY(receive(socket, request.get()))) {
    server.answer(request.get(), reply.get());
    request.wipe();
    const Result<void> sent = send_reply(socket, reply.get());
    reply.wipe();
    TRY(sent);
  }
  return {};
}

}  // namespace keyward::hsm::pkcs11
