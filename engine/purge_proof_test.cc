// After a rekey neither the old sealed copies, nor old ciphertext, nor what was deleted lies in any
// file of the state directory: database, WAL, journal, free page.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "engine/testing/engine_rig.h"
#include "store/self_check.h"
#include "store/sqlite/page_scanner.h"

namespace keyward::engine {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kEntries = 120;
constexpr std::size_t kPiece = 24;

class PurgeProofTest : public ::testing::Test {
 protected:
  static std::string name_of(int number) { return fmt::format("entry {}", number); }
  // Sizes that fill pages in many ways, and some that need overflow pages.
  std::string secret(int number) {
    std::string text = fmt::format("canary {} {} ", number, random_());
    text.resize(number % 40 == 7 ? 50'000 : 60 + random_() % 2500, 'c');
    secrets_.push_back(text.substr(0, kPiece));
    return text;
  }
  void put(int number) {
    ASSERT_TRUE(rig_.put(name_of(number), secret(number)));
    remember_ciphertext(number);
  }
  // Of the blob's header a rekey keeps the version and the digest of the name: they are no secret.
  void remember_ciphertext(int number) {
    const auto name = EntryName::parse(name_of(number)).value();
    const Bytes blob = rig_.keystore()->get(name).value().blob;
    const ByteView sealed = ByteView(blob).subspan(28);
    for (const ByteView part : {sealed.first(kPiece), sealed.last(kPiece)})
      old_bytes_.emplace_back(part.begin(), part.end());
  }
  void remember_copies() {
    const store::KeyTable table = rig_.table();
    for (const SealedKey& copy : table.current().copies) old_bytes_.push_back(copy.blob);
  }
  std::vector<store::ScanHit> find(const std::vector<Bytes>& needles) {
    const std::vector<ByteView> views(needles.begin(), needles.end());
    return store::scan_files_for(rig_.state().string(), views).value();
  }
  void expect_nothing_left() {
    EXPECT_THAT(find(old_bytes_), IsEmpty());
    std::vector<Bytes> secrets;
    for (const std::string& text : secrets_) {
      const ByteView bytes = as_bytes(text);
      secrets.emplace_back(bytes.begin(), bytes.end());
    }
    EXPECT_THAT(find(secrets), IsEmpty());
    auto& self = dynamic_cast<store::SelfCheck&>(*rig_.keystore());
    EXPECT_THAT(self.find_residue({}).value(), IsEmpty());
  }
  // The scanner sees what is there.
  void expect_the_current_copies_found() {
    std::vector<Bytes> current;
    const store::KeyTable table = rig_.table();
    for (const SealedKey& copy : table.current().copies) current.push_back(copy.blob);
    EXPECT_THAT(find(current), ::testing::Not(IsEmpty()));
  }

  EngineRig rig_;
  std::mt19937 random_{11};
  std::vector<std::string> secrets_;
  std::vector<Bytes> old_bytes_;
};

TEST_F(PurgeProofTest, NothingOldIsLeftAfterARekeyWithPutsAndDeletesBetweenItsSteps) {
  for (int i = 0; i < kEntries; ++i) put(i);
  for (int i = 0; i < kEntries; i += 3) put(i);
  for (int i = 0; i < kEntries; i += 5) ASSERT_TRUE(rig_.erase(name_of(i)));
  remember_copies();
  EXPECT_THAT(find({old_bytes_.back()}), ::testing::Not(IsEmpty())) << "it is there before";
  ASSERT_TRUE(rig_.begin());
  for (int i = 1; rig_.table().rekey; i += 5) {
    ASSERT_TRUE(rig_.step());
    const auto rekey = rig_.table().rekey;
    if (i < kEntries && rekey && rekey->phase == store::RekeyPhase::reencrypt) {
      ASSERT_TRUE(rig_.erase(name_of(i)));
    }
  }
  expect_nothing_left();
  expect_the_current_copies_found();
  rig_.restart();
  expect_nothing_left();
}

TEST_F(PurgeProofTest, NothingOfTheKeyThatWasGivenUpIsLeftAfterACancel) {
  for (int i = 0; i < kEntries; ++i) ASSERT_TRUE(rig_.put(name_of(i), secret(i)));
  ASSERT_TRUE(rig_.begin());
  ASSERT_TRUE(rig_.step_until(store::RekeyPhase::verify));
  for (int i = 0; i < kEntries; ++i) remember_ciphertext(i);
  const store::KeyTable table = rig_.table();
  for (const SealedKey& copy : table.find(table.rekey->to)->copies) old_bytes_.push_back(copy.blob);
  ASSERT_TRUE(RekeyJob(rig_.parts()).cancel(EngineRig::caller()));
  ASSERT_TRUE(rig_.finish());
  expect_nothing_left();
}

TEST_F(PurgeProofTest, TheCopyOfACustodianThatWasRemovedIsLeftNowhere) {
  put(1);
  const store::KeyTable table = rig_.table();
  const SealedKey* dropped = table.current().copy_of({"fake:b"});
  ASSERT_NE(dropped, nullptr);
  old_bytes_ = {dropped->blob};
  EXPECT_THAT(find(old_bytes_), SizeIs(::testing::Ge(1u)));
  ASSERT_TRUE(rig_.want({"fake:a"}));
  ASSERT_TRUE(rig_.reseal());
  EXPECT_THAT(find(old_bytes_), IsEmpty());
}

}  // namespace
}  // namespace keyward::engine
