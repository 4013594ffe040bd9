#include "engine/drives/drive_bundle.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "base/check.h"
#include "base/text.h"
#include "crypto/nonces.h"
#include "crypto/openssl_engine.h"
#include "engine/drives/bundle_codec.h"
#include "hsm/passphrase/passphrase_blob.h"
#include "hsm/passphrase/passphrase_source.h"
#include "sed/owner_pin.h"
#include "sed/try_ledger.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kMagic = "KWDRIVES";
constexpr std::byte kFormat{1};
constexpr std::size_t kDigestBytes = 16;
constexpr std::size_t kHeadBytes = 8 + 4 + 16 + 4 + sizeof(crypto::Sha256Digest);
constexpr std::size_t kAroundBytes =
    kHeadBytes + sizeof(crypto::AeadNonce) + sizeof(crypto::AeadTag) + kDigestBytes;
constexpr std::string_view kCommitLabel = "drive bundle commit v1";
constexpr std::string_view kSealLabel = "drive bundle seal v1";

std::unexpected<Error> damaged(std::string_view what) {
  return fail(ErrorCode::corrupt, fmt::format("the bundle of drives {}", what));
}

void append(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

Bytes digest_of(ByteView bytes) {
  const crypto::Sha256Digest digest = crypto::sha256(bytes);
  return {digest.begin(), digest.begin() + kDigestBytes};
}

// What scrypt made of the passphrase, split in two as passphrase_custodian.h says.
struct BundleKeys {
  crypto::Sha256Digest commitment;
  std::unique_ptr<crypto::Aead> aead;
};

Result<BundleKeys> derive_keys(const SecretBytes& passphrase, const SealedBundle& head) {
  const SecretBytes kek =
      TRY(crypto::scrypt(passphrase.reveal(), head.salt, head.cost, crypto::kAeadKeyBytes));
  const SecretBytes commit_key =
      TRY(crypto::hkdf_sha256(kek.reveal(), {}, as_bytes(kCommitLabel), crypto::kAeadKeyBytes));
  const SecretBytes seal_key =
      TRY(crypto::hkdf_sha256(kek.reveal(), {}, as_bytes(kSealLabel), crypto::kAeadKeyBytes));
  return BundleKeys{TRY(crypto::hmac_sha256(commit_key.reveal(), head.render_cost())),
                    TRY(crypto::OpensslEngine().open(seal_key))};
}

// Why a drive, or what stands before the drives, cannot be in a bundle; empty: it can.
std::string drive_fault(const BundledDrive& drive) {
  const sed::DriveIdentity& identity = drive.identity;
  for (const std::string* text : {&identity.wwn, &identity.serial, &identity.model, &drive.drive})
    if (text->size() > kBundleTextMax || !is_printable_utf8(*text))
      return "names a drive by a text that is too long or not printable";
  if (identity.wwn.find_first_not_of("0123456789abcdef") != std::string::npos)
    return fmt::format("has a WWN that is none: {}", printable(identity.wwn));
  if (identity.wwn.empty() && identity.serial.empty()) return "has a drive without a name";
  // So that a PIN is never filed under another drive's name, nor under a path.
  if (drive.drive != sed::drive_key(identity))
    return fmt::format("gives drive {} another drive's key", printable(identity.serial));
  if (drive.owner_pin.size() != sed::kOwnerPinBytes)
    return fmt::format("has an owner PIN of {} bytes instead of {}", drive.owner_pin.size(),
                       sed::kOwnerPinBytes);
  if (drive.psid && (drive.psid->size() == 0 || drive.psid->size() > kBundlePsidMax))
    return fmt::format("has a PSID of {} bytes", drive.psid->size());
  return "";
}

std::string bundle_fault(const DriveBundle& bundle) {
  if (bundle.host.empty() || bundle.host.size() > kBundleTextMax || !is_printable_utf8(bundle.host))
    return "has a host name that is empty, too long or not printable";
  if (bundle.time < UtcTime{}) return "is older than 1970";
  if (bundle.drives.empty() || bundle.drives.size() > kBundleDrivesMax)
    return fmt::format("has {} drives instead of 1 to {}", bundle.drives.size(), kBundleDrivesMax);
  std::set<std::string_view> seen;
  for (const BundledDrive& drive : bundle.drives) {
    if (std::string fault = drive_fault(drive); !fault.empty()) return fault;
    if (!seen.insert(drive.drive).second)
      return fmt::format("has drive {} twice", printable(drive.identity.serial));
  }
  return "";
}

void write_bundle(const DriveBundle& bundle, BundleWriter& out) {
  out.bytes(bundle.from.bytes);
  out.number<8>(static_cast<std::uint64_t>(bundle.time.time_since_epoch().count()));
  out.field(as_bytes(bundle.host));
  out.number<2>(bundle.drives.size());
  for (const BundledDrive& drive : bundle.drives) {
    out.field(as_bytes(drive.drive));
    out.field(as_bytes(drive.identity.wwn));
    out.field(as_bytes(drive.identity.serial));
    out.field(as_bytes(drive.identity.model));
    out.field(drive.owner_pin.reveal());
    out.field(drive.psid ? drive.psid->reveal() : ByteView{});
  }
}

Result<BundledDrive> read_drive(BundleReader& in) {
  std::string key = in.text();
  sed::DriveIdentity identity{in.text(), in.text(), in.text(), {}};
  BundledDrive drive{std::move(key), std::move(identity), TRY(in.secret()), {}};
  SecretBytes psid = TRY(in.secret());
  if (psid.size() != 0) drive.psid = std::move(psid);
  return drive;
}

}  // namespace

