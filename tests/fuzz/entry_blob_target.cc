#include <algorithm>

#include "base/check.h"
#include "crypto/aead.h"
#include "store/entry_cipher.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using store::EntryCipher;
using store::SealedEntry;

constexpr std::uint64_t kVersion = 7;

SecretBytes bytes_of(std::size_t size, unsigned value) {
  SecretBytes bytes = SecretBytes::allocate(size).value();
  std::ranges::fill(bytes.reveal_mutable(), static_cast<std::byte>(value));
  return bytes;
}

EntryCipher cipher_of(unsigned number) {
  KeyId id;
  id.bytes[0] = static_cast<std::byte>(number);
  const crypto::AeadEngine& engine = crypto::choose_aead_engine("auto").value();
  return {Domain::parse("S3").value(), id, engine.open(bytes_of(32, number)).value()};
}

// Which bytes of the blob are changed, and how many are cut off or added.
Bytes tampered(Bytes blob, Input& input) {
  const unsigned cut = input.byte();
  for (unsigned changes = input.byte() % 8; changes > 0; --changes) {
    const std::size_t at = (input.byte() << 8 | input.byte()) % blob.size();
    blob[at] ^= static_cast<std::byte>(input.byte());
  }
  if (cut >= 128) blob.resize(blob.size() - std::min<std::size_t>(blob.size(), cut - 128));
  const ByteView more = cut < 128 ? input.take(cut) : ByteView();
  blob.insert(blob.end(), more.begin(), more.end());
  return blob;
}

void check_moved(const EntryCipher& from, const SealedEntry& entry, bool opens) {
  EntryCipher to = cipher_of(2);
  const auto reencryptor = store::make_reencryptor(from, to);
  reencryptor->begin_batch();
  Bytes moved(entry.blob.size());
  const Result<void> done = reencryptor->reencrypt(entry.blob, moved);
  CHECK(done.has_value() == opens, "a rekey and a read disagree whether an entry is whole");
  const EntryName name = EntryName::parse("entry").value();
  if (done)
    CHECK(to.decrypt(name, {to.key(), kVersion, moved}).has_value(), "a moved entry is lost");
}

}  // namespace

// Whatever bytes stand in a row: an entry opens only when they are those that were written.
void fuzz_entry_blob(ByteView bytes) {
  Input input(bytes);
  const EntryName name = EntryName::parse("entry").value();
  EntryCipher cipher = cipher_of(1);
  const SecretBytes secret = bytes_of(1 + input.byte(), 0x5a);
  const SealedEntry whole = cipher.encrypt(name, kVersion, secret).value();
  const SealedEntry row{whole.key, kVersion, tampered(whole.blob, input)};
  const Result<SecretBytes> opened = cipher.decrypt(name, row);
  CHECK(opened.has_value() == (row.blob == whole.blob),
        "a changed entry opens, or a whole does not");
  CHECK(opened || opened.error().code == ErrorCode::corrupt, "a changed entry is corrupt");
  CHECK(!opened || constant_time_equal(opened->reveal(), secret.reveal()), "another secret");
  check_moved(cipher, row, opened.has_value());
  check_moved(cipher, {whole.key, kVersion, Bytes(bytes.begin(), bytes.end())}, false);
}

}  // namespace keyward::fuzz
