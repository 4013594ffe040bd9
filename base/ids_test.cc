#include "base/ids.h"

#include <gtest/gtest.h>

#include <set>
#include <unordered_set>

namespace keyward {
namespace {

TEST(UuidTest, RandomOnesAreOfVersionFourAndDiffer) {
  std::unordered_set<KeyId> ids;
  for (int round = 0; round < 1000; ++round) {
    const KeyId id = KeyId::random();
    const std::string text = id.to_text();
    EXPECT_EQ(text[14], '4') << text;
    EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos) << text;
    EXPECT_EQ(KeyId::parse(text).value(), id);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(UuidTest, EitherCaseIsReadAndLowerIsWritten) {
  EXPECT_EQ(StoreId::parse("01234567-89AB-4DEF-8123-456789ABCDEF").value().to_text(),
            "01234567-89ab-4def-8123-456789abcdef");
}

TEST(UuidTest, OtherFormsAreRefused) {
  for (const char* text :
       {"", "01234567-89ab-4def-8123-456789abcde", "01234567-89ab-4def-8123-456789abcdef0",
        "0123456789ab4def8123456789abcdef", "{01234567-89ab-4def-8123-456789abcdef}",
        "01234567-89ab-4def-8123_456789abcdef", "0123456g-89ab-4def-8123-456789abcdef",
        "-1234567-89ab-4def-8123-456789abcdef", "01234567889ab-4def-8123-456789abcdef"})
    EXPECT_EQ(KeyId::parse(text).error().code, ErrorCode::invalid_argument) << text;
}

TEST(DomainTest, OnlyUpperCaseNamesAreAccepted) {
  for (const char* text : {"S3", "IPMI_MGMT", "A", "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"})
    EXPECT_EQ(Domain::parse(text).value().text(), text);
  for (const char* text : {"", "s3", "3S", "_A", "A-B", "A B", "A.B", "../A", "A/B", "Ä", "A\n",
                           "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456"})
    EXPECT_EQ(Domain::parse(text).error().code, ErrorCode::invalid_argument) << text;
  EXPECT_FALSE(Domain::parse(std::string_view("S3\0", 3)).has_value());
}

TEST(EntryNameTest, AnyPrintableUtf8IsAcceptedUpTo512Bytes) {
  const std::string longest(512, 'x');
  for (const std::string& text : {std::string("a"), std::string("users/ünï/€😀"),
                                  std::string("../../etc/passwd"), std::string(" "), longest})
    EXPECT_EQ(EntryName::parse(text).value().text(), text);
}

TEST(EntryNameTest, EmptyOverlongControlAndBrokenNamesAreRefused) {
  for (const std::string& text :
       {std::string(), std::string(513, 'x'), std::string("a\nb"), std::string("a\0b", 3),
        std::string("\x7f"), std::string("\xc2\x80"), std::string("\xff"), std::string("a\xc3")})
    EXPECT_EQ(EntryName::parse(text).error().code, ErrorCode::invalid_argument);
}

TEST(EntryNameTest, TheMessageDoesNotCarryTheControlCharacter) {
  EXPECT_EQ(EntryName::parse("a\nb").error().message.find('\n'), std::string::npos);
}

TEST(IdsTest, TheyAreOrderedAndHashedByValue) {
  const std::set<Domain> ordered = {Domain::parse("B").value(), Domain::parse("A").value(),
                                    Domain::parse("B").value()};
  EXPECT_EQ(ordered.begin()->text(), "A");
  EXPECT_EQ(ordered.size(), 2u);
  const std::unordered_set<EntryName> names = {EntryName::parse("a").value(),
                                               EntryName::parse("a").value()};
  EXPECT_EQ(names.size(), 1u);
  const std::unordered_set<Domain> domains(ordered.begin(), ordered.end());
  EXPECT_EQ(domains.size(), 2u);
}

}  // namespace
}  // namespace keyward