Result<SecretBytes> render_bundle(const DriveBundle& bundle) {
  if (const std::string fault = bundle_fault(bundle); !fault.empty())
    return fail(ErrorCode::invalid_argument, fmt::format("the bundle of drives {}", fault));
  BundleWriter measure{{}};
  write_bundle(bundle, measure);
  if (measure.size() > kBundlePlaintextMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a bundle has at most {} bytes: release fewer drives at once",
                            kBundlePlaintextMax));
  SecretBytes plaintext = TRY(SecretBytes::allocate(measure.size()));
  BundleWriter writer{plaintext.reveal_mutable()};
  write_bundle(bundle, writer);
  return plaintext;
}

Result<DriveBundle> parse_bundle(ByteView plaintext) {
  BundleReader in(plaintext);
  DriveBundle bundle;
  std::ranges::copy(in.bytes(bundle.from.bytes.size()), bundle.from.bytes.begin());
  const std::uint64_t time = in.number<8>();
  bundle.host = in.text();
  const std::uint64_t count = in.number<2>();
  if (in.failed() || count > kBundleDrivesMax || time > static_cast<std::uint64_t>(INT64_MAX))
    return damaged("breaks off, or its count or time is none");
  bundle.time = UtcTime(std::chrono::milliseconds(static_cast<std::int64_t>(time)));
  for (std::uint64_t i = 0; i < count && !in.failed(); ++i)
    bundle.drives.push_back(TRY(read_drive(in)));
  if (in.failed()) return damaged("breaks off");
  if (!in.at_end()) return damaged("has bytes behind its end");
  if (const std::string fault = bundle_fault(bundle); !fault.empty()) return damaged(fault);
  return bundle;
}

