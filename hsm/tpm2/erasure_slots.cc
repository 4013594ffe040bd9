#include "hsm/tpm2/erasure_slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "hsm/tpm2/tpm_error.h"
#include "hsm/tpm2/tpm_sessions.h"

namespace keyward::hsm::tpm2 {
namespace {

constexpr TPMA_NV kAttributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA;
constexpr std::string_view kMagic = "KWSLOTS1";
constexpr std::uint16_t kHeaderBytes = 32;
constexpr std::uint16_t kSlotBytes = 112;
constexpr std::uint16_t kIndexBytesMax = 2048;
constexpr std::uint16_t kChunkBytesMax = 1024;

constexpr std::size_t kStoreOffset = 16;
constexpr std::size_t kDomainOffset = 32;
constexpr std::size_t kDomainBytes = 32;
constexpr std::size_t kStateOffset = 64;
constexpr std::size_t kSecretOffset = 80;

constexpr std::byte kFree{0};
constexpr std::byte kAnnounced{1};
constexpr std::byte kLive{2};

std::uint16_t slot_offset(std::uint16_t slot) {
  return static_cast<std::uint16_t>(kHeaderBytes + slot * kSlotBytes);
}

std::uint16_t slots_in(std::size_t index_bytes) {
  return static_cast<std::uint16_t>((index_bytes - kHeaderBytes) / kSlotBytes);
}

// Everything of a slot before its state.
std::array<std::byte, kStateOffset> slot_label(const KeyContext& context) {
  std::array<std::byte, kStateOffset> label{};
  std::ranges::copy(context.key.bytes, label.begin());
  std::ranges::copy(context.store.bytes, label.begin() + kStoreOffset);
  const std::string& domain = context.domain.text();
  CHECK(domain.size() <= kDomainBytes, "a domain has at most 32 characters");
  std::ranges::copy(as_bytes(domain), label.begin() + kDomainOffset);
  return label;
}

bool is_taken(ByteView slot) {
  return slot[kStateOffset] == kAnnounced || slot[kStateOffset] == kLive;
}

bool belongs_to(ByteView slot, const KeyContext& context) {
  return is_taken(slot) && std::ranges::equal(slot.first(kStateOffset), slot_label(context));
}

// None when the slot is free, or unreadable.
std::optional<KeyContext> context_of(ByteView slot) {
  if (!is_taken(slot)) return std::nullopt;
  const ByteView name = slot.subspan(kDomainOffset, kDomainBytes);
  const auto end = std::ranges::find(name, std::byte{0});
  const auto domain = Domain::parse(
      {reinterpret_cast<const char*>(name.data()), static_cast<std::size_t>(end - name.begin())});
  if (!domain) return std::nullopt;
  KeyContext context{{}, *domain, {}};
  std::ranges::copy(slot.first(16), context.key.bytes.begin());
  std::ranges::copy(slot.subspan(kStoreOffset, 16), context.store.bytes.begin());
  return context;
}

bool has_header(ByteView content) {
  return content.size() >= kHeaderBytes &&
         std::ranges::equal(content.first(kMagic.size()), as_bytes(kMagic));
}

std::string place_text(SlotPlace place) {
  return fmt::format("NV {:#010x} slot {}", place.index, place.slot);
}

Result<std::vector<std::uint32_t>> defined_indices(TpmConnection& tpm, SlotRange range) {
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* raw = nullptr;
  TRY(tpm.command("Esys_GetCapability", [&] {
    return Esys_GetCapability(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                              TPM2_CAP_HANDLES, range.first_index, range.indices_max, &more, &raw);
  }));
  const EsysPtr<TPMS_CAPABILITY_DATA> data(raw);
  std::vector<std::uint32_t> numbers;
  for (UINT32 i = 0; i < data->data.handles.count; ++i) {
    const std::uint32_t number = data->data.handles.handle[i];
    if (number - range.first_index < range.indices_max) numbers.push_back(number);
  }
  return numbers;
}

struct NvIndex {
  TpmHandle handle;
  TPMS_NV_PUBLIC area;
};

Result<NvIndex> look_up(TpmConnection& tpm, std::uint32_t number) {
  ESYS_TR raw_handle = ESYS_TR_NONE;
  TRY(tpm.command("Esys_TR_FromTPMPublic", [&] {
    return Esys_TR_FromTPMPublic(tpm.esys(), number, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &raw_handle);
  }));
  TpmHandle handle(tpm, raw_handle, TpmHandle::AtEnd::let_go);
  TPM2B_NV_PUBLIC* raw = nullptr;
  TRY(tpm.command("Esys_NV_ReadPublic", [&] {
    return Esys_NV_ReadPublic(tpm.esys(), handle.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                              &raw, nullptr);
  }));
  const EsysPtr<TPM2B_NV_PUBLIC> area(raw);
  return NvIndex{std::move(handle), area->nvPublic};
}

// Only an index that is exempt from the lock-out may be tried with an auth value that may be wrong.
bool looks_like_ours(const TPMS_NV_PUBLIC& area) {
  return (area.attributes & ~TPMA_NV_WRITTEN) == kAttributes &&
         area.dataSize >= kHeaderBytes + kSlotBytes && area.dataSize <= kIndexBytesMax;
}

std::size_t random_below(std::size_t count) {
  std::uint32_t number = 0;
  crypto::random_fill(std::as_writable_bytes(std::span(&number, 1)));
  return number % count;
}

}  // namespace

std::uint16_t ErasureSlots::Index::slot_count() const { return slots_in(content.size()); }

ByteView ErasureSlots::Index::slot(std::uint16_t slot) const {
  return content.reveal().subspan(slot_offset(slot), kSlotBytes);
}

MutableByteView ErasureSlots::Index::slot(std::uint16_t slot) {
  return content.reveal_mutable().subspan(slot_offset(slot), kSlotBytes);
}

Result<std::vector<std::uint32_t>> find_slot_indices(TpmConnection& tpm, SlotRange range) {
  std::vector<std::uint32_t> numbers;
  for (const std::uint32_t number : TRY(defined_indices(tpm, range))) {
    if (looks_like_ours(TRY(look_up(tpm, number)).area)) numbers.push_back(number);
  }
  return numbers;
}

Result<ErasureSlots> ErasureSlots::open(TpmConnection& tpm, const TpmHandle& session,
                                        const SecretBytes& nv_auth, SlotRange range) {
  ErasureSlots slots(tpm, session, nv_auth, range);
  TRY(slots.read_limits());
  for (const std::uint32_t number : TRY(defined_indices(tpm, range))) TRY(slots.open_index(number));
  return slots;
}

Result<void> ErasureSlots::read_limits() {
  const std::uint32_t index =
      TRY(read_property(*tpm_, TPM2_PT_NV_INDEX_MAX)).value_or(kIndexBytesMax);
  const std::uint32_t chunk =
      TRY(read_property(*tpm_, TPM2_PT_NV_BUFFER_MAX)).value_or(kChunkBytesMax);
  index_bytes_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(index, kIndexBytesMax));
  chunk_bytes_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(chunk, kChunkBytesMax));
  if (index_bytes_ < kHeaderBytes + kSlotBytes || chunk_bytes_ < kSlotBytes) {
    return fail(ErrorCode::unsupported,
                fmt::format("the TPM's NV memory is too small: an index has at most {} bytes, a "
                            "write {}; {} and {} are needed",
                            index, chunk, kHeaderBytes + kSlotBytes, kSlotBytes));
  }
  return {};
}

