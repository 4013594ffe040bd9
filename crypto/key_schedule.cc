#include "crypto/key_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "crypto/kdf.h"

namespace keyward::crypto {
namespace {

// The only labels under which a master key is ever used.
constexpr std::string_view kEntryLabel = "entry v1";
constexpr std::string_view kCommitLabel = "commit v1";
constexpr std::string_view kWantedLabel = "wanted v1";

void append(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

Result<SecretBytes> derive(const SecretBytes& master_key, std::string_view label,
                           const Domain& domain, const KeyId& key) {
  if (master_key.size() != kMasterKeyBytes)
    return fail(ErrorCode::invalid_argument, fmt::format("a master key has {} bytes, not {}",
                                                         kMasterKeyBytes, master_key.size()));
  Bytes info;
  append(info, as_bytes(label));
  info.push_back(std::byte{0});
  append(info, as_bytes(domain.text()));
  info.push_back(std::byte{0});
  append(info, key.bytes);
  return hkdf_sha256(master_key.reveal(), {}, info, kMasterKeyBytes);
}

// Its length in two bytes, big-endian, then the text.
Result<void> append_prefixed(Bytes& out, std::string_view text) {
  if (text.size() > 0xffff)
    return fail(ErrorCode::invalid_argument, "a custodian's id or identity is over 65,535 bytes");
  out.push_back(static_cast<std::byte>(text.size() >> 8));
  out.push_back(static_cast<std::byte>(text.size() & 0xff));
  append(out, as_bytes(text));
  return {};
}

}  // namespace

Result<SecretBytes> derive_entry_key(const SecretBytes& master_key, const Domain& domain,
                                     const KeyId& key) {
  return derive(master_key, kEntryLabel, domain, key);
}

Result<KeyCommitment> commit_to_key(const SecretBytes& master_key, const Domain& domain,
                                    const KeyId& key) {
  const SecretBytes derived = TRY(derive(master_key, kCommitLabel, domain, key));
  KeyCommitment commitment;
  std::ranges::copy(derived.reveal(), commitment.begin());
  return commitment;
}

Result<WantedMac> authenticate_wanted(const SecretBytes& master_key, const KeyContext& context,
                                      std::span<const WantedCustodian> wanted) {
  std::vector<WantedCustodian> sorted(wanted.begin(), wanted.end());
  std::ranges::sort(sorted);
  Bytes message;
  append(message, context.store.bytes);
  TRY(append_prefixed(message, context.domain.text()));
  for (const WantedCustodian& custodian : sorted) {
    TRY(append_prefixed(message, custodian.id.text));
    TRY(append_prefixed(message, custodian.identity));
  }
  const SecretBytes mac_key = TRY(derive(master_key, kWantedLabel, context.domain, context.key));
  return hmac_sha256(mac_key.reveal(), message);
}

}  // namespace keyward::crypto