Result<SealedBundle> SealedBundle::parse(ByteView file) {
  if (file.size() < kMagic.size() ||
      !std::ranges::equal(file.first(kMagic.size()), as_bytes(kMagic)))
    return fail(ErrorCode::corrupt, "this is no bundle of drives, as \"drives release\" writes it");
  if (file.size() < kAroundBytes || file.size() > kAroundBytes + kBundlePlaintextMax)
    return damaged(fmt::format("has {} bytes: it was cut, or is no bundle", file.size()));
  const ByteView covered = file.first(file.size() - kDigestBytes);
  if (!std::ranges::equal(digest_of(covered), file.last(kDigestBytes)))
    return damaged("was changed or is damaged: copy it again");
  BundleReader in(covered.subspan(kMagic.size()));
  if (const auto format = in.number<1>(); format != std::to_integer<std::uint64_t>(kFormat))
    return fail(ErrorCode::unsupported,
                fmt::format("the bundle of drives has format {}, this version knows 1", format));
  SealedBundle bundle;
  const std::uint64_t log2_n = in.number<1>();
  bundle.cost.n = log2_n < 64 ? std::uint64_t{1} << log2_n : 0;
  bundle.cost.r = static_cast<std::uint32_t>(in.number<1>());
  bundle.cost.p = static_cast<std::uint32_t>(in.number<1>());
  if (!hsm::is_within_limits(bundle.cost))
    return damaged(fmt::format("asks for scrypt n=2^{} r={} p={}, outside the limits: {}", log2_n,
                               bundle.cost.r, bundle.cost.p, hsm::scrypt_limits_text()));
  in.fill(bundle.salt);
  const std::uint64_t size = in.number<4>();
  if (size != file.size() - kAroundBytes) return damaged("has another size than it says");
  in.fill(bundle.commitment);
  in.fill(bundle.nonce);
  const ByteView ciphertext = in.bytes(size);
  bundle.ciphertext.assign(ciphertext.begin(), ciphertext.end());
  in.fill(bundle.tag);
  CHECK(!in.failed() && in.at_end(), "the size was checked before");
  return bundle;
}

Bytes SealedBundle::render_cost() const {
  Bytes bytes(kHeadBytes - commitment.size());
  BundleWriter out{bytes};
  out.bytes(as_bytes(kMagic));
  out.bytes({&kFormat, 1});
  out.number<1>(static_cast<std::uint64_t>(std::countr_zero(cost.n)));
  out.number<1>(cost.r);
  out.number<1>(cost.p);
  out.bytes(salt);
  out.number<4>(ciphertext.size());
  return bytes;
}

Bytes SealedBundle::render_head() const {
  Bytes bytes = render_cost();
  append(bytes, commitment);
  return bytes;
}

Bytes SealedBundle::render() const {
  Bytes bytes = render_head();
  append(bytes, nonce);
  append(bytes, ciphertext);
  append(bytes, tag);
  append(bytes, digest_of(bytes));
  return bytes;
}

Result<Bytes> seal_bundle(const DriveBundle& bundle, const SecretBytes& passphrase) {
  TRY(hsm::check_passphrase_size(passphrase));
  const SecretBytes plaintext = TRY(render_bundle(bundle));
  SealedBundle sealed;
  crypto::random_fill(sealed.salt);
  sealed.nonce = crypto::random_nonce();
  sealed.ciphertext.resize(plaintext.size());
  const BundleKeys keys = TRY(derive_keys(passphrase, sealed));
  sealed.commitment = keys.commitment;
  keys.aead->encrypt(sealed.nonce, sealed.render_head(), plaintext.reveal(), sealed.ciphertext,
                     sealed.tag);
  return sealed.render();
}

Result<DriveBundle> open_bundle(ByteView file, const SecretBytes& passphrase) {
  const SealedBundle sealed = TRY(SealedBundle::parse(file));
  const BundleKeys keys = TRY(derive_keys(passphrase, sealed));
  if (!constant_time_equal(keys.commitment, sealed.commitment))
    return fail(ErrorCode::auth_failed,
                "this is not the passphrase that the bundle of drives was sealed with: give the "
                "one that \"drives release\" asked for");
  SecretBytes plaintext = TRY(SecretBytes::allocate(sealed.ciphertext.size()));
  if (!keys.aead->decrypt(sealed.nonce, sealed.render_head(), sealed.ciphertext, sealed.tag,
                          plaintext.reveal_mutable()))
    return damaged("was changed by somebody after it was sealed: make it anew");
  return parse_bundle(plaintext.reveal());
}

}  // namespace keyward::engine
