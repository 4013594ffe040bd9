// What a method call is answered with (Core 3.2.4.2): results and a status.
//
//   MethodAnswer answer = TRY(parse_method_answer(tokens));
//   if (answer.status != status::kSuccess) return std::unexpected(method_error(answer.status,
//   "Get"));
//
// Pure. `protocol` when it is malformed.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "sed/tcg/value.h"

namespace keyward::sed::tcg {

struct MethodAnswer {
  // Session manager methods are answered with a call of another method.
  std::optional<Uid> called{};
  List results{};
  std::uint64_t status = 0;
};

Result<MethodAnswer> parse_method_answer(ByteView tokens);

}  // namespace keyward::sed::tcg
