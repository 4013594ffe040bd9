#include "sed/emulator/session_manager.h"

#include <algorithm>
#include <limits>

#include "sed/emulator/arguments.h"
#include "sed/emulator/authentication.h"
#include "sed/emulator/streams.h"

namespace keyward::sed::emulator {
namespace {

// Core 5.2.3.1.
constexpr std::string_view kStartSessionNames[] = {
    "HostChallenge",        "HostExchangeAuthority", "HostExchangeCert",
    "HostSigningAuthority", "HostSigningCert",       "SessionTimeout",
    "TransTimeout",         "InitialCredit",         "SignedHash"};
// Those below are kept for TCG's special sessions (Core 3.3.7.1.1), and Linux refuses them.
constexpr std::uint32_t kFirstSessionNumber = 4096;
constexpr std::size_t kHostChallenge = 0, kHostSigningAuthority = 3, kSessionTimeout = 5;

SessionManager::Answer control_answer(Bytes data) {
  return {.packet = SessionPacket{0, 0, std::move(data)}};
}

// Only what a password needs; the rest belongs to secure messaging, which these TPers lack.
bool only_known_options(const Arguments& arguments) {
  for (std::size_t n = 0; n < std::size(kStartSessionNames); ++n)
    if (arguments.optional(n) != nullptr && n != kHostChallenge && n != kHostSigningAuthority &&
        n != kSessionTimeout)
      return false;
  return true;
}

}  // namespace

SessionManager::Answer SessionManager::handle(ComId& com_id, const ParsedComPacket& parsed) {
  using Outcome = ParsedComPacket::Outcome;
  if (parsed.outcome == Outcome::discard) return {};
  const SessionPacket& packet = parsed.packet;
  if (packet.tper_session == 0 && packet.host_session == 0) return control(com_id, packet);
  Session* session = find(com_id, packet);
  if (session == nullptr) return {};
  session->last_used = clock_.monotonic();
  if (parsed.outcome == Outcome::break_session) {
    Answer answer = break_off(*session);
    sessions_.erase(packet.tper_session);
    return answer;
  }
  return regular(*session, packet);
}

Session* SessionManager::find(const ComId& com_id, const SessionPacket& packet) {
  const auto found = sessions_.find(packet.tper_session);
  if (found == sessions_.end() || found->second.host_number != packet.host_session ||
      found->second.com_id != com_id.number())
    return nullptr;
  return &found->second;
}

SessionManager::Answer SessionManager::break_off(const Session& session) {
  return control_answer(close_session_call(session));
}

SessionManager::Answer SessionManager::regular(Session& session, const SessionPacket& packet) {
  using End = StreamOutcome::End;
  drive_.response_bytes_max = session.response_bytes_max;
  StreamOutcome outcome = run_stream(drive_, session, packet.data);
  Answer answer{
      .packet = SessionPacket{session.tper_number, session.host_number, std::move(outcome.answer)},
      .power_lost = outcome.end == End::power_lost};
  if (outcome.end == End::broken) answer = break_off(session);
  if (outcome.end == End::all_end) {
    end_all();
  } else if (outcome.end != End::open) {
    sessions_.erase(packet.tper_session);
  }
  // Sessions of a Locking SP that is no longer active cannot go on.
  if (!drive_.state.locking_is_active())
    std::erase_if(sessions_,
                  [&](const auto& entry) { return entry.second.sp == drive_.state.locking.uid; });
  if (answer.packet->data.empty()) answer.packet.reset();
  return answer;
}

// What is not well-formed on the control session is passed over (Core 3.3.7.1.5).
SessionManager::Answer SessionManager::control(ComId& com_id, const SessionPacket& packet) {
  const std::optional<Call> call = parse_only_call(packet.data);
  if (!call || call->invoking != uid::kSessionManager) return {};
  if (call->method == method::kProperties) return properties(com_id, *call);
  if (call->method == method::kStartSession) return start_session(com_id, *call);
  return {};
}

SessionManager::Answer SessionManager::properties(ComId& com_id, const Call& call) {
  auto parameters = properties_method(call.parameters, drive_.options, com_id.host());
  const Status status = parameters ? Status::success : Status::invalid_parameter;
  Bytes data = build_call({uid::kSessionManager, method::kProperties,
                           std::move(parameters).value_or(std::vector<Value>{})},
                          status);
  if (drive_.faults.short_properties) data.resize(data.size() / 2);
  return control_answer(std::move(data));
}

SessionManager::Answer SessionManager::start_session(ComId& com_id, const Call& call) {
  Session session{.com_id = com_id.number()};
  const Status status = open(session, call);
  if (drive_.cut_halfway) return {.power_lost = drive_.dirty};
  if (status == Status::success) {
    last_number_ = std::max(last_number_ + 1, kFirstSessionNumber);
    session.tper_number = last_number_;
    session.last_used = clock_.monotonic();
    session.response_bytes_max = drive_.response_bytes_max;
    sessions_[session.tper_number] = session;
  }
  return control_answer(build_call({uid::kSessionManager,
                                    method::kSyncSession,
                                    {number(session.host_number), number(session.tper_number)}},
                                   status));
}

Status SessionManager::open(Session& session, const Call& call) {
  const auto arguments =
      Arguments::parse(call.parameters, 3, drive_.options.family, kStartSessionNames);
  if (!arguments || !only_known_options(*arguments)) return Status::invalid_parameter;
  const Value& host_number = arguments->required(0);
  const auto sp = arguments->required(1).uid();
  const auto write = arguments->required(2).boolean();
  if (!host_number.is_number() || host_number.number > std::numeric_limits<std::uint32_t>::max() ||
      !sp || !write)
    return Status::invalid_parameter;
  session.host_number = static_cast<std::uint32_t>(host_number.number);
  session.sp = *sp;
  session.write = *write;
  const Value* timeout = arguments->optional(kSessionTimeout);
  if (timeout != nullptr && (!timeout->is_number() || timeout->number > kMaxSessionTimeoutMs))
    return Status::invalid_parameter;
  if (timeout != nullptr) session.timeout = std::chrono::milliseconds(timeout->number);
  const Value* challenge = arguments->optional(kHostChallenge);
  const Value* authority = arguments->optional(kHostSigningAuthority);
  if ((challenge != nullptr && !challenge->is_bytes()) ||
      (authority != nullptr && !authority->uid()))
    return Status::invalid_parameter;
  if (const Status status = admit(session); status != Status::success) return status;
  if (authority == nullptr) return Status::success;
  const ByteView pin = challenge == nullptr ? ByteView{} : ByteView(challenge->bytes);
  switch (prove(drive_, session, *authority->uid(), pin)) {
    case Proof::accepted:
      return Status::success;
    case Proof::invalid:
      return Status::invalid_parameter;
    case Proof::locked_out:
      if (!drive_.faults.lock_out_says_not_authorized) return Status::authority_locked_out;
      break;
    case Proof::refused:
    case Proof::power_lost:
      break;
  }
  return Status::not_authorized;
}

Status SessionManager::admit(const Session& session) const {
  const bool locking = session.sp == drive_.state.locking.uid;
  if (!locking && session.sp != drive_.state.admin.uid) return Status::invalid_parameter;
  if (locking && !drive_.state.locking_is_active()) return Status::invalid_parameter;
  if (sessions_.size() >= drive_.options.max_sessions) return Status::no_sessions_available;
  const bool taken = std::ranges::any_of(sessions_, [&](const auto& entry) {
    return entry.second.sp == session.sp && (entry.second.write || session.write);
  });
  return taken ? Status::sp_busy : Status::success;
}

bool SessionManager::has_session(std::uint16_t com_id) const {
  return std::ranges::any_of(sessions_,
                             [&](const auto& entry) { return entry.second.com_id == com_id; });
}

void SessionManager::end_sessions_of(std::uint16_t com_id) {
  std::erase_if(sessions_, [&](const auto& entry) { return entry.second.com_id == com_id; });
}

void SessionManager::end_idle() {
  const MonotonicTime now = clock_.monotonic();
  std::erase_if(sessions_, [&](const auto& entry) {
    const Session& session = entry.second;
    return session.timeout.count() != 0 && now - session.last_used > session.timeout;
  });
}

}  // namespace keyward::sed::emulator
