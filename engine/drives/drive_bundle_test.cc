#include "engine/drives/drive_bundle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"
#include "sed/owner_pin.h"
#include "sed/try_ledger.h"

namespace keyward::engine {
namespace {

SecretBytes secret(std::string text) {
  return SecretBytes::take_from(std::as_writable_bytes(std::span(text))).value();
}

SecretBytes passphrase() { return secret("correct horse battery"); }

BundledDrive drive(const std::string& wwn, const std::string& serial, unsigned pin) {
  sed::DriveIdentity identity{wwn, serial, "Model 1", ""};
  SecretBytes owner_pin = SecretBytes::allocate(sed::kOwnerPinBytes).value();
  std::ranges::fill(owner_pin.reveal_mutable(), static_cast<std::byte>(pin));
  std::string key = sed::drive_key(identity);
  return {std::move(key), std::move(identity), std::move(owner_pin), {}};
}

DriveBundle two_drives() {
  DriveBundle bundle{{}, "host-a", UtcTime(std::chrono::milliseconds(1'767'571'200'123)), {}};
  bundle.from.bytes.fill(std::byte{0x17});
  bundle.drives.push_back(drive("5000c500a1b2c3d4", "S1", 0x5A));
  bundle.drives.push_back(drive("", "S2", 0x5B));
  bundle.drives.back().psid = secret("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345");
  return bundle;
}

// Once: scrypt takes its time.
const Bytes& sealed_file() {
  static const Bytes kFile = seal_bundle(two_drives(), passphrase()).value();
  return kFile;
}

// After bytes were changed: as somebody does who can compute a digest.
void renew_digest(Bytes& file) {
  const auto digest = crypto::sha256(ByteView(file).first(file.size() - 16));
  std::copy_n(digest.begin(), 16, file.end() - 16);
}

ErrorCode code_of(const auto& result) {
  EXPECT_FALSE(result.has_value());
  return result ? ErrorCode::io : result.error().code;
}

bool contains(ByteView bytes, std::string_view text) {
  return !std::ranges::search(bytes, as_bytes(text)).empty();
}

TEST(DriveBundle, GivesBackWhatWasSealed) {
  const DriveBundle bundle = two_drives();
  const DriveBundle again = open_bundle(sealed_file(), passphrase()).value();
  EXPECT_EQ(again.from, bundle.from);
  EXPECT_EQ(again.host, "host-a");
  EXPECT_EQ(again.time, bundle.time);
  ASSERT_EQ(again.drives.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(again.drives[i].drive, bundle.drives[i].drive);
    EXPECT_EQ(again.drives[i].identity.serial, bundle.drives[i].identity.serial);
    EXPECT_TRUE(constant_time_equal(again.drives[i].owner_pin.reveal(),
                                    bundle.drives[i].owner_pin.reveal()));
  }
  EXPECT_EQ(again.drives[0].identity.wwn, "5000c500a1b2c3d4");
  EXPECT_FALSE(again.drives[0].psid.has_value());
  ASSERT_TRUE(again.drives[1].psid.has_value());
  EXPECT_TRUE(constant_time_equal(again.drives[1].psid->reveal(), bundle.drives[1].psid->reveal()));
}

TEST(DriveBundle, ShowsNothingOfItsDrives) {
  const Bytes& file = sealed_file();
  for (const std::string_view text : {"ABCDEFGH", "ZZZZZZZZ", "host-a", "5000c500", "Model 1"})
    EXPECT_FALSE(contains(file, text)) << text;
  EXPECT_TRUE(contains(render_bundle(two_drives()).value().reveal(), "ABCDEFGH"));
}

TEST(DriveBundle, TellsAnotherPassphraseFromDamage) {
  Bytes file = sealed_file();
  EXPECT_EQ(code_of(open_bundle(file, secret("another passphrase"))), ErrorCode::auth_failed);
  file[100] ^= std::byte{1};
  EXPECT_EQ(code_of(open_bundle(file, passphrase())), ErrorCode::corrupt);
}

TEST(DriveBundle, RefusesEveryChangedByteBeforeItComputes) {
  const Bytes& file = sealed_file();
  for (std::size_t at = 0; at < file.size(); ++at) {
    Bytes changed = file;
    changed[at] ^= std::byte{0x40};
    EXPECT_EQ(code_of(SealedBundle::parse(changed)), ErrorCode::corrupt) << at;
    EXPECT_EQ(code_of(SealedBundle::parse(ByteView(file).first(at))), ErrorCode::corrupt) << at;
  }
}

TEST(DriveBundle, RefusesWhatSomebodyChangedWithARightDigest) {
  const Bytes& file = sealed_file();
  // Salt, commitment; nonce, ciphertext, tag.
  for (const std::size_t at : {std::size_t{12}, std::size_t{32}}) {
    Bytes changed = file;
    changed[at] ^= std::byte{1};
    renew_digest(changed);
    EXPECT_EQ(code_of(open_bundle(changed, passphrase())), ErrorCode::auth_failed) << at;
  }
  for (const std::size_t at : {std::size_t{64}, std::size_t{76}, file.size() - 17}) {
    Bytes changed = file;
    changed[at] ^= std::byte{1};
    renew_digest(changed);
    EXPECT_EQ(code_of(open_bundle(changed, passphrase())), ErrorCode::corrupt) << at;
  }
}

TEST(DriveBundle, RefusesACostThatIsTooLowOrTooHigh) {
  const Bytes& file = sealed_file();
  struct Cost {
    unsigned log2_n, r, p;
    bool is_allowed;
  };
  for (const Cost cost :
       {Cost{14, 8, 1, true}, Cost{13, 8, 1, false}, Cost{21, 8, 1, false}, Cost{64, 8, 1, false},
        Cost{255, 8, 1, false}, Cost{17, 7, 1, false}, Cost{17, 17, 1, false},
        Cost{17, 8, 0, false}, Cost{17, 8, 5, false}, Cost{20, 16, 1, false}}) {
    Bytes changed = file;
    changed[9] = static_cast<std::byte>(cost.log2_n);
    changed[10] = static_cast<std::byte>(cost.r);
    changed[11] = static_cast<std::byte>(cost.p);
    renew_digest(changed);
    EXPECT_EQ(SealedBundle::parse(changed).has_value(), cost.is_allowed)
        << cost.log2_n << " " << cost.r << " " << cost.p;
  }
}

TEST(DriveBundle, RefusesALaterFormat) {
  Bytes file = sealed_file();
  file[8] = std::byte{2};
  renew_digest(file);
  EXPECT_EQ(code_of(open_bundle(file, passphrase())), ErrorCode::unsupported);
}

TEST(DriveBundle, RefusesAWeakPassphrase) {
  EXPECT_EQ(code_of(seal_bundle(two_drives(), secret("short"))), ErrorCode::invalid_argument);
}

TEST(DriveBundle, RefusesWhatItWouldNotOpen) {
  const auto refused = [](auto&& change) {
    DriveBundle bundle = two_drives();
    change(bundle);
    const auto sealed = render_bundle(bundle);
    return !sealed && sealed.error().code == ErrorCode::invalid_argument;
  };
  EXPECT_FALSE(refused([](DriveBundle&) {}));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.drives.clear(); }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.host.clear(); }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.host = "a\nb"; }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.time = UtcTime(std::chrono::milliseconds(-1)); }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.drives.push_back(drive("", "S2", 1)); }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.drives[0].drive = "../../etc/shadow"; }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.drives[0].identity.serial.assign(256, 'x'); }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.drives[0].owner_pin.truncate(31); }));
  EXPECT_TRUE(refused([](DriveBundle& b) { b.drives[1].psid->truncate(0); }));
  EXPECT_TRUE(
      refused([](DriveBundle& b) { b.drives[0].identity.wwn = b.drives[0].drive = "../x"; }));
  EXPECT_TRUE(refused([](DriveBundle& b) {
    for (unsigned i = 0; i < kBundleDrivesMax; ++i)
      b.drives.push_back(drive("", "T" + std::to_string(i), 1));
  }));
}

TEST(DriveBundle, EveryCutPlaintextIsCorrupt) {
  const SecretBytes plaintext = render_bundle(two_drives()).value();
  ASSERT_TRUE(parse_bundle(plaintext.reveal()).has_value());
  for (std::size_t size = 0; size < plaintext.size(); ++size)
    EXPECT_EQ(code_of(parse_bundle(plaintext.reveal().first(size))), ErrorCode::corrupt) << size;
  Bytes longer(plaintext.reveal().begin(), plaintext.reveal().end());
  longer.push_back(std::byte{0});
  EXPECT_EQ(code_of(parse_bundle(longer)), ErrorCode::corrupt);
}

}  // namespace
}  // namespace keyward::engine
