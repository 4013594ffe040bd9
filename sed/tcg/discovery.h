// What a drive says of itself in Level 0 discovery, without a session and without a PIN (Core
// 3.3.6).
//
//   Discovery found = TRY(discover(transport));
//   if (found.locking && found.locking->locked) …
//   Channel channel = TRY(Channel::open(transport, clock, found, {}));
//
// A plain value; parsing is pure. Errors: `protocol` when lengths contradict each other, the
// transport's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed::tcg {

// Security Subsystem Classes. A drive may have several; ssc() says which we speak.
enum class Ssc : std::uint8_t { none, enterprise, opal1, opal2, opalite, pyrite1, pyrite2, ruby };

std::string_view ssc_name(Ssc ssc);  // "Opal 2", as DriveState::feature shows it.

struct TperFeature {  // 0001h
  bool synchronous = false;
  bool asynchronous = false;
  bool ack_nak = false;
  bool buffer_management = false;
  bool streaming = false;
  bool com_id_management = false;
};

struct LockingFeature {  // 0002h
  bool supported = false;
  bool enabled = false;  // The Locking SP is active.
  bool locked = false;   // Any range, for reading or writing.
  bool media_encryption = false;
  bool mbr_enabled = false;
  bool mbr_done = false;
  bool mbr_shadow_absent = false;
  bool hardware_reset_supported = false;  // In LockOnReset and DoneOnReset.
};

struct GeometryFeature {  // 0003h, and 0405h for one namespace.
  bool alignment_required = false;
  std::uint32_t logical_block_bytes = 0;
  std::uint64_t alignment_blocks = 0;
  std::uint64_t lowest_aligned_block = 0;
};

struct SscFeature {  // 0100h, 0200h, 0203h, 0301h – 0304h
  Ssc ssc = Ssc::none;
  std::uint16_t base_com_id = 0;
  std::uint16_t com_ids = 0;
  bool range_crossing_refused = false;
  // None where the class does not say: Enterprise, Opal 1; admins and users, also Opalite, Pyrite.
  std::optional<std::uint16_t> admins{};
  std::optional<std::uint16_t> users{};
  // The SID's PIN is the MSID: from the factory, and after a revert. Else it is the vendor's own.
  std::optional<bool> first_sid_pin_is_msid{};
  std::optional<bool> reverted_sid_pin_is_msid{};
  std::uint8_t minor_version = 0;  // 0203h: 1 for Opal 2.01, 2 for 2.02.
};

struct SingleUserFeature {  // 0201h
  std::uint32_t ranges_supported = 0;
  bool any = false;
  bool all = false;
  bool admins_place_ranges = false;  // The policy bit.
};

struct DataStoreFeature {  // 0202h
  std::uint16_t tables_max = 0;
  std::uint32_t bytes_max = 0;
  std::uint32_t alignment_bytes = 0;
};

struct BlockSidFeature {         // 0402h
  bool sid_pin_changed = false;  // It is no longer the MSID.
  bool sid_blocked = false;
  bool freeze_supported = false;  // Of the Locking SP.
  bool frozen = false;
  bool unblocked_by_hardware_reset = false;
};

struct NamespaceLockingFeature {  // 0403h
  bool single_user = false;
  bool range_permitted = false;
  bool range_configured = false;
  std::uint32_t keys_max = 0;
  std::uint32_t keys_unused = 0;
  std::uint32_t ranges_per_namespace_max = 0;
};

struct DataRemovalFeature {  // 0404h
  bool processing = false;
  bool interrupted = false;
  // As bits: 0 overwrite, 1 block erase, 2 cryptographic erase, 5 vendor's own.
  std::uint8_t mechanisms = 0;
  // By mechanism, in seconds; 0: not told.
  std::array<std::uint32_t, 6> seconds{};
};

struct SeagatePort {  // C001h
  std::uint32_t number = 0;
  bool locked = false;
};

// What we do not take apart, kept for people: KPIO, Secure Messaging, vendors' own.
struct OtherFeature {
  std::uint16_t code = 0;
  std::uint8_t version = 0;
  Bytes body{};
};

struct Discovery {
  std::optional<TperFeature> tper{};
  std::optional<LockingFeature> locking{};
  std::optional<GeometryFeature> geometry{};
  std::vector<SscFeature> sscs{};
  std::optional<SingleUserFeature> single_user{};
  std::optional<DataStoreFeature> data_store{};
  std::optional<BlockSidFeature> block_sid{};
  std::optional<NamespaceLockingFeature> namespace_locking{};
  std::optional<DataRemovalFeature> data_removal{};
  std::optional<GeometryFeature> namespace_geometry{};
  std::vector<SeagatePort> ports{};
  std::vector<OtherFeature> others{};

  // The class that we speak with this drive: the richest of Opal 2, Ruby, Opal 1, Opalite, Pyrite
  // 2, Pyrite 1, then Enterprise. Null: none of them.
  const SscFeature* ssc() const;
};

// What OtherFeature::code stands for, "unknown" where we do not know either.
std::string_view feature_name(std::uint16_t code);

// `bytes` may have padding after the last descriptor; a descriptor that repeats counts once.
Result<Discovery> parse_discovery(ByteView bytes);

// One command, two when the descriptors are longer than 2048 bytes. `unsupported`: no TCG drive.
Result<Discovery> discover(SecurityTransport& transport);

}  // namespace keyward::sed::tcg
