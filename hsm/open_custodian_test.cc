#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hsm/custodian.h"

namespace keyward::hsm {
namespace {

using testing::HasSubstr;

Result<std::unique_ptr<Custodian>> open(std::string kind, std::string name,
                                        std::string settings = "source = \"prompt\"") {
  const std::unique_ptr<Clock> clock = real_clock();
  return open_custodian({std::move(kind), std::move(name), std::move(settings), ""}, *clock);
}

TEST(OpenCustodianTest, TheIdIsKindAndNameAndNothingNeedsToBeThereYet) {
  const auto custodian = open("passphrase", "safe");
  ASSERT_TRUE(custodian.has_value()) << custodian.error().message;
  EXPECT_EQ((*custodian)->id().text, "passphrase:safe");
  EXPECT_EQ((*custodian)->probe().error().code, ErrorCode::unavailable);
}

TEST(OpenCustodianTest, NamesOutsideTheGrammarAreRefused) {
  const std::string long_name(33, 'a');
  for (const std::string& name :
       {std::string(), std::string("Safe"), std::string("1safe"), std::string("-safe"),
        std::string("sa fe"), std::string("sa/fe"), std::string("sa:fe"), std::string("../x"),
        std::string("sa\0fe", 5), long_name}) {
    const auto custodian = open("passphrase", name);
    ASSERT_FALSE(custodian.has_value()) << name;
    EXPECT_EQ(custodian.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(custodian.error().message, HasSubstr("name"));
  }
  EXPECT_TRUE(open("passphrase", std::string(32, 'a')).has_value());
  EXPECT_TRUE(open("passphrase", "a-1").has_value());
}

TEST(OpenCustodianTest, AnUnknownKindIsRefusedAndTheKnownOnesAreNamed) {
  for (const char* kind : {"", "kmip", "PKCS11", "passphrase "}) {
    const auto custodian = open(kind, "safe");
    ASSERT_FALSE(custodian.has_value()) << kind;
    EXPECT_EQ(custodian.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(custodian.error().message, HasSubstr("pkcs11, tpm2 and passphrase"));
  }
}

TEST(OpenCustodianTest, EachKindNamesItsOwnSettingThatIsWrong) {
  for (const char* kind : {"pkcs11", "tpm2", "passphrase"}) {
    const auto custodian = open(kind, "a", "no_such_setting = 1");
    ASSERT_FALSE(custodian.has_value()) << kind;
    EXPECT_EQ(custodian.error().code, ErrorCode::invalid_argument) << custodian.error().message;
    EXPECT_THAT(custodian.error().message, HasSubstr(kind));
  }
}

}  // namespace
}  // namespace keyward::hsm
