// The erasure slots: places in the TPM's NV memory, each with a secret that one master key's copies
// need. Overwriting the secret destroys the key, whatever copies of its blob there are.
//
//   auto slots = TRY(ErasureSlots::open(tpm, session, nv_auth, {first_index, indices_max}));
//   SlotPlace place = TRY(slots.take(context, secret, owner_auth));  // One NV write.
//   SecretBytes secret = TRY(slots.secret(place, context));
//   TRY(slots.confirm(context));                                     // One NV write of one byte.
//   TRY(slots.erase(context, DestroyScope::everything));             // One NV write a slot.
//
// An index holds a header of 32 bytes ("KWSLOTS1", slot size, slot count) and slots of 112 bytes:
//   key id 16 · store id 16 · domain 32, filled with zeros · state 1 (0 free, 1 announced, 2 live)
//   · zero 15 · secret 32
// Indices are ordinary, opened by a random auth value of ours, exempt from the lock-out, without
// owner rights and without PCRs: destroying must not depend on what the machine booted. They are
// found by trying: those of the range with our attributes that our auth value opens. So a state
// directory restored from a backup finds the indices that were defined after it was made. An index
// of somebody else's is left alone.
//
// Everything is read when it is opened, some 4 ms an index. Not safe from threads.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/sealed_key.h"
#include "base/secret_bytes.h"
#include "hsm/custodian.h"
#include "hsm/tpm2/sealed_blob.h"
#include "hsm/tpm2/tpm_connection.h"

namespace keyward::hsm::tpm2 {

inline constexpr std::size_t kSlotSecretBytes = 32;

struct SlotRange {
  std::uint32_t first_index = 0;
  std::uint32_t indices_max = 0;
};

// The defined indices of the range that look like ours (attributes, size), whoever's they are.
Result<std::vector<std::uint32_t>> find_slot_indices(TpmConnection& tpm, SlotRange range);

class ErasureSlots final {
 public:
  // Borrows `tpm`, `session` (a salted HMAC session) and `nv_auth`.
  static Result<ErasureSlots> open(TpmConnection& tpm, const TpmHandle& session,
                                   const SecretBytes& nv_auth, SlotRange range);

  // Puts `secret` into a free slot, chosen at random to spread the wear, and reads it back. Defines
  // one more index when all are full. `already_exists` when the context has a slot, `exhausted`
  // when there is no room.
  Result<SlotPlace> take(const KeyContext& context, const SecretBytes& secret, ByteView owner_auth);

  // `not_found` when the slot does not hold this context's secret any more.
  Result<SecretBytes> secret(SlotPlace place, const KeyContext& context) const;

  Result<void> confirm(const KeyContext& context);
  Result<void> erase(const KeyContext& context, DestroyScope scope);
  std::vector<HeldObject> list() const;

 private:
  struct Index {
    std::uint32_t number;
    TpmHandle handle;
    SecretBytes content;
    std::uint16_t slot_count() const;
    ByteView slot(std::uint16_t slot) const;
    MutableByteView slot(std::uint16_t slot);
  };

  ErasureSlots(TpmConnection& tpm, const TpmHandle& session, const SecretBytes& nv_auth,
               SlotRange range)
      : tpm_(&tpm), session_(&session), nv_auth_(&nv_auth), range_(range) {}

  Result<void> read_limits();
  Result<void> open_index(std::uint32_t number);
  Result<SecretBytes> read_or_format(TpmHandle& handle, std::uint16_t size,
                                     std::uint32_t attributes);
  Result<void> define_index(ByteView owner_auth);
  Result<void> define(std::uint32_t number, ByteView owner_auth);
  Result<void> format(TpmHandle& handle, std::uint16_t size);
  Result<SecretBytes> read(const TpmHandle& handle, std::uint16_t offset, std::uint16_t size);
  Result<void> write(const TpmHandle& handle, std::uint16_t offset, ByteView bytes);
  // Writes a slot (or its part), reads it back, compares. On success `content` has it too.
  Result<void> store(Index& index, std::uint16_t slot, std::size_t offset, ByteView bytes);
  std::vector<SlotPlace> places_of(const KeyContext& context) const;
  std::vector<SlotPlace> free_places() const;
  const Index* find(std::uint32_t number) const;
  Index& at(std::uint32_t number);

  TpmConnection* tpm_;
  const TpmHandle* session_;
  const SecretBytes* nv_auth_;
  SlotRange range_;
  std::uint16_t index_bytes_ = 0;  // Of an index that is defined now.
  std::uint16_t chunk_bytes_ = 0;  // Of one read or write.
  std::vector<Index> indices_;
};

}  // namespace keyward::hsm::tpm2
