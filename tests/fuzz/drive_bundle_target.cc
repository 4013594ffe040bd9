#include "engine/drives/drive_bundle.h"
#include "tests/fuzz/blob_check.h"

namespace keyward::fuzz {
namespace {

void check_plaintext(ByteView input) {
  const Result<engine::DriveBundle> bundle = engine::parse_bundle(input);
  if (!bundle) {
    CHECK(bundle.error().code == ErrorCode::corrupt, "a bundle that does not parse is corrupt");
    CHECK(is_printable_utf8(bundle.error().message), "a text for no terminal");
    return;
  }
  const Result<SecretBytes> written = engine::render_bundle(*bundle);
  CHECK(written && std::ranges::equal(written->reveal(), input), "a bundle as other bytes");
}

}  // namespace

// What stands in front of the passphrase, and what stands behind it.
void fuzz_drive_bundle(ByteView input) {
  check_blob_and_digest<engine::SealedBundle>(input, 16);
  check_plaintext(input);
}

}  // namespace keyward::fuzz
