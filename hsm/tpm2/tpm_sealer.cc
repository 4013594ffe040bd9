#include "hsm/tpm2/tpm_sealer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/text.h"
#include "crypto/kdf.h"
#include "hsm/context_bytes.h"
#include "hsm/tpm2/erasure_slots.h"
#include "hsm/tpm2/sealed_blob.h"
#include "hsm/tpm2/sealed_secret.h"
#include "hsm/tpm2/storage_root.h"
#include "hsm/tpm2/tpm_connection.h"
#include "hsm/tpm2/tpm_error.h"
#include "hsm/tpm2/tpm_sessions.h"
#include "hsm/tpm2/tpm_warnings.h"

namespace keyward::hsm::tpm2 {

// In the order in which it must be made; taken apart from the end.
struct TpmSealer::Talk {
  std::unique_ptr<TpmConnection> tpm;
  TpmHandle srk;
  TpmHandle session;
};

namespace {

constexpr std::size_t kSecretBytesMax = 1024;

// Opens with both secrets, and for this context alone.
Result<SecretBytes> wrapping_key(const SecretBytes& sealed, const SecretBytes& slot,
                                 const KeyContext& context) {
  SecretBytes both = TRY(SecretBytes::allocate(sealed.size() + slot.size()));
  std::ranges::copy(sealed.reveal(), both.reveal_mutable().begin());
  std::ranges::copy(slot.reveal(),
                    both.reveal_mutable().begin() + static_cast<std::ptrdiff_t>(sealed.size()));
  Bytes info(as_bytes("keyward tpm2 seal v1").begin(), as_bytes("keyward tpm2 seal v1").end());
  const Bytes bound = context_bytes(context);
  info.insert(info.end(), bound.begin(), bound.end());
  return crypto::hkdf_sha256(both.reveal(), {}, info, crypto::kAeadKeyBytes);
}

Bytes associated_data(const SealedBlob& blob, const KeyContext& context) {
  Bytes aad = blob.render_head();
  const Bytes bound = context_bytes(context);
  aad.insert(aad.end(), bound.begin(), bound.end());
  return aad;
}

}  // namespace

Result<std::shared_ptr<TpmSealer>> TpmSealer::create(CustodianId id, Tpm2Settings settings,
                                                     std::string enrolment_path, Clock& clock) {
  const crypto::AeadEngine& aead = TRY(crypto::choose_aead_engine("auto")).get();
  return std::shared_ptr<TpmSealer>(
      new TpmSealer(std::move(id), std::move(settings), std::move(enrolment_path), clock, aead));
}

Result<bool> TpmSealer::is_enrolled() {
  if (!enrolment_) enrolment_ = TRY(load_enrolment(enrolment_path_));
  return enrolment_.has_value();
}

Result<SecretBytes> TpmSealer::owner_auth() const {
  if (settings_.owner_auth)
    return TRY(settings_.owner_auth->read("the TPM's owner password", kSecretBytesMax)).text;
  return SecretBytes::allocate(0);
}

Result<void> TpmSealer::enrol(const std::stop_token& stop) {
  if (TRY(is_enrolled())) return {};
  const SecretBytes owner = TRY(owner_auth());
  spoke_ = true;
  const auto tpm = TRY(TpmConnection::open(settings_.tcti, settings_.is_bare(), clock_, stop));
  Enrolment fresh =
      TRY(make_enrolment(TRY(provide_storage_root(*tpm, settings_.srk_handle, owner.reveal()))));
  TRY(store_enrolment(enrolment_path_, fresh));
  enrolment_ = std::move(fresh);
  return {};
}

Result<TpmSealer::Talk> TpmSealer::talk(const std::stop_token& stop) {
  if (!TRY(is_enrolled())) {
    return fail(ErrorCode::not_found,
                fmt::format("{} is missing: this state directory has never used this TPM, or lost "
                            "the file. Restore it from a backup of the state directory",
                            printable(enrolment_path_)));
  }
  spoke_ = true;
  auto tpm = TRY(TpmConnection::open(settings_.tcti, settings_.is_bare(), clock_, stop));
  TpmHandle srk = TRY(open_storage_root(*tpm, settings_.srk_handle, enrolment_->srk_public));
  TpmHandle session = TRY(start_session(*tpm, SessionKind::hmac, srk.get()));
  return Talk{std::move(tpm), std::move(srk), std::move(session)};
}

Result<std::string> TpmSealer::identity(const std::stop_token& stop) {
  TRY(enrol(stop));
  TRY(talk(stop));  // The TPM that is there is the enrolled one.
  return enrolment_->srk_name();
}

Result<std::optional<SecretBytes>> TpmSealer::pin_auth() {
  if (!settings_.pin) return std::optional<SecretBytes>();
  SecretBytes auth =
      TRY(auth_from_pin(TRY(settings_.pin->read("the TPM's PIN", kSecretBytesMax)).text));
  if (refused_auth_ && constant_time_equal(refused_auth_->reveal(), auth.reveal())) {
    return fail(
        ErrorCode::auth_failed,
        fmt::format("the TPM refused the PIN in {} before, so it is not tried again; put the "
                    "right one there",
                    printable(settings_.pin->path())));
  }
  return std::optional<SecretBytes>(std::move(auth));
}

Result<GeneratedKey> TpmSealer::generate(const KeyContext& context, const std::stop_token& stop) {
  TRY(enrol(stop));
  Talk conversation = TRY(talk(stop));
  SecretBytes key = TRY(mixed_random(*conversation.tpm, conversation.session));
  SealedKey copy = TRY(seal_in(conversation, key, context));
  return GeneratedKey{std::move(key), std::move(copy)};
}

Result<SealedKey> TpmSealer::seal(const SecretBytes& key, const KeyContext& context,
                                  const std::stop_token& stop) {
  if (key.size() != kKeyBytes) {
    return fail(ErrorCode::invalid_argument, "a master key has 32 bytes");
  }
  TRY(enrol(stop));
  Talk conversation = TRY(talk(stop));
  return seal_in(conversation, key, context);
}

Result<SealedKey> TpmSealer::seal_in(Talk& conversation, const SecretBytes& key,
                                     const KeyContext& context) {
  TpmConnection& tpm = *conversation.tpm;
  const std::optional<SecretBytes> auth = TRY(pin_auth());
  const SecretBytes slot_secret = TRY(mixed_random(tpm, conversation.session));
  const SecretBytes sealed_secret = TRY(mixed_random(tpm, conversation.session));
  ErasureSlots slots = TRY(ErasureSlots::open(tpm, conversation.session, enrolment_->nv_auth,
                                              {settings_.nv_index, settings_.nv_indices_max}));
  SealedBlob blob;
  blob.place = TRY(slots.take(context, slot_secret, TRY(owner_auth()).reveal()));
  const SealPolicy policy{TRY(read_pcrs(tpm, settings_.pcrs)), auth ? &*auth : nullptr};
  SealedSecret object =
      TRY(seal_secret(tpm, conversation.srk, conversation.session, sealed_secret, policy));
  blob.needs_pin = auth.has_value();
  blob.context_digest = crypto::sha256(context_bytes(context));
  blob.tpm_public = std::move(object.tpm_public);
  blob.tpm_private = std::move(object.tpm_private);
  blob.pcrs = policy.pcrs;
  crypto::random_fill(blob.nonce);
  const auto aead = TRY(aead_.open(TRY(wrapping_key(sealed_secret, slot_secret, context))));
  aead->encrypt(blob.nonce, associated_data(blob, context), key.reveal(), blob.ciphertext,
                blob.tag);
  TRY(sync_software_tpm());
  return SealedKey{id_, blob.render()};
}

Result<SecretBytes> TpmSealer::unseal(const SealedKey& copy, const KeyContext& context,
                                      const std::stop_token& stop) {
  const SealedBlob blob = TRY(SealedBlob::parse(copy.blob));
  if (blob.context_digest != crypto::sha256(context_bytes(context))) {
    return fail(ErrorCode::corrupt, "this sealed copy belongs to another key, domain or keystore");
  }
  Talk conversation = TRY(talk(stop));
  // The slot is asked first: a key that was destroyed costs no try of the PIN.
  const SecretBytes slot_secret =
      TRY(TRY(ErasureSlots::open(*conversation.tpm, conversation.session, enrolment_->nv_auth,
                                 {settings_.nv_index, settings_.nv_indices_max}))
              .secret(blob.place, context));
  const SecretBytes sealed_secret = TRY(unseal_secret_of(conversation, blob));
  const auto aead = TRY(aead_.open(TRY(wrapping_key(sealed_secret, slot_secret, context))));
  SecretBytes key = TRY(SecretBytes::allocate(kKeyBytes));
  if (!aead->decrypt(blob.nonce, associated_data(blob, context), blob.ciphertext, blob.tag,
                     key.reveal_mutable())) {
    return fail(ErrorCode::corrupt,
                "this sealed copy is damaged, or its erasure slot was overwritten since: its "
                "authentication tag does not fit");
  }
  return key;
}

Result<SecretBytes> TpmSealer::unseal_secret_of(Talk& conversation, const SealedBlob& blob) {
  std::optional<SecretBytes> auth;
  if (blob.needs_pin) {
    auth = TRY(pin_auth());
    if (!auth) {
      return fail(
          ErrorCode::auth_failed,
          "this copy was sealed with a PIN, and the custodian's setting \"pin\" is missing");
    }
  }
  const SealPolicy policy{blob.pcrs, auth ? &*auth : nullptr};
  Result<SecretBytes> secret =
      unseal_secret(*conversation.tpm, conversation.srk, conversation.session,
                    {blob.tpm_public, blob.tpm_private}, policy);
  if (!secret && is_tpm_code(secret.error().native, TpmCode::auth_fail)) {
    refused_auth_ = std::move(auth);
  }
  return secret;
}

Result<void> TpmSealer::confirm(const KeyContext& context, const std::stop_token& stop) {
  Talk conversation = TRY(talk(stop));
  ErasureSlots slots =
      TRY(ErasureSlots::open(*conversation.tpm, conversation.session, enrolment_->nv_auth,
                             {settings_.nv_index, settings_.nv_indices_max}));
  TRY(slots.confirm(context));
  return sync_software_tpm();
}

Result<void> TpmSealer::destroy(const KeyContext& context, DestroyScope scope,
                                const std::stop_token& stop) {
  if (!TRY(is_enrolled())) return check_no_orphans(stop);
  Talk conversation = TRY(talk(stop));
  ErasureSlots slots =
      TRY(ErasureSlots::open(*conversation.tpm, conversation.session, enrolment_->nv_auth,
                             {settings_.nv_index, settings_.nv_indices_max}));
  TRY(slots.erase(context, scope));
  return sync_software_tpm();
}

// Without the enrolment nothing can be overwritten. That is success only when the TPM holds nothing
// that may be ours: an older copy of the state directory could still open it.
Result<void> TpmSealer::check_no_orphans(const std::stop_token& stop) {
  spoke_ = true;
  const auto tpm = TRY(TpmConnection::open(settings_.tcti, settings_.is_bare(), clock_, stop));
  const std::vector<std::uint32_t> found =
      TRY(find_slot_indices(*tpm, {settings_.nv_index, settings_.nv_indices_max}));
  if (found.empty()) return {};
  return fail(
      ErrorCode::conflict,
      fmt::format("{} is missing, and NV {:#010x} looks like one of Keyward's: what it holds "
                  "cannot be overwritten without that file. Restore it from a backup of the "
                  "state directory; or, if the index is nobody's, remove it with "
                  "`tpm2_nvundefine {:#x}`",
                  printable(enrolment_path_), found.front(), found.front()));
}

Result<std::vector<HeldObject>> TpmSealer::list(const std::stop_token& stop) {
  if (!TRY(is_enrolled())) return std::vector<HeldObject>();
  Talk conversation = TRY(talk(stop));
  return TRY(ErasureSlots::open(*conversation.tpm, conversation.session, enrolment_->nv_auth,
                                {settings_.nv_index, settings_.nv_indices_max}))
      .list();
}

Result<void> TpmSealer::probe(const std::stop_token& stop) {
  TRY(enrol(stop));
  Talk conversation = TRY(talk(stop));
  TpmConnection& tpm = *conversation.tpm;
  TRY(ErasureSlots::open(tpm, conversation.session, enrolment_->nv_auth,
                         {settings_.nv_index, settings_.nv_indices_max}));
  const std::optional<SecretBytes> auth = TRY(pin_auth());
  const SealPolicy policy{TRY(read_pcrs(tpm, settings_.pcrs)), auth ? &*auth : nullptr};
  const SecretBytes secret = TRY(mixed_random(tpm, conversation.session));
  const SealedSecret object =
      TRY(seal_secret(tpm, conversation.srk, conversation.session, secret, policy));
  const SecretBytes again =
      TRY(unseal_secret(tpm, conversation.srk, conversation.session, object, policy));
  if (constant_time_equal(secret.reveal(), again.reveal())) return {};
  return fail(ErrorCode::protocol, "Esys_Unseal: the TPM gave back another secret than it sealed");
}

Result<std::vector<HardwareWarning>> TpmSealer::hardware_warnings(const std::stop_token& stop) {
  const auto tpm = TRY(TpmConnection::open(settings_.tcti, settings_.is_bare(), clock_, stop));
  spoke_ = true;
  return read_warnings(*tpm);
}

Result<void> TpmSealer::shut_down(const std::stop_token& stop) {
  if (!spoke_ || !settings_.is_bare()) return {};
  const auto tpm = TRY(TpmConnection::open(settings_.tcti, true, clock_, stop));
  return tpm->command("Esys_Shutdown", [&] {
    return Esys_Shutdown(tpm->esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_SU_CLEAR);
  });
}

// A software TPM writes its state without fsync; a real one is durable when it answers.
Result<void> TpmSealer::sync_software_tpm() const {
  for (const std::string& path : settings_.sync_dirs) {
    const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = directory >= 0 && ::syncfs(directory) == 0;
    const int error = errno;
    if (directory >= 0) ::close(directory);
    if (synced) continue;
    return fail(ErrorCode::io,
                fmt::format("syncfs: {} (setting sync_dirs): {}", printable(path),
                            std::error_code(error, std::generic_category()).message()),
                "syncfs", static_cast<std::uint64_t>(error));
  }
  return {};
}

}  // namespace keyward::hsm::tpm2
