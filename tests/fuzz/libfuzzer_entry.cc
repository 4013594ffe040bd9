// What libFuzzer calls. Compiled once for each target, which KEYWARD_FUZZ_TARGET names.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  keyward::fuzz::KEYWARD_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
