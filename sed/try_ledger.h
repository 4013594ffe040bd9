// Drives count wrong PINs, and few say how many are left before one is given. So we count
// ourselves, on durable storage, before a PIN is sent, and the last tries are left
// alone until a person orders one more.
//
//   TryGate gate(ledger, drive_key(identity));
//   TRY(gate.attempt("SID", [&] { return start_session(pin); }));
//
// A try whose outcome is not known (the power went, the answer was lost) counts as spent. A right
// PIN sets the count back. Where the drive's limit is known, trying stops when two are left; where
// it is not, after two. Refused by us: `locked_out`, and nothing is sent.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sed/owner_pin.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

// Of one authority of one drive.
struct TryRecord {
  std::uint32_t spent = 0;
  std::optional<std::uint32_t> limit{};  // What the drive told; 0: it has none.
  bool locked_out = false;               // The drive said so.
  // The owner PIN that was on its way to becoming this authority's: so that recovery knows whether
  // a PIN that is not the factory's can be ours.
  std::optional<PinTag> intent{};

  // How many more may be sent; none: without limit.
  std::optional<std::uint32_t> tries_left() const;
  // The same record with one more try, if it had none.
  TryRecord forgiven() const;
  bool operator==(const TryRecord&) const = default;
};

class TryLedger {
 public:
  virtual ~TryLedger() = default;

  // An authority that was never written has an empty record. `corrupt` when it cannot be read:
  // then nothing may be sent.
  virtual Result<TryRecord> load(const std::string& drive, std::string_view authority) = 0;
  // Durable on return.
  virtual Result<void> store(const std::string& drive, std::string_view authority,
                             const TryRecord& record) = 0;
  // All of a drive's authorities: after a revert, which gives new PINs and new tries.
  virtual Result<void> forget(const std::string& drive) = 0;
  // A person has made sure of the PIN and of the drive's tries: one more may be sent to each
  // authority that is at its end. Unlike forget() it keeps limits and intents, without which an
  // interrupted take_ownership() could not go on.
  virtual Result<void> forgive(const std::string& drive) { return forget(drive); }
};

// One small file per drive in a directory that exists. Any thread; one process at a time, which the
// lock on the drive's node sees to.
class FileTryLedger final : public TryLedger {
 public:
  explicit FileTryLedger(std::string directory) : directory_(std::move(directory)) {}

  Result<TryRecord> load(const std::string& drive, std::string_view authority) override;
  Result<void> store(const std::string& drive, std::string_view authority,
                     const TryRecord& record) override;
  Result<void> forget(const std::string& drive) override;
  Result<void> forgive(const std::string& drive) override;

 private:
  std::string path_of(const std::string& drive) const;

  std::string directory_;
  std::mutex mutex_;
};

// The name of a drive in the ledger, and a file name: its WWN, or model and serial in hexadecimal.
std::string drive_key(const DriveIdentity& identity);

// Borrows the ledger.
class TryGate final {
 public:
  TryGate(TryLedger& ledger, std::string drive) : ledger_(ledger), drive_(std::move(drive)) {}

  // Runs `send`, which sends this authority's PIN once. `is_there` is asked first when a try was
  // spent before: so a dead drive that is asked again and again spends one try and no more.
  Result<void> attempt(std::string_view authority, const std::function<Result<void>()>& send,
                       const std::function<Result<void>()>& is_there);

  Result<TryRecord> record(std::string_view authority) { return ledger_.load(drive_, authority); }
  Result<void> note_limit(std::string_view authority, std::uint32_t limit);
  // Zeros: the factory's PIN.
  Result<void> note_intent(std::string_view authority, const PinTag& tag);
  // None: the factory's, or nobody's.
  Result<std::optional<PinTag>> intent(std::string_view authority);
  Result<bool> intends(std::string_view authority, const PinTag& tag);
  // This authority has new tries: its PIN is the factory's again.
  Result<void> renew(std::string_view authority);
  Result<void> forget() { return ledger_.forget(drive_); }

 private:
  TryLedger& ledger_;
  std::string drive_;
};

}  // namespace keyward::sed
