#include "store/audit_chain.h"

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/text.h"
#include "crypto/kdf.h"

namespace keyward::store {
namespace {

void append_number(Bytes& out, std::uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8)
    out.push_back(static_cast<std::byte>((value >> shift) & 0xff));
}

void append_text(Bytes& out, std::string_view text) {
  append_number(out, text.size());
  const ByteView bytes = as_bytes(text);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

AuditLink audit_link(const AuditLink& previous, const StoredRecord& record) {
  constexpr std::string_view kLabel = "keyward audit v1";
  Bytes input;
  const ByteView label = as_bytes(kLabel);
  input.insert(input.end(), label.begin(), label.end());
  input.insert(input.end(), previous.begin(), previous.end());
  append_number(input, record.sequence);
  append_number(input, static_cast<std::uint64_t>(record.time.time_since_epoch().count()));
  const AuditRecord& fields = record.record;
  for (const std::string* field : {&fields.action, &fields.actor, &fields.origin, &fields.subject,
                                   &fields.outcome, &fields.detail})
    append_text(input, *field);
  return crypto::sha256(ByteView(input));
}

}  // namespace keyward::store
