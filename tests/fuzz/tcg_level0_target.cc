#include "base/check.h"
#include "base/text.h"
#include "sed/tcg/byte_reader.h"
#include "sed/tcg/discovery.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {

void fuzz_tcg_level0(ByteView input) {
  using namespace sed::tcg;
  const Result<Discovery> found = parse_discovery(input);
  if (!found) {
    CHECK(found.error().code == ErrorCode::protocol, "a malformed answer is a protocol error");
    CHECK(is_printable_utf8(found.error().message), "a text for no terminal");
    return;
  }
  const std::size_t size = std::size_t{ByteReader(input).u32()} + 4;
  CHECK(size <= input.size(), "more was read than there is");
  // What lies behind it does not matter, and nothing less will do.
  CHECK(parse_discovery(input.first(size)).has_value(), "it needed what lies behind it");
  CHECK(!parse_discovery(input.first(size - 1)), "it did not need its last byte");
  std::size_t kept = 0;
  for (const OtherFeature& other : found->others) {
    kept += 4 + other.body.size();
    CHECK(is_printable_utf8(feature_name(other.code)), "a text for no terminal");
  }
  CHECK(kept <= input.size(), "more was kept than there is");
  if (const SscFeature* ssc = found->ssc())
    CHECK(ssc->ssc != Ssc::none && ssc_name(ssc->ssc) != "none", "a class without a name");
}

}  // namespace keyward::fuzz