Result<void> ErasureSlots::open_index(std::uint32_t number) {
  NvIndex found = TRY(look_up(*tpm_, number));
  if (!looks_like_ours(found.area)) return {};
  // Without it a session that encrypts decrypts an answer to garbage, and says success.
  TRY(found.handle.set_auth(nv_auth_->reveal()));
  const std::uint16_t size = found.area.dataSize;
  Result<SecretBytes> content = read_or_format(found.handle, size, found.area.attributes);
  if (content) {
    indices_.push_back({number, std::move(found.handle), *std::move(content)});
  } else if (!is_tpm_code(content.error().native, TpmCode::bad_auth)) {
    return std::unexpected(content.error());
  }
  return {};  // With another auth value it is another node's.
}

Result<SecretBytes> ErasureSlots::read_or_format(TpmHandle& handle, std::uint16_t size,
                                                 std::uint32_t attributes) {
  if ((attributes & TPMA_NV_WRITTEN) == 0) TRY(format(handle, size));
  SecretBytes content = TRY(read(handle, 0, size));
  if (has_header(content.reveal())) return content;
  TRY(format(handle, size));  // It was defined, but never filled to the end.
  return read(handle, 0, size);
}

// The header goes last, so that an index that is half filled is seen to be.
Result<void> ErasureSlots::format(TpmHandle& handle, std::uint16_t size) {
  Bytes content(size);
  std::ranges::copy(as_bytes(kMagic), content.begin());
  content[kMagic.size() + 1] = std::byte{kSlotBytes};
  content[kMagic.size() + 3] = static_cast<std::byte>(slots_in(size));
  const auto chunks = static_cast<std::uint16_t>((size + chunk_bytes_ - 1) / chunk_bytes_);
  for (std::uint16_t chunk = chunks; chunk-- > 0;) {
    const auto offset = static_cast<std::uint16_t>(chunk * chunk_bytes_);
    const std::size_t length = std::min<std::size_t>(chunk_bytes_, size - offset);
    TRY(write(handle, offset, ByteView(content).subspan(offset, length)));
  }
  return {};
}

