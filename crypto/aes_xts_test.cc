#include "crypto/aes_xts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"

namespace keyward::crypto {
namespace {

Bytes hex(std::string_view text) { return from_hex(text).value(); }

Bytes ieee_key() {
  return hex(
      "2718281828459045235360287471352662497757247093699959574966967627"
      "3141592653589793238462643383279502884197169399375105820974944592");
}

Bytes counting(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t n = 0; n < size; ++n) bytes[n] = static_cast<std::byte>(n);
  return bytes;
}

struct Vector {
  std::uint64_t unit;
  const char* begin;
  const char* end;
};

// IEEE 1619-2007, annex B, vectors 10, 11 and 14: the first and the last 32 bytes.
TEST(AesXtsTest, KnownAnswers) {
  for (const Vector& vector : {Vector{0xff,
                                      "1c3b3a102f770386e4836c99e370cf9b"
                                      "ea00803f5e482357a4ae12d414a3e63b",
                                      "773dad38014bd2092fa755c824bb5e54"
                                      "c4f36ffda9fcea70b9c6e693e148c151"},
                               {0xffff,
                                "77a31251618a15e6b92d1d66dffe7b50"
                                "b50bad552305ba0217a610688eff7e11",
                                "54fbff89eeaeea791f4a7ab1f9868294"
                                "a4f9e27b42af8100cb9d59cef9645803"},
                               {0xffffffffff,
                                "64497e5a831e4a932c09be3e5393376d"
                                "aa599548b816031d224bbf50a818ed23",
                                "6975be5e0b4efce51cd3e70c25a1fbbb"
                                "d609d273ad5b0d59631c531f6a0a57b9"}}) {
    AesXts xts = AesXts::open(ieee_key()).value();
    const Bytes plaintext = counting(512);
    Bytes sector(512);
    ASSERT_TRUE(xts.encrypt(vector.unit, 512, plaintext, sector).has_value());
    EXPECT_EQ(to_hex(ByteView(sector).first(32)), vector.begin);
    EXPECT_EQ(to_hex(ByteView(sector).last(32)), vector.end);
    ASSERT_TRUE(xts.decrypt(vector.unit, 512, sector, sector).has_value());
    EXPECT_EQ(sector, plaintext);
  }
}

TEST(AesXtsTest, EachSectorOfARunHasItsOwnTweak) {
  AesXts xts = AesXts::open(ieee_key()).value();
  const Bytes zeros(3 * 4096);
  Bytes run(zeros.size());
  ASSERT_TRUE(xts.encrypt(7, 4096, zeros, run).has_value());
  Bytes one(4096);
  ASSERT_TRUE(xts.encrypt(9, 4096, ByteView(zeros).first(4096), one).has_value());
  EXPECT_TRUE(std::ranges::equal(ByteView(run).last(4096), one));
  EXPECT_FALSE(std::ranges::equal(ByteView(run).first(4096), one));
}

TEST(AesXtsTest, KeysOfOtherSizesOrEqualHalvesAreRefused) {
  EXPECT_EQ(AesXts::open(Bytes(63)).error().code, ErrorCode::invalid_argument);
  Bytes key = ieee_key();
  std::copy_n(key.begin(), 32, key.begin() + 32);
  EXPECT_EQ(AesXts::open(key).error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace keyward::crypto
