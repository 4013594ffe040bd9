// Bytes as specifications and dumps print them: hex("F8 A8 00000000000000FF").
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/text.h"

namespace keyward::sed::tcg {

// Blanks are for the eye.
inline Bytes hex(std::string_view digits) {
  std::string packed;
  for (const char c : digits)
    if (c != ' ' && c != '\n') packed += c;
  return from_hex(packed).value();
}

}  // namespace keyward::sed::tcg
