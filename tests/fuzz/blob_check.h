// What holds for every format of sealed copies.
#pragma once

#include "base/check.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {

template <typename Blob>
void check_blob(ByteView bytes) {
  const Result<Blob> blob = Blob::parse(bytes);
  if (!blob) {
    CHECK(blob.error().code == ErrorCode::corrupt || blob.error().code == ErrorCode::unsupported,
          "a copy that does not parse is corrupt");
    CHECK(is_printable_utf8(blob.error().message), "a text for no terminal");
    return;
  }
  const Bytes written = blob->render();
  CHECK(std::ranges::equal(written, bytes), "a sealed copy is written as other bytes");
}

// As it is, and with the digest that it should end in: chance finds none.
template <typename Blob>
void check_blob_and_digest(ByteView input, std::size_t digest_bytes) {
  check_blob<Blob>(input);
  Bytes complete(input.begin(), input.end());
  const crypto::Sha256Digest digest = crypto::sha256(input);
  complete.insert(complete.end(), digest.begin(),
                  digest.begin() + static_cast<std::ptrdiff_t>(digest_bytes));
  check_blob<Blob>(complete);
}

}  // namespace keyward::fuzz
