#include "hsm/tpm2/enrolment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/text.h"

namespace keyward::hsm::tpm2 {
namespace {

class EnrolmentTest : public testing::Test {
 protected:
  EnrolmentTest() {
    char path[] = "/tmp/kwenrol-XXXXXX";
    directory_ = mkdtemp(path);
    path_ = directory_ + "/tpm2-a.enrolment";
  }
  ~EnrolmentTest() override { std::filesystem::remove_all(directory_); }

  std::string text() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const { std::ofstream(path_) << text; }

  std::string directory_;
  std::string path_;
};

Enrolment sample() { return make_enrolment(Bytes(90, std::byte{0x5a})).value(); }

TEST_F(EnrolmentTest, ReadsBackWhatItWrote) {
  const Enrolment enrolment = sample();
  ASSERT_TRUE(store_enrolment(path_, enrolment).has_value());
  const Enrolment again = load_enrolment(path_).value().value();
  EXPECT_EQ(again.srk_public, enrolment.srk_public);
  EXPECT_TRUE(constant_time_equal(again.nv_auth.reveal(), enrolment.nv_auth.reveal()));
  EXPECT_EQ(again.srk_name(), enrolment.srk_name());
}

TEST_F(EnrolmentTest, AbsentFileIsNone) { EXPECT_FALSE(load_enrolment(path_).value().has_value()); }

TEST_F(EnrolmentTest, IsPrivateAndLeavesNoOtherFile) {
  ASSERT_TRUE(store_enrolment(path_, sample()).has_value());
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(EnrolmentTest, AuthValuesAreRandomAndNeverEndWithZero) {
  for (int round = 0; round < 1000; ++round) {
    ASSERT_NE(sample().nv_auth.reveal().back(), std::byte{0});
  }
  EXPECT_FALSE(constant_time_equal(sample().nv_auth.reveal(), sample().nv_auth.reveal()));
}

TEST_F(EnrolmentTest, AnythingElseIsCorruptAndSaysWhatToDo) {
  ASSERT_TRUE(store_enrolment(path_, sample()).has_value());
  const std::string good = text();
  const std::size_t auth = good.find("nv_auth ") + 8;
  std::string not_hex = good;
  not_hex[auth] = 'x';
  for (const std::string& bad :
       {std::string("keyward-tpm2-enrolment 2\n") + good.substr(25), good.substr(0, 40),
        good.substr(0, good.size() - 3), good + "more\n", not_hex, std::string("{}"),
        std::string(8000, 'a')}) {
    write(bad);
    const auto loaded = load_enrolment(path_);
    ASSERT_FALSE(loaded.has_value()) << bad;
    EXPECT_EQ(loaded.error().code, ErrorCode::corrupt) << bad;
    EXPECT_THAT(loaded.error().message, testing::HasSubstr("restore it from a backup"));
    EXPECT_THAT(loaded.error().message,
                testing::Not(testing::HasSubstr(good.substr(auth + 1, 62))));
  }
}

TEST_F(EnrolmentTest, MissingDirectoryIsAnError) {
  const Result<void> stored = store_enrolment(directory_ + "/none/x", sample());
  ASSERT_FALSE(stored.has_value());
  EXPECT_EQ(stored.error().code, ErrorCode::io);
}

}  // namespace
}  // namespace keyward::hsm::tpm2