Result<SecretBytes> ErasureSlots::read(const TpmHandle& handle, std::uint16_t offset,
                                       std::uint16_t size) {
  TRY(protect(*tpm_, *session_, Protect::answer));
  SecretBytes content = TRY(SecretBytes::allocate(size));
  for (std::uint16_t done = 0; done < size;) {
    const auto length =
        std::min<std::uint16_t>(chunk_bytes_, static_cast<std::uint16_t>(size - done));
    TPM2B_MAX_NV_BUFFER* raw = nullptr;
    TRY(tpm_->command("Esys_NV_Read", [&] {
      return Esys_NV_Read(tpm_->esys(), handle.get(), handle.get(), session_->get(), ESYS_TR_NONE,
                          ESYS_TR_NONE, length, static_cast<std::uint16_t>(offset + done), &raw);
    }));
    const EsysPtr<TPM2B_MAX_NV_BUFFER> part(raw);
    if (part->size != length) {
      return fail(ErrorCode::protocol, "Esys_NV_Read: the TPM gave fewer bytes than asked for");
    }
    std::memcpy(content.reveal_mutable().data() + done, part->buffer, length);
    done = static_cast<std::uint16_t>(done + length);
  }
  return content;
}

Result<void> ErasureSlots::write(const TpmHandle& handle, std::uint16_t offset, ByteView bytes) {
  TRY(protect(*tpm_, *session_, Protect::command));
  TPM2B_MAX_NV_BUFFER data = {};
  CHECK(bytes.size() <= chunk_bytes_, "a write fits the TPM's buffer");
  data.size = static_cast<UINT16>(bytes.size());
  std::memcpy(data.buffer, bytes.data(), bytes.size());
  Result<void> written = tpm_->command("Esys_NV_Write", [&] {
    return Esys_NV_Write(tpm_->esys(), handle.get(), handle.get(), session_->get(), ESYS_TR_NONE,
                         ESYS_TR_NONE, &data, offset);
  });
  explicit_bzero(&data, sizeof(data));
  return written;
}

