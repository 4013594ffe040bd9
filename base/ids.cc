#include "base/ids.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/os_random.h"
#include "base/text.h"

namespace keyward {
namespace {

constexpr std::size_t kUuidTextBytes = 36;
constexpr std::size_t kDomainBytesMax = 32;
constexpr std::size_t kEntryNameBytesMax = 512;

constexpr bool is_uuid_dash(std::size_t at) { return at == 8 || at == 13 || at == 18 || at == 23; }

bool is_upper(char letter) { return letter >= 'A' && letter <= 'Z'; }

bool is_domain_letter(char letter) {
  return is_upper(letter) || (letter >= '0' && letter <= '9') || letter == '_';
}

}  // namespace

namespace detail {

UuidBytes random_uuid() {
  UuidBytes bytes;
  os_random_fill(bytes);
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};  // RFC 9562, 5.4: version 4
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};  // and its variant.
  return bytes;
}

Result<UuidBytes> parse_uuid(std::string_view text) {
  std::string digits;
  bool dashes = text.size() == kUuidTextBytes;
  for (std::size_t at = 0; dashes && at < text.size(); ++at) {
    if (is_uuid_dash(at)) {
      dashes = text[at] == '-';
    } else {
      digits += text[at];
    }
  }
  const Result<Bytes> parsed = dashes ? from_hex(digits) : Bytes{};
  UuidBytes bytes;
  if (!parsed || parsed->size() != bytes.size())
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" is not an id of the form "
                                                         "01234567-89ab-4def-8123-456789abcdef",
                                                         printable(text, 48)));
  std::ranges::copy(*parsed, bytes.begin());
  return bytes;
}

std::string uuid_to_text(const UuidBytes& bytes) {
  std::string text = to_hex(bytes);
  for (std::size_t at = 0; at < kUuidTextBytes; ++at)
    if (is_uuid_dash(at)) text.insert(at, 1, '-');
  return text;
}

}  // namespace detail

Result<Domain> Domain::parse(std::string_view text) {
  if (text.empty() || text.size() > kDomainBytesMax || !is_upper(text[0]) ||
      !std::ranges::all_of(text, is_domain_letter))
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is not a domain name: it has 1 to {} of A-Z, 0-9 and _, and "
                            "starts with a letter",
                            printable(text, 48), kDomainBytesMax));
  return Domain(std::string(text));
}

Result<EntryName> EntryName::parse(std::string_view text) {
  if (text.empty()) return fail(ErrorCode::invalid_argument, "an entry's name is empty");
  if (text.size() > kEntryNameBytesMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("an entry's name has {} bytes, at most {} are allowed", text.size(),
                            kEntryNameBytesMax));
  if (!is_printable_utf8(text))
    return fail(ErrorCode::invalid_argument,
                fmt::format("the entry name \"{}\" has control characters or is not UTF-8",
                            printable(text)));
  return EntryName(std::string(text));
}

}  // namespace keyward
