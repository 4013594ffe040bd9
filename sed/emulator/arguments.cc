#include "sed/emulator/arguments.h"

namespace keyward::sed::emulator {
namespace {

std::optional<std::size_t> index_of(const Value& name, Family family,
                                    std::span<const std::string_view> names,
                                    std::uint64_t first_number) {
  for (std::size_t n = 0; n < names.size(); ++n) {
    const bool matches = family == Family::enterprise
                             ? name.is_text(names[n])
                             : name.is_number() && name.number == first_number + n;
    if (matches) return n;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Arguments> Arguments::parse(const std::vector<Value>& parameters,
                                          std::size_t required, Family family,
                                          std::span<const std::string_view> names,
                                          std::uint64_t first_number) {
  Arguments arguments;
  arguments.optional_.resize(names.size());
  if (parameters.size() < required) return std::nullopt;
  for (std::size_t n = 0; n < parameters.size(); ++n) {
    const Value& parameter = parameters[n];
    if (n < required) {
      if (parameter.is_named()) return std::nullopt;
      arguments.required_.push_back(&parameter);
      continue;
    }
    if (!parameter.is_named()) return std::nullopt;
    const std::optional<std::size_t> index =
        index_of(parameter.name(), family, names, first_number);
    if (!index || arguments.optional_[*index] != nullptr) return std::nullopt;
    arguments.optional_[*index] = &parameter.value();
  }
  return arguments;
}

}  // namespace keyward::sed::emulator
