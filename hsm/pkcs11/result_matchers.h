// EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::locked_out)). For test programs only.
#pragma once

#include <gmock/gmock.h>

#include "base/result.h"

namespace keyward::hsm {

MATCHER_P(FailsWith, code, "") {
  if (arg.has_value()) {
    *result_listener << "it succeeded";
    return false;
  }
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code;
}

MATCHER(Succeeds, "") {
  if (!arg.has_value())
    *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.has_value();
}

}  // namespace keyward::hsm
