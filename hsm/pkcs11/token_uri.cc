#include "hsm/pkcs11/token_uri.h"

#include <fmt/format.h>

#include "base/text.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr std::string_view kScheme = "pkcs11:";

std::unexpected<Error> wrong(std::string_view what) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("token: {}. Write \"pkcs11:token=LABEL;serial=NUMBER\", as `pkcs11-tool "
                          "--list-token-slots` shows it",
                          what));
}

Result<std::string> decode(std::string_view value) {
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '\0') return wrong("a zero byte ends every text of a token");
    if (value[i] != '%') {
      text += value[i];
      continue;
    }
    const Result<Bytes> byte = from_hex(value.substr(i + 1, 2));
    if (!byte || byte->size() != 1 || byte->front() == std::byte{0})
      return wrong(fmt::format("\"{}\" has a broken percent sequence", printable(value)));
    text += static_cast<char>(byte->front());
    i += 2;
  }
  return text;
}

Result<void> set_field(std::string& field, std::string_view name, std::string_view value,
                       std::size_t bytes_max) {
  if (!field.empty()) return wrong(fmt::format("{}= stands there twice", name));
  field = TRY(decode(value));
  if (field.empty() || field.size() > bytes_max)
    return wrong(fmt::format("{}= has 1 to {} bytes", name, bytes_max));
  return {};
}

Result<void> read_attribute(std::string_view part, TokenUri& uri) {
  const std::size_t equals = part.find('=');
  if (equals == std::string_view::npos)
    return wrong(fmt::format("\"{}\" is not name=value", printable(part)));
  const std::string_view name = part.substr(0, equals);
  const std::string_view value = part.substr(equals + 1);
  if (name == "token") return set_field(uri.label, name, value, 32);
  if (name == "serial") return set_field(uri.serial, name, value, 16);
  if (name == "manufacturer") return set_field(uri.manufacturer, name, value, 32);
  if (name == "model") return set_field(uri.model, name, value, 16);
  if (name == "slot-id")
    return wrong(
        "slot-id= is refused: slots are numbered anew when a token is initialised or "
        "plugged in elsewhere, so it may name another token tomorrow");
  return wrong(fmt::format("{}= does not name a token", printable(name)));
}

}  // namespace

Result<TokenUri> TokenUri::parse(std::string_view text) {
  if (!text.starts_with(kScheme)) return wrong("it does not begin with \"pkcs11:\"");
  if (text.find('?') != std::string_view::npos)
    return wrong(
        "what follows \"?\" is refused: the PIN and the module have settings of their own");
  std::string_view rest = text.substr(kScheme.size());
  TokenUri uri;
  while (!rest.empty()) {
    const std::size_t end = rest.find(';');
    TRY(read_attribute(rest.substr(0, end), uri));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  if (uri.label.empty() && uri.serial.empty()) return wrong("token= or serial= is missing");
  return uri;
}

}  // namespace keyward::hsm::pkcs11
