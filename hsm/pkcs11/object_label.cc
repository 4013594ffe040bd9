#include "hsm/pkcs11/object_label.h"

#include <fmt/format.h>

#include <array>

namespace keyward::hsm::pkcs11 {
namespace {

constexpr std::string_view kPrefix = "keyward";
constexpr std::string_view kAnnounced = "announced";
constexpr std::string_view kLive = "live";

}  // namespace

std::string ObjectLabel::to_text() const {
  return fmt::format("{} {} {} {} {}", kPrefix, context.store.to_text(), context.domain.text(),
                     context.key.to_text(), confirmed ? kLive : kAnnounced);
}

std::optional<ObjectLabel> ObjectLabel::parse(std::string_view text) {
  std::array<std::string_view, 5> words;
  for (std::string_view& word : words) {
    const std::size_t end = text.find(' ');
    word = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  if (words[0] != kPrefix || !text.empty()) return std::nullopt;
  if (words[4] != kAnnounced && words[4] != kLive) return std::nullopt;
  auto store = StoreId::parse(words[1]);
  auto domain = Domain::parse(words[2]);
  auto key = KeyId::parse(words[3]);
  if (!store || !domain || !key) return std::nullopt;
  return ObjectLabel{{*store, *std::move(domain), *key}, words[4] == kLive};
}

}  // namespace keyward::hsm::pkcs11
