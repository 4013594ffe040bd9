#include "api/url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace keyward::api {
namespace {

bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    if (is_unreserved(c)) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return out;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("The address has a \"%\" at byte {} that no two hexadecimal digits "
                              "follow. Write a \"%\" itself as \"%25\".",
                              i));
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

Result<Query> Query::parse(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    std::string name = TRY(percent_decode(part.substr(0, equals)));
    std::string value;
    if (equals != std::string_view::npos) value = TRY(percent_decode(part.substr(equals + 1)));
    if (query.find(name))
      return fail(ErrorCode::invalid_argument,
                  fmt::format("The parameter \"{}\" stands there twice.", printable(name)));
    query.values_.emplace_back(std::move(name), std::move(value));
  }
  return query;
}

std::optional<std::string_view> Query::find(std::string_view name) const {
  for (const auto& [key, value] : values_)
    if (key == name) return value;
  return std::nullopt;
}

Result<bool> Query::flag(std::string_view name) const {
  const std::optional<std::string_view> value = find(name);
  if (!value || *value == "false" || *value == "0") return false;
  if (value->empty() || *value == "true" || *value == "1") return true;
  return fail(ErrorCode::invalid_argument,
              fmt::format("The parameter \"{}\" takes true or false, not \"{}\".", name,
                          printable(*value)));
}

Result<std::optional<std::uint64_t>> Query::number(std::string_view name) const {
  const std::optional<std::string_view> text = find(name);
  if (!text) return std::optional<std::uint64_t>{};
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size())
    return fail(ErrorCode::invalid_argument,
                fmt::format("The parameter \"{}\" takes a whole number, not \"{}\".", name,
                            printable(*text)));
  return std::optional<std::uint64_t>{value};
}

Result<void> Query::check(std::string_view known) const {
  std::vector<std::string_view> names;
  while (!known.empty()) {
    const std::string_view item = known.substr(0, known.find(','));
    known.remove_prefix(std::min(known.size(), item.size() + 1));
    const std::string_view name = item.substr(0, item.find(':'));
    names.push_back(name);
    if (item.ends_with(":number")) TRY(number(name));
    if (item.ends_with(":flag")) TRY(flag(name));
  }
  for (const auto& [key, value] : values_)
    if (std::find(names.begin(), names.end(), key) == names.end())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("The parameter \"{}\" is not known here.", printable(key)));
  return {};
}

}  // namespace keyward::api
