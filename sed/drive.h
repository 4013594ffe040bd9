// A Drive is one self-encrypting drive, whichever security feature it has: Opal family, Enterprise,
// ATA.
//
//   std::unique_ptr<Drive> drive = TRY(attach_drive(std::move(transport), clock, {node, &ledger}));
//   DriveState state = TRY(drive->state());
//   TRY(drive->set_access(owner_pin, Access::unlocked));
//   TRY(drive->erase(EraseMethod::psid_revert, psid, Destroy::all_data));
//
// Owner PIN: 32 random bytes, of which each authority's own PIN is derived (owner_pin.h). So one
// stored secret owns the drive. Drive stores no PIN: the fleet keeps them, in the SED keystore.
//
// Used by one thread at a time. Errors beside the transport's: `auth_failed` (a try was spent;
// never retried), `locked_out` (also when the next try would be the last one, or the ledger says
// that it may be), `conflict` (the message says which state is needed), `unsupported`, `protocol`.
// The message names the TCG status and the next step.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "sed/owner_pin.h"
#include "sed/transport/security_transport.h"
#include "sed/try_ledger.h"

namespace keyward::sed {

// Stands at the call site of what cannot be undone.
enum class Destroy : std::uint8_t { all_data };
enum class Access : std::uint8_t { locked, read_only, unlocked };
enum class Owner : std::uint8_t { nobody, us, somebody_else, unknown };
enum class EraseMethod : std::uint8_t {
  crypto_erase,    // New media keys of all ranges (GenKey, Erase). The drive stays ours.
  revert,          // To the factory state, by the owner PIN.
  revert_locking,  // The Locking SP alone: the SID stays ours, the data are gone.
  psid_revert,     // To the factory state, by the PSID on the label.
  ata_enhanced,    // ENHANCED SECURITY ERASE UNIT where there is one, else SECURITY ERASE UNIT.
};

// What the drive tells without being shown a PIN.
struct DriveState {
  std::string feature;  // "Opal 2.0", "Enterprise", "Pyrite 2", "ATA Security", "none".
  // `us`: our marker with our node in it. `somebody_else`: owned, and no marker, or another node's.
  // `unknown`: the drive does not say (ATA Security: password set; the ledger may know more).
  Owner owner = Owner::unknown;
  std::optional<NodeId> owner_node{};  // From the marker.
  // From the marker: which owner PIN opens it, and, while a change is under way, which may too.
  std::optional<PinTag> pin{};
  std::optional<PinTag> next_pin{};
  Access access = Access::unlocked;  // Locked when any range is, be it for writing alone.
  bool locking_enabled = false;
  bool shadow_mbr_shown = false;
  std::optional<std::uint32_t> tries_left{};  // None: neither drive nor ledger says, or no limit.
  std::vector<std::string> notes{};  // Block SID set, ATA frozen, quirks in force: for people.
};

// A range of sectors with a key and a lock of its own; Enterprise calls it a band. 0 is the global
// one: all that no other range holds.
struct Range {
  std::uint32_t number = 0;
  std::uint64_t first_sector = 0;
  std::uint64_t sectors = 0;  // 0 with a number above 0: not in use.
  bool lockable = false;      // Reads and writes can be locked, and lock at power-on.
  Access access = Access::unlocked;
};

// Opal family and Enterprise. Ranges beside the global one, each with a user of its own if wanted.
class RangeTable {
 public:
  virtual ~RangeTable() = default;
  virtual std::uint32_t ranges_max() const = 0;  // Beside the global one.
  virtual Result<std::vector<Range>> list(const SecretBytes& owner_pin) = 0;
  // Places a range and makes it lockable. `invalid_argument`, with the alignment in the message,
  // when the drive refuses where it shall lie. Its data are gone if it was moved.
  virtual Result<void> place(const SecretBytes& owner_pin, std::uint32_t number,
                             std::uint64_t first_sector, std::uint64_t sectors) = 0;
  virtual Result<void> set_access(const SecretBytes& owner_pin, std::uint32_t number,
                                  Access access) = 0;
  // A new media key for this range alone.
  virtual Result<void> erase(const SecretBytes& owner_pin, std::uint32_t number, Destroy what) = 0;
  // User `user` (1 …) gets a PIN derived from the owner PIN ("User<n>") and may lock and unlock
  // this range; who could before, beside the owner, cannot any more. `unsupported` with Enterprise,
  // where a band's BandMaster is that user.
  virtual Result<void> grant_user(const SecretBytes& owner_pin, std::uint32_t number,
                                  std::uint32_t user) = 0;
  // As that user alone: what a tenant who has only `authority_pin(owner, "User<n>")` can do.
  virtual Result<void> set_access_as_user(const SecretBytes& user_pin, std::uint32_t user,
                                          std::uint32_t number, Access access) = 0;
};

// The image that is read in place of the drive's first sectors while it is locked (Opal family).
class ShadowMbr {
 public:
  virtual ~ShadowMbr() = default;
  virtual Result<std::uint64_t> size() = 0;  // Bytes.
  // In packets as large as the drive takes; the shadow is disabled first, and stays so.
  virtual Result<void> load(const SecretBytes& owner_pin, ByteView image) = 0;
  virtual Result<void> set_enabled(const SecretBytes& owner_pin, bool enabled) = 0;
  // Done: the real sectors are shown until the next power cycle. `io` when the drive ignores it.
  virtual Result<void> set_done(const SecretBytes& owner_pin, bool done) = 0;
};

// A few MiB beside the sectors, for anything that is no secret: anybody may read them. The first
// OwnerMarker::kReservedBytes are the marker's; offsets count from behind them.
class DataStore {
 public:
  virtual ~DataStore() = default;
  virtual Result<std::uint64_t> size() = 0;
  virtual Result<Bytes> read(std::uint64_t offset, std::size_t size) = 0;
  virtual Result<void> write(const SecretBytes& owner_pin, std::uint64_t offset,
                             ByteView bytes) = 0;
};

class Drive {
 public:
  virtual ~Drive() = default;

