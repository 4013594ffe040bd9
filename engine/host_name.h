// This machine's name, for people.
#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace keyward::engine {

inline std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "this node";
}

}  // namespace keyward::engine