Result<void> ErasureSlots::store(Index& index, std::uint16_t slot, std::size_t offset,
                                 ByteView bytes) {
  const auto place = static_cast<std::uint16_t>(slot_offset(slot) + offset);
  TRY(write(index.handle, place, bytes));
  const SecretBytes back = TRY(read(index.handle, place, static_cast<std::uint16_t>(bytes.size())));
  if (!constant_time_equal(back.reveal(), bytes)) {
    return fail(ErrorCode::protocol,
                fmt::format("Esys_NV_Write: {} reads back differently: the TPM's NV memory is worn "
                            "out or faulty; set nv_index to a fresh range, or replace the TPM",
                            place_text({index.number, slot})));
  }
  std::ranges::copy(bytes, index.slot(slot).begin() + static_cast<std::ptrdiff_t>(offset));
  return {};
}

Result<void> ErasureSlots::define_index(ByteView owner_auth) {
  const std::vector<std::uint32_t> defined = TRY(defined_indices(*tpm_, range_));
  for (std::uint32_t i = 0; i < range_.indices_max; ++i) {
    const std::uint32_t number = range_.first_index + i;
    if (std::ranges::find(defined, number) != defined.end()) continue;
    TRY(define(number, owner_auth));
    return open_index(number);
  }
  return fail(ErrorCode::exhausted,
              fmt::format("all erasure slots of the TPM are taken ({} indices from {:#x}); end "
                          "rekeys that wait to destroy old keys, or raise nv_indices_max",
                          range_.indices_max, range_.first_index));
}

Result<void> ErasureSlots::define(std::uint32_t number, ByteView owner_auth) {
  TRY(set_auth_value(*tpm_, ESYS_TR_RH_OWNER, owner_auth));
  TRY(protect(*tpm_, *session_, Protect::command));
  TPM2B_NV_PUBLIC area = {};
  area.nvPublic.nvIndex = number;
  area.nvPublic.nameAlg = TPM2_ALG_SHA256;
  area.nvPublic.attributes = kAttributes;
  area.nvPublic.dataSize = index_bytes_;
  TPM2B_AUTH auth = {};
  auth.size = static_cast<UINT16>(nv_auth_->size());
  std::memcpy(auth.buffer, nv_auth_->reveal().data(), nv_auth_->size());
  ESYS_TR raw = ESYS_TR_NONE;
  Result<void> defined = tpm_->command("Esys_NV_DefineSpace", [&] {
    return Esys_NV_DefineSpace(tpm_->esys(), ESYS_TR_RH_OWNER, session_->get(), ESYS_TR_NONE,
                               ESYS_TR_NONE, &auth, &area, &raw);
  });
  explicit_bzero(&auth, sizeof(auth));
  TRY(std::move(defined));
  static_cast<void>(TpmHandle(*tpm_, raw, TpmHandle::AtEnd::let_go));
  return {};
}

std::vector<SlotPlace> ErasureSlots::places_of(const KeyContext& context) const {
  std::vector<SlotPlace> places;
  for (const Index& index : indices_) {
    for (std::uint16_t slot = 0; slot < index.slot_count(); ++slot) {
      if (belongs_to(index.slot(slot), context)) places.push_back({index.number, slot});
    }
  }
  return places;
}

std::vector<SlotPlace> ErasureSlots::free_places() const {
  std::vector<SlotPlace> places;
  for (const Index& index : indices_) {
    for (std::uint16_t slot = 0; slot < index.slot_count(); ++slot) {
      if (index.slot(slot)[kStateOffset] == kFree) places.push_back({index.number, slot});
    }
  }
  return places;
}

const ErasureSlots::Index* ErasureSlots::find(std::uint32_t number) const {
  const auto found = std::ranges::find(indices_, number, &Index::number);
  return found == indices_.end() ? nullptr : &*found;
}

ErasureSlots::Index& ErasureSlots::at(std::uint32_t number) {
  return *std::ranges::find(indices_, number, &Index::number);
}