  virtual const DriveIdentity& identity() const = 0;
  // To be handed to attach_drive() the next time; holds no secret. Empty: nothing worth keeping.
  virtual Bytes knowledge() const = 0;

  // Spends no try and changes nothing.
  virtual Result<DriveState> state() = 0;

  // From the factory state: sets every authority's PIN, makes the global range lock on power loss,
  // writes our marker. Idempotent with the same PIN; so run it again after a crash. `conflict` when
  // owned by another PIN. The drive is unlocked afterwards.
  virtual Result<void> take_ownership(const SecretBytes& owner_pin) = 0;

  // Proves that the owner PIN is the drive's: one session, nothing changed. Spends a try when it is
  // not.
  virtual Result<void> prove(const SecretBytes& owner_pin) = 0;

  // All ranges, in one session. Idempotent. Once the drive is known it takes six commands, and two
  // more for each range beside the global one, and where the shadow MBR is enabled and must go.
  // Enterprise, where each band has its own authority: eight for each band. ATA: three, and
  // `unsupported` but for `unlocked`.
  virtual Result<void> set_access(const SecretBytes& owner_pin, Access access) = 0;

  // Idempotent, and the way back from a crash half-way: authorities that already have `next` keep
  // it. Spends at most one try of each authority, and none where the marker tells which PIN is in
  // force.
  virtual Result<void> change_pin(const SecretBytes& current, const SecretBytes& next) = 0;

  // `credential` is the owner PIN, or the PSID for psid_revert (dashes and case are forgiven). The
  // data are gone when it returns. Not idempotent, but may be run again after a crash: a drive that
  // is in the state that it would leave behind answers success.
  virtual Result<void> erase(EraseMethod method, const SecretBytes& credential, Destroy what) = 0;

  // ATA Security's SECURITY FREEZE LOCK, or Block SID: until the next power cycle nobody takes the
  // drive over. `unsupported` where it has neither.
  virtual Result<void> freeze() = 0;

  // Extra abilities, null where the drive lacks them. They live as long as the drive.
  virtual RangeTable* ranges() = 0;
  virtual ShadowMbr* shadow_mbr() = 0;
  virtual DataStore* data_store() = 0;
  virtual BlockAccess* blocks() = 0;
};

struct AttachOptions {
  NodeId node;        // This node: what the marker calls us.
  TryLedger* ledger;  // Borrowed; never null.
  // What knowledge() gave last for the same drive and firmware; saves commands. state() looks anew,
  // so whoever may not have been the last to place ranges calls it first.
  ByteView known{};
};

// Runs discovery, looks up quirks by model and firmware, and makes the kind of Drive that fits.
// Owns `transport` from here on. `unsupported` for a drive without any security feature.
Result<std::unique_ptr<Drive>> attach_drive(std::unique_ptr<SecurityTransport> transport,
                                            Clock& clock, const AttachOptions& options);

}  // namespace keyward::sed
