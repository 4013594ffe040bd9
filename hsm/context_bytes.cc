#include "hsm/context_bytes.h"

#include "base/text.h"

namespace keyward::hsm {

Bytes context_bytes(const KeyContext& context) {
  Bytes bytes(context.store.bytes.begin(), context.store.bytes.end());
  bytes.insert(bytes.end(), context.key.bytes.begin(), context.key.bytes.end());
  const ByteView domain = as_bytes(context.domain.text());
  bytes.insert(bytes.end(), domain.begin(), domain.end());
  return bytes;
}

}  // namespace keyward::hsm
