#include "hsm/tpm2/tpm_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace keyward::hsm::tpm2 {
namespace {

TEST(TpmErrorTest, ReturnCodesBecomeTheCodesThatCallersBranchOn) {
  const struct {
    std::uint32_t rc;
    ErrorCode code;
  } cases[] = {
      {0x98e, ErrorCode::auth_failed},     // AUTH_FAIL, session 1
      {0x9a2, ErrorCode::auth_failed},     // BAD_AUTH, session 1
      {0x921, ErrorCode::locked_out},      // LOCKOUT
      {0x99d, ErrorCode::conflict},        // POLICY_FAIL, session 1
      {0x1df, ErrorCode::corrupt},         // INTEGRITY, parameter 1
      {0x18b, ErrorCode::not_found},       // HANDLE, handle 1
      {0x902, ErrorCode::exhausted},       // OBJECT_MEMORY
      {0x903, ErrorCode::exhausted},       // SESSION_MEMORY
      {0x14b, ErrorCode::exhausted},       // NV_SPACE
      {0x14c, ErrorCode::already_exists},  // NV_DEFINED
      {0x100, ErrorCode::unavailable},     // INITIALIZE
      {0x101, ErrorCode::unavailable},     // FAILURE
      {0x128, ErrorCode::busy},            // PCR_CHANGED
      {0x143, ErrorCode::unsupported},     // COMMAND_CODE
      {0xa000a, ErrorCode::unavailable},   // TCTI: IO_ERROR
      {0x70018, ErrorCode::protocol},      // ESAPI: anything else
      {0xb0921, ErrorCode::locked_out},    // LOCKOUT by way of a resource manager
      {0x1c4, ErrorCode::protocol},        // VALUE: nothing that we know
  };
  for (const auto& known : cases) {
    const Error error = tpm_error(known.rc, "Esys_Test");
    EXPECT_EQ(error.code, known.code) << std::hex << known.rc << ": " << error.message;
    EXPECT_EQ(error.native, known.rc);
    EXPECT_EQ(error.origin, "Esys_Test");
    EXPECT_TRUE(error.message.starts_with("Esys_Test: ")) << error.message;
  }
}

TEST(TpmErrorTest, OnlyWhatPassesByItselfIsSentAgain) {
  for (const std::uint32_t rc : {0x922u, 0x908u, 0x90au, 0x920u, 0x923u, 0xb0922u}) {
    EXPECT_TRUE(is_passing(rc)) << std::hex << rc;
    EXPECT_EQ(tpm_error(rc, "Esys_Test").code, ErrorCode::busy) << std::hex << rc;
  }
  for (const std::uint32_t rc : {0u, 0x98eu, 0x921u, 0x99du, 0x128u, 0xa000au, 0x902u}) {
    EXPECT_FALSE(is_passing(rc)) << std::hex << rc;
  }
}

TEST(TpmErrorTest, HandleSessionAndParameterNumbersDoNotMatter) {
  EXPECT_TRUE(is_tpm_code(0x98e, TpmCode::auth_fail));
  EXPECT_TRUE(is_tpm_code(0xa8e, TpmCode::auth_fail));
  EXPECT_TRUE(is_tpm_code(0x18b, TpmCode::handle));
  EXPECT_TRUE(is_tpm_code(0x1df, TpmCode::integrity));
  EXPECT_FALSE(is_tpm_code(0, TpmCode::handle));
  EXPECT_FALSE(is_tpm_code(0x99d, TpmCode::auth_fail));
  EXPECT_FALSE(is_tpm_code(0xa018b, TpmCode::handle));  // A layer's own code with the same digits.
  EXPECT_TRUE(blames_parameter(0x1d5));
  EXPECT_FALSE(blames_parameter(0x18b));
  EXPECT_FALSE(blames_parameter(0x902));
}

}  // namespace
}  // namespace keyward::hsm::tpm2
