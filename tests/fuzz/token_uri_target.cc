#include "api/url.h"
#include "base/check.h"
#include "base/text.h"
#include "hsm/pkcs11/object_label.h"
#include "hsm/pkcs11/token_uri.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using hsm::pkcs11::ObjectLabel;
using hsm::pkcs11::TokenUri;

std::string render(const TokenUri& uri) {
  std::string text = "pkcs11:";
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) text += std::string(name) + "=" + api::percent_encode(value) + ";";
  };
  add("token", uri.label);
  add("serial", uri.serial);
  add("manufacturer", uri.manufacturer);
  add("model", uri.model);
  return text;
}

void check_uri(std::string_view text) {
  const Result<TokenUri> uri = TokenUri::parse(text);
  if (!uri) {
    CHECK(uri.error().code == ErrorCode::invalid_argument, "a bad URI is invalid_argument");
    CHECK(is_printable_utf8(uri.error().message), "a text for no terminal");
    return;
  }
  CHECK(text.find('?') == std::string_view::npos, "a URI that may hold a PIN");
  CHECK(!uri->label.empty() || !uri->serial.empty(), "a URI that names no token");
  CHECK(uri->label.size() <= 32 && uri->serial.size() <= 16 && uri->manufacturer.size() <= 32 &&
            uri->model.size() <= 16,
        "a field that is longer than the token's");
  const Result<TokenUri> again = TokenUri::parse(render(*uri));
  CHECK(again && again->label == uri->label && again->serial == uri->serial &&
            again->manufacturer == uri->manufacturer && again->model == uri->model,
        "a URI reads back as another");
}

void check_label(std::string_view text) {
  const std::optional<ObjectLabel> label = ObjectLabel::parse(text);
  if (!label) return;
  const std::optional<ObjectLabel> again = ObjectLabel::parse(label->to_text());
  CHECK(again && again->context == label->context && again->confirmed == label->confirmed,
        "an object's label reads back as another");
}

}  // namespace

void fuzz_token_uri(ByteView input) {
  check_uri(text_of(input));
  check_label(text_of(input));
}

}  // namespace keyward::fuzz
