// A Session is one open session with a Security Provider (Admin SP, Locking SP) of a drive.
//
//   Session session = TRY(Session::start(channel, sp::kLocking, {authority::admin(1), &pin},
//                                        Session::Mode::write));
//   TRY(session.set(range::kGlobal, {{column::locking::kReadLocked, std::uint64_t{0}}}));
//   TRY(session.close());
//
// Rows and columns are numbers in both dialects; the channel knows which one the drive speaks. With
// Opal the PIN rides in StartSession (HostChallenge), as some drives demand and as saves two
// commands. Most drives have one session: whoever keeps one open locks everybody else out. Borrows
// the channel, which must outlive it; one thread.
//
// Errors: a method's status (Core 5.1.5) as method_status.h has it, with the number in
// Error::native: NOT_AUTHORIZED auth_failed, AUTHORITY_LOCKED_OUT locked_out, SP_BUSY and
// NO_SESSIONS_AVAILABLE busy, INVALID_PARAMETER invalid_argument … ; `conflict` when the session
// has ended, by the drive or by us; `timeout` when no answer came, so that its effect is not known;
// `protocol` when the answer makes no sense; the transport's. Nothing is retried here but polling.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "sed/tcg/packet.h"
#include "sed/tcg/uids.h"
#include "sed/tcg/value.h"

namespace keyward::sed::tcg {

class Channel;

class Session final {
 public:
  // With `read` whatever would change something is refused here. The drive is always asked for a
  // writing session: the SSCs oblige it to no other.
  enum class Mode : std::uint8_t { read, write };

  struct Authority {
    Uid uid = authority::kAnybody;
    const SecretBytes* pin = nullptr;  // Borrowed for the call. None for Anybody.
  };

  // `busy`: somebody has the SP's session, also after our ComID's stack was reset, which ends what
  // a process of ours left open. `invalid_argument`: there is no such SP or it is not active.
  // `auth_failed` has spent a try.
  static Result<Session> start(Channel& channel, const Uid& provider, const Authority& authority,
                               Mode mode);

  Session(Session&& other) noexcept;
  Session& operator=(Session&&) = delete;
  ~Session();  // Ends a session that was not closed, and drops that error.

  // Cells that the authority may not read are absent from the row, as the specification has it.
  Result<Row> get(const Uid& object, Columns columns);
  // All or nothing.
  Result<void> set(const Uid& object, const Row& cells);
  // The PIN column of a C_PIN row. The PIN is in no memory but the caller's and the one locked
  // buffer that is sent.
  Result<void> set_pin(const Uid& credential, const SecretBytes& pin);

  // Byte tables (MBR, DataStore): in pieces as large as was agreed on. Writing asks for Properties
  // when there is more than one smallest packet; reading cannot, in an open session: call
  // Channel::negotiate() first. Not all or nothing, but in a transaction. What is written begins
  // where the table's MandatoryWriteGranularity wants it; pieces after the first end at multiples
  // of 512 at least.
  Result<Bytes> read_table(const Uid& table, std::uint64_t offset, std::size_t size);
  Result<void> write_table(const Uid& table, std::uint64_t offset, ByteView content);

  // GenKey, Erase, Activate, Revert … : any method, with its arguments as the dialect wants them.
  // The answer is the list of its results. A Revert of the Admin SP and a RevertSP end the session
  // with their success: after it close() does nothing.
  Result<List> invoke(const Uid& object, const Uid& method, const List& arguments = {});
  // At most 32 bytes. For probing; never the only source of a key.
  Result<Bytes> random(std::size_t size);

  // One authority more in this session. A refusal, which the drive answers as FALSE, is
  // `auth_failed`, and has spent a try.
  Result<void> authenticate(const Authority& authority);

  // One at a time; every TPer of the Opal family has one. What is neither committed nor aborted is
  // rolled back when the session ends. `unsupported` with Enterprise.
  Result<void> begin_transaction();
  Result<void> commit();  // `conflict`: the drive has rolled it back.
  Result<void> abort();   // Rolls back.

  bool is_open() const { return channel_ != nullptr; }
  // Reports what ending the session gave. Later calls to any function answer `conflict`.
  Result<void> close();

 private:
  Session(Channel& channel, SessionNumbers numbers, Mode mode);
  static Result<Session> open(Channel& channel, const Uid& provider, const Authority& authority,
                              Mode mode);

  Result<Bytes> exchange(const TokenWriter& request, std::string_view what,
                         std::size_t answer_bytes = 0);
  Result<List> call(const TokenWriter& request, std::string_view what,
                    std::size_t answer_bytes = 0);
  // One token with its status, and the same back.
  Result<std::uint64_t> transaction_step(Control token, std::uint64_t status,
                                         std::string_view what);
  Result<void> must_be_open() const;
  Result<void> may_change() const;
  std::unexpected<Error> malformed(Error error);

  Channel* channel_;  // Null once the session has ended.
  SessionNumbers numbers_;
  Mode mode_;
  std::size_t answer_bytes_max_;  // Of a byte string; as agreed on when the session was started.
  bool reverted_ = false;         // A revert has ended it.
};

}  // namespace keyward::sed::tcg
