#include "sed/tcg/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "sed/tcg/channel.h"
#include "sed/tcg/method_answer.h"
#include "sed/tcg/method_status.h"

namespace keyward::sed::tcg {
namespace {

constexpr std::size_t kRandomBytesMax = 32;  // Opal 4.2.9.1.

// StartSession as Core 5.2.3.1 has it. Enterprise drives need not take a PIN in it, and some take
// no optional argument at all (a Micron 5300 passes over the whole request; DTA sedutil issue 362).
void write_start(const Channel& channel, std::uint32_t host_number, const Uid& provider,
                 const Session::Authority& authority, TokenWriter& out) {
  constexpr std::uint64_t kHostChallenge = 0, kHostSigningAuthority = 3;
  Words::begin(kSessionManager, method::kStartSession, out);
  out.number(host_number).uid(provider).number(1);
  if (channel.dialect() == Dialect::opal && authority.uid != authority::kAnybody) {
    if (authority.pin != nullptr) {
      out.control(Control::start_name).number(kHostChallenge).secret(*authority.pin);
      out.control(Control::end_name);
    }
    out.control(Control::start_name).number(kHostSigningAuthority).uid(authority.uid);
    out.control(Control::end_name);
  }
  Words::end(out);
}

// The TPer's session number in a SyncSession (Core 5.2.3.2).
Result<std::uint32_t> parse_sync(const MethodAnswer& answer, std::uint32_t host_number) {
  const List& results = answer.results;
  if (answer.called != method::kSyncSession || results.size() < 2 || !results[0].as_number() ||
      !results[1].as_number() || *results[0].as_number() != host_number ||
      *results[1].as_number() > std::numeric_limits<std::uint32_t>::max())
    return fail(ErrorCode::protocol, "the drive answers StartSession with no SyncSession of ours");
  return static_cast<std::uint32_t>(*results[1].as_number());
}

bool sessions_are_taken(const Error& error) {
  return error.origin == status_name(status::kSpBusy) ||
         error.origin == status_name(status::kNoSessionsAvailable);
}

// Tables may have a mandatory write granularity (Core 5.3.2.2.14). Pieces end at multiples of 4096,
// or what fits in their place, so that none of ours is cut by it.
std::size_t piece_bytes(std::uint64_t offset, std::size_t size, std::size_t bytes_max) {
  if (size <= bytes_max) return size;
  const std::size_t alignment = std::bit_floor(std::clamp<std::size_t>(bytes_max, 1, 4096));
  return bytes_max - static_cast<std::size_t>((offset + bytes_max) % alignment);
}

bool is_close_session(const Packet& packet) {
  const Result<MethodAnswer> said = parse_method_answer(packet.tokens);
  return said && said->called == method::kCloseSession;
}

bool only_reads(const Uid& method) {
  return method == method::kGet || method == method::kEnterpriseGet || method == method::kNext ||
         method == method::kGetAcl;
}

std::unexpected<Error> ended_by_drive(std::string_view what) {
  return fail(ErrorCode::conflict,
              fmt::format("{}: the drive has ended the session, after a reset or a time limit; "
                          "look at its state, and begin anew",
                          what));
}

}  // namespace

Session::Session(Channel& channel, SessionNumbers numbers, Mode mode)
    : channel_(&channel),
      numbers_(numbers),
      mode_(mode),
      answer_bytes_max_(channel.answer_bytes_max()) {}

Session::Session(Session&& other) noexcept
    : channel_(std::exchange(other.channel_, nullptr)),
      numbers_(other.numbers_),
      mode_(other.mode_),
      answer_bytes_max_(other.answer_bytes_max_),
      reverted_(other.reverted_) {}

Session::~Session() {
  // A channel that hangs ends its sessions when it is cleared.
  if (channel_ != nullptr && !channel_->hangs()) static_cast<void>(close());
}

// Whoever has taken the sessions is on our ComID, and we alone speak to the drive: so it is what an
// earlier process of ours has left open. No PIN was looked at.
Result<Session> Session::start(Channel& channel, const Uid& provider, const Authority& authority,
                               Mode mode) {
  Result<Session> session = open(channel, provider, authority, mode);
  if (session || !sessions_are_taken(session.error()) || !channel.reset_stack()) return session;
  return open(channel, provider, authority, mode);
}

Result<Session> Session::open(Channel& channel, const Uid& provider, const Authority& authority,
                              Mode mode) {
  const std::string what =
      fmt::format("StartSession with {} as {}", name_of(provider), name_of(authority.uid));
  const std::uint32_t host_number = channel.next_host_session();
  TokenWriter request;
  write_start(channel, host_number, provider, authority, request);
  Result<Packet> packet = channel.exchange({}, request);
  if (!packet) return std::unexpected(with_context(std::move(packet).error(), what));
  Result<MethodAnswer> answer = parse_method_answer(packet->tokens);
  if (answer && answer->status != status::kSuccess)
    return std::unexpected(method_error(answer->status, what));
  Result<std::uint32_t> tper_number =
      answer ? parse_sync(*answer, host_number) : std::unexpected(answer.error());
  if (!tper_number) {
    channel.note_hang();  // A session may be open that we cannot name.
    return std::unexpected(with_context(std::move(tper_number).error(), what));
  }
  Session session(channel, {*tper_number, host_number}, mode);
  if (channel.dialect() == Dialect::enterprise && authority.uid != authority::kAnybody)
    TRY(session.authenticate(authority));
  return session;
}

Result<void> Session::must_be_open() const {
  if (channel_ != nullptr) return {};
  return fail(ErrorCode::conflict, "the session with the drive has ended");
}

Result<void> Session::may_change() const {
  if (mode_ == Mode::write) return must_be_open();
  return fail(ErrorCode::conflict, "the session with the drive is for reading");
}

// Where the drive stands is not known then.
std::unexpected<Error> Session::malformed(Error error) {
  channel_->note_hang();
  channel_ = nullptr;
  return std::unexpected(std::move(error));
}

Result<Bytes> Session::exchange(const TokenWriter& request, std::string_view what,
                                std::size_t answer_bytes) {
  TRY(must_be_open());
  Result<Packet> answer = channel_->exchange(numbers_, request, answer_bytes);
  if (!answer) {
    if (channel_->hangs()) channel_ = nullptr;
    return std::unexpected(with_context(std::move(answer).error(), what));
  }
  if (answer->session == numbers_) return std::move(answer->tokens);
  if (!is_close_session(*answer))
    return malformed(
        {ErrorCode::protocol, fmt::format("{}: the drive answers outside of the session", what)});
  channel_ = nullptr;
  return ended_by_drive(what);
}

Result<List> Session::call(const TokenWriter& request, std::string_view what,
                           std::size_t answer_bytes) {
  const Bytes tokens = TRY(exchange(request, what, answer_bytes));
  if (TokenReader reader(tokens); reader.take(Control::end_of_session)) {
    channel_ = nullptr;
    return ended_by_drive(what);
  }
  Result<MethodAnswer> answer = parse_method_answer(tokens);
  if (!answer) return malformed(with_context(std::move(answer).error(), what));
  if (answer->status != status::kSuccess)
    return std::unexpected(method_error(answer->status, what));
  return std::move(answer->results);
}

Result<Row> Session::get(const Uid& object, Columns columns) {
  TRY(must_be_open());
  const Words words(channel_->dialect());
  TokenWriter request;
  TRY(words.get(object, columns, request));
  return words.row(object, TRY(call(request, fmt::format("Get of {}", name_of(object)))));
}

Result<void> Session::set(const Uid& object, const Row& cells) {
  TRY(may_change());
  TokenWriter request;
  TRY(Words(channel_->dialect()).set(object, cells, request));
  TRY(call(request, fmt::format("Set of {}", name_of(object))));
  return {};
}

Result<void> Session::set_pin(const Uid& credential, const SecretBytes& pin) {
  TRY(may_change());
  TokenWriter request;
  TRY(Words(channel_->dialect()).set_pin(credential, pin, request));
  TRY(call(request, fmt::format("Set of {}", name_of(credential))));
  return {};
}

Result<Bytes> Session::read_table(const Uid& table, std::uint64_t offset, std::size_t size) {
  TRY(must_be_open());
  const std::string what = fmt::format("Get of {}", name_of(table));
  Bytes content;
  content.reserve(size);
  while (content.size() < size) {
    const std::size_t piece = std::min(size - content.size(), answer_bytes_max_);
    TokenWriter request;
    Words(channel_->dialect()).get_bytes(table, offset + content.size(), piece, request);
    const List results = TRY(call(request, what, piece + kCallBytesMax));
    const Bytes* got = results.empty() ? nullptr : results[0].as_bytes();
    if (got == nullptr || got->size() != piece)
      return fail(ErrorCode::protocol,
                  fmt::format("{}: the drive gives other bytes than were asked for", what));
    content.insert(content.end(), got->begin(), got->end());
  }
  return content;
}

Result<void> Session::write_table(const Uid& table, std::uint64_t offset, ByteView content) {
  TRY(may_change());
  const std::string what = fmt::format("Set of {}", name_of(table));
  if (content.size() > channel_->request_bytes_max() && !channel_->properties_are_known()) {
    Result<void> told = channel_->negotiate();
    if (!told && channel_->hangs()) channel_ = nullptr;
    TRY(std::move(told));
  }
  while (!content.empty()) {
    const ByteView piece =
        content.first(piece_bytes(offset, content.size(), channel_->request_bytes_max()));
    TokenWriter request;
    Words(channel_->dialect()).set_bytes(table, offset, piece, request);
    TRY(call(request, what));
    offset += piece.size();
    content = content.subspan(piece.size());
  }
  return {};
}

Result<List> Session::invoke(const Uid& object, const Uid& method, const List& arguments) {
  const std::string what =
      fmt::format("method {:08X}:{:08X} of {}", table_of(method), row_of(method), name_of(object));
  TRY(only_reads(method) ? must_be_open() : may_change());
  TokenWriter request;
  Words::begin(object, method, request);
  for (const Value& argument : arguments) request.value(argument);
  Words::end(request);
  List results = TRY(call(request, what));
  if (method == method::kRevertSp || (method == method::kRevert && object == sp::kAdmin)) {
    channel_ = nullptr;
    reverted_ = true;
  }
  return results;
}

Result<Bytes> Session::random(std::size_t size) {
  if (size > kRandomBytesMax)
    return fail(ErrorCode::invalid_argument, "Random: a drive gives 32 bytes at most");
  TokenWriter request;
  Words::begin(kThisSp, method::kRandom, request);
  request.number(size);
  Words::end(request);
  List results = TRY(call(request, "Random"));
  Bytes* got = results.empty() ? nullptr : std::get_if<Bytes>(&results[0].data);
  if (got == nullptr || got->size() != size)
    return fail(ErrorCode::protocol, "Random: the drive gives another number of bytes");
  return std::move(*got);
}

Result<void> Session::authenticate(const Authority& authority) {
  TRY(must_be_open());
  const std::string what = fmt::format("Authenticate as {}", name_of(authority.uid));
  if (channel_->quirks().no_authenticate && channel_->dialect() == Dialect::opal)
    return fail(ErrorCode::unsupported, what + ": this model takes PINs in StartSession alone");
  TokenWriter request;
  Words(channel_->dialect()).authenticate(authority.uid, authority.pin, request);
  const List results = TRY(call(request, what));
  const std::uint64_t* accepted = results.empty() ? nullptr : results[0].as_number();
  if (accepted == nullptr || *accepted > 1)
    return fail(ErrorCode::protocol, what + ": the drive says neither yes nor no");
  if (*accepted == 0) return std::unexpected(method_error(status::kNotAuthorized, what));
  return {};
}

Result<std::uint64_t> Session::transaction_step(Control token, std::uint64_t status,
                                                std::string_view what) {
  TRY(may_change());
  if (channel_->dialect() == Dialect::enterprise)
    return fail(ErrorCode::unsupported,
                fmt::format("{}: Enterprise drives have no transactions", what));
  TokenWriter request;
  request.control(token).number(status);
  const Bytes tokens = TRY(exchange(request, what));
  TokenReader reader(tokens);
  const bool same = reader.take(token);
  const Result<Value> answered = reader.value();
  if (!same || !answered || answered->as_number() == nullptr || !reader.at_end())
    return malformed({ErrorCode::protocol,
                      fmt::format("{}: the drive does not answer with the same token", what)});
  return *answered->as_number();
}

Result<void> Session::begin_transaction() {
  const std::string_view what = "the start of a transaction";
  const std::uint64_t status = TRY(transaction_step(Control::start_transaction, 0, what));
  if (status != status::kSuccess) return std::unexpected(method_error(status, what));
  return {};
}

Result<void> Session::commit() {
  const std::string_view what = "the commit of a transaction";
  if (TRY(transaction_step(Control::end_transaction, 0, what)) == 0) return {};
  return std::unexpected(method_error(status::kTransactionFailure, what));
}

Result<void> Session::abort() {
  TRY(transaction_step(Control::end_transaction, 1, "the abort of a transaction"));
  return {};
}

Result<void> Session::close() {
  if (std::exchange(reverted_, false)) return {};
  TRY(must_be_open());
  TokenWriter request;
  request.control(Control::end_of_session);
  const Bytes tokens = TRY(exchange(request, "EndOfSession"));
  TokenReader reader(tokens);
  if (!reader.take(Control::end_of_session) || !reader.at_end())
    return malformed({ErrorCode::protocol, "EndOfSession: the drive answers with something else"});
  channel_ = nullptr;
  return {};
}

}  // namespace keyward::sed::tcg