Result<SlotPlace> ErasureSlots::take(const KeyContext& context, const SecretBytes& secret,
                                     ByteView owner_auth) {
  if (const auto places = places_of(context); !places.empty()) {
    return fail(ErrorCode::already_exists,
                fmt::format("the TPM holds something for this key already, in {}; destroy it first",
                            place_text(places.front())));
  }
  std::vector<SlotPlace> places = free_places();
  if (places.empty()) {
    TRY(define_index(owner_auth));
    places = free_places();
  }
  CHECK(!places.empty() && secret.size() == kSlotSecretBytes, "a fresh index has free slots");
  const SlotPlace place = places[random_below(places.size())];
  SecretBytes slot = TRY(SecretBytes::allocate(kSlotBytes));
  std::ranges::copy(slot_label(context), slot.reveal_mutable().begin());
  slot.reveal_mutable()[kStateOffset] = kAnnounced;
  std::ranges::copy(secret.reveal(), slot.reveal_mutable().begin() + kSecretOffset);
  TRY(store(at(place.index), place.slot, 0, slot.reveal()));
  return place;
}

Result<SecretBytes> ErasureSlots::secret(SlotPlace place, const KeyContext& context) const {
  const Index* index = find(place.index);
  if (index == nullptr) {
    return fail(
        ErrorCode::not_found,
        fmt::format("NV {:#010x} is gone, or is not opened by our auth value: somebody with "
                    "the owner's password removed it, or the state directory is of another "
                    "enrolment. This copy does not open any more",
                    place.index));
  }
  if (place.slot >= index->slot_count() || !belongs_to(index->slot(place.slot), context)) {
    return fail(ErrorCode::not_found,
                fmt::format("{} no longer belongs to this key: the key was destroyed in this TPM",
                            place_text(place)));
  }
  SecretBytes secret = TRY(SecretBytes::allocate(kSlotSecretBytes));
  std::ranges::copy(index->slot(place.slot).subspan(kSecretOffset, kSlotSecretBytes),
                    secret.reveal_mutable().begin());
  return secret;
}

Result<void> ErasureSlots::confirm(const KeyContext& context) {
  const std::vector<SlotPlace> places = places_of(context);
  if (places.empty()) return fail(ErrorCode::not_found, "the TPM holds nothing for this key");
  for (const SlotPlace place : places) {
    Index& index = at(place.index);
    if (index.slot(place.slot)[kStateOffset] == kLive) continue;  // Spares a write.
    TRY(store(index, place.slot, kStateOffset, ByteView(&kLive, 1)));
  }
  return {};
}

Result<void> ErasureSlots::erase(const KeyContext& context, DestroyScope scope) {
  const std::vector<SlotPlace> places = places_of(context);
  for (const SlotPlace place : places) {
    if (scope == DestroyScope::everything ||
        at(place.index).slot(place.slot)[kStateOffset] != kLive) {
      continue;
    }
    return fail(
        ErrorCode::conflict,
        fmt::format("{} holds a key that was taken into use; this state directory only knows "
                    "it as announced, so it is older than the TPM: nothing was destroyed",
                    place_text(place)));
  }
  for (const SlotPlace place : places) {
    // One write: a slot is either whole or free and overwritten.
    SecretBytes slot = TRY(SecretBytes::allocate(kSlotBytes));
    crypto::random_fill(slot.reveal_mutable().subspan(kSecretOffset));
    TRY(store(at(place.index), place.slot, 0, slot.reveal()));
  }
  return {};
}

std::vector<HeldObject> ErasureSlots::list() const {
  std::vector<HeldObject> objects;
  for (const Index& index : indices_) {
    for (std::uint16_t slot = 0; slot < index.slot_count(); ++slot) {
      const auto context = context_of(index.slot(slot));
      if (!context) continue;
      objects.push_back(
          {*context, index.slot(slot)[kStateOffset] == kLive, place_text({index.number, slot})});
    }
  }
  return objects;
}

}  // namespace keyward::hsm::tpm2
