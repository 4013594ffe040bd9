#include "sed/emulator/streams.h"

#include "sed/emulator/methods.h"

namespace keyward::sed::emulator {
namespace {

using End = StreamOutcome::End;

// MaxMethods of the emulated TPers.
constexpr int kMethodsMax = 1;

void append_status(Status status, Bytes& out) {
  append_control(kEndOfData, out);
  append_tokens(list({number(static_cast<std::uint64_t>(status)), number(0), number(0)}), out);
}

// After the Call token. An id that is no UID becomes 0, which no association has.
std::optional<Call> parse_call(TokenReader& reader) {
  const std::optional<Value> invoking = reader.value();
  const std::optional<Value> method = invoking ? reader.value() : std::nullopt;
  std::optional<Value> parameters = method ? reader.value() : std::nullopt;
  if (!parameters || !parameters->is_list() || !reader.take(kEndOfData)) return std::nullopt;
  const std::optional<Value> status = reader.value();
  if (!status || *status != list({number(0), number(0), number(0)})) return std::nullopt;
  return Call{invoking->uid().value_or(0), method->uid().value_or(0), std::move(parameters->items)};
}

class SessionStream final {
 public:
  SessionStream(Surroundings& drive, Session& session, ByteView data)
      : drive_(drive), session_(session), reader_(data) {}

  StreamOutcome run() {
    while (outcome_.end == End::open && !reader_.at_end()) step();
    return std::move(outcome_);
  }

 private:
  void step() {
    if (reader_.take(kCall)) return call();
    if (reader_.take(kStartTransaction)) return start_transaction();
    if (reader_.take(kEndTransaction)) return end_transaction();
    if (reader_.take(kEndOfSession)) {
      append_control(kEndOfSession, outcome_.answer);
      outcome_.end = reader_.at_end() ? End::closed : End::broken;
      return;
    }
    outcome_.end = End::broken;
  }

  void call() {
    const std::optional<Call> call = parse_call(reader_);
    if (!call || ++methods_ > kMethodsMax) {
      outcome_.end = End::broken;
      return;
    }
    MethodResult result = Methods(drive_, session_).run(*call);
    if (result.power_lost) outcome_.end = End::power_lost;
    if (result.ends_session) outcome_.end = End::all_end;
    Bytes answer = answer_of(result);
    if (outcome_.answer.size() + answer.size() > drive_.response_bytes_max)
      answer = answer_of({.status = Status::response_overflow});
    outcome_.answer.insert(outcome_.answer.end(), answer.begin(), answer.end());
  }

  static Bytes answer_of(const MethodResult& result) {
    Bytes answer;
    append_tokens(list(result.status == Status::success ? result.results : std::vector<Value>{}),
                  answer);
    append_status(result.status, answer);
    return answer;
  }

  void start_transaction() {
    const std::optional<Value> status = reader_.value();
    if (!status || !status->is_number() || session_.transaction) {
      outcome_.end = End::broken;
      return;
    }
    session_.transaction = drive_.state;
    append_control(kStartTransaction, outcome_.answer);
    append_tokens(number(0), outcome_.answer);
  }

  void end_transaction() {
    const std::optional<Value> status = reader_.value();
    if (!status || !status->is_number() || !session_.transaction) {
      outcome_.end = End::broken;
      return;
    }
    if (status->number == 0) commit();
    session_.transaction.reset();
    append_control(kEndTransaction, outcome_.answer);
    append_tokens(number(status->number == 0 ? 0 : 1), outcome_.answer);
  }

  // Another session may have changed the other SP meanwhile.
  void commit() {
    drive_.state.sp(session_.sp) = std::move(session_.transaction->sp(session_.sp));
    drive_.state.table_writes = std::move(session_.transaction->table_writes);
    drive_.dirty = true;
  }

  Surroundings& drive_;
  Session& session_;
  TokenReader reader_;
  StreamOutcome outcome_;
  int methods_ = 0;
};

}  // namespace

StreamOutcome run_stream(Surroundings& drive, Session& session, ByteView data) {
  return SessionStream(drive, session, data).run();
}

std::optional<Call> parse_only_call(ByteView data) {
  TokenReader reader(data);
  if (!reader.take(kCall)) return std::nullopt;
  std::optional<Call> call = parse_call(reader);
  if (!reader.at_end()) return std::nullopt;
  return call;
}

Bytes build_call(const Call& call, Status status) {
  Bytes out;
  append_control(kCall, out);
  append_tokens(uid_value(call.invoking), out);
  append_tokens(uid_value(call.method), out);
  append_tokens(list(call.parameters), out);
  append_status(status, out);
  return out;
}

Bytes close_session_call(const Session& session) {
  return build_call({uid::kSessionManager,
                     method::kCloseSession,
                     {number(session.host_number), number(session.tper_number)}},
                    Status::success);
}

}  // namespace keyward::sed::emulator
