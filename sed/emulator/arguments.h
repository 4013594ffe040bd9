// The parameters of a method: required ones in order, then optional ones by name.
//
//   constexpr std::string_view kNames[] = {"HostChallenge", …};
//   const std::optional<Arguments> arguments = Arguments::parse(call, 3, family, kNames);
//   if (!arguments) return Status::invalid_parameter;
//   const Value* challenge = arguments->optional(0);
//
// Names are numbers (Core 2.0 on) or, in Enterprise, the texts themselves.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sed/emulator/options.h"
#include "sed/emulator/value.h"

namespace keyward::sed::emulator {

class Arguments final {
 public:
  // None when a required one is missing, or an optional one is unknown or comes twice. With
  // `first_number` the numbers start there, as those of SSC methods do.
  static std::optional<Arguments> parse(const std::vector<Value>& parameters, std::size_t required,
                                        Family family, std::span<const std::string_view> names,
                                        std::uint64_t first_number = 0);

  const Value& required(std::size_t n) const { return *required_[n]; }
  // Null when it was left out.
  const Value* optional(std::size_t n) const { return optional_[n]; }

 private:
  std::vector<const Value*> required_;
  std::vector<const Value*> optional_;
};

}  // namespace keyward::sed::emulator
