// CKA_LABEL of a wrapping object, made for people who list the token with its vendor's tool:
//
//   keyward 0f5c… S3 7b1e… live
//   (store, domain, key, and "announced" until confirm() says "live")
//
// It is how an object is found for a context, and how list() tells what it belongs to. Values; any
// thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/sealed_key.h"

namespace keyward::hsm::pkcs11 {

struct ObjectLabel {
  KeyContext context;
  bool confirmed = false;

  std::string to_text() const;
  // Nothing when the label is not one of ours.
  static std::optional<ObjectLabel> parse(std::string_view text);
};

}  // namespace keyward::hsm::pkcs11
