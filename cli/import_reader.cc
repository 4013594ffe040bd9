#include "cli/import_reader.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "api/json.h"

namespace keyward::cli {
namespace {

constexpr std::size_t kSecretBytesMax = 1u << 20;
constexpr std::size_t kNameBytesMax = 512;
constexpr std::size_t kBatchBytes = 2u << 20;
// A line with a secret of 1 MiB in base64, and room to read ahead.
constexpr std::size_t kInputBytes = 2u << 20;

std::uint32_t read_length(ByteView bytes) {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < 4; ++i)
    length = length << 8 | std::to_integer<std::uint32_t>(bytes[i]);
  return length;
}

void write_length(MutableByteView out, std::size_t length) {
  for (std::size_t i = 0; i < 4; ++i) {
    out[i] = static_cast<std::byte>(length >> (24 - 8 * i) & 0xff);
  }
}

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

// RFC 4648, section 4: with padding, nothing else in between.
Result<SecretBytes> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) {
    return fail(ErrorCode::invalid_argument, "its secret is no base64 (RFC 4648, with padding)");
  }
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  SecretBytes out = TRY(SecretBytes::allocate(text.size() / 4 * 3 - padding));
  std::uint32_t bits = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int digit = i < text.size() - padding ? base64_digit(text[i]) : 0;
    if (digit < 0) {
      return fail(ErrorCode::invalid_argument, "its secret is no base64 (RFC 4648, with padding)");
    }
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if (i % 4 != 3) continue;
    for (int shift = 16; shift >= 0; shift -= 8) {
      if (at < out.size())
        out.reveal_mutable()[at++] = static_cast<std::byte>(bits >> shift & 0xff);
    }
    bits = 0;
  }
  return out;
}

// A scanner for the one form of object that an import line has. It keeps views into the line, so
// that the secret is never copied into ordinary memory, as a JSON library would.
class LineScanner final {
 public:
  explicit LineScanner(std::string_view text) : rest_(text) {}

  bool take(char c) {
    skip_space();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // The raw text between the quotes, escapes and all.
  std::optional<std::string_view> take_string() {
    if (!take('"')) return std::nullopt;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      if (static_cast<unsigned char>(rest_[i]) < 0x20) return std::nullopt;
      if (rest_[i] == '\\') {
        ++i;
      } else if (rest_[i] == '"') {
        const std::string_view raw = rest_.substr(0, i);
        rest_.remove_prefix(i + 1);
        return raw;
      }
    }
    return std::nullopt;
  }

  bool at_end() {
    skip_space();
    return rest_.empty();
  }

 private:
  void skip_space() {
    while (!rest_.empty() && std::string_view(" \t\r").contains(rest_.front())) {
      rest_.remove_prefix(1);
    }
  }
  std::string_view rest_;
};

Result<ImportLine> line_of(std::string_view name, std::string_view secret) {
  // The name goes through the JSON parser for its escapes; it is not secret.
  auto parsed = api::parse_json(fmt::format("\"{}\"", name));
  if (!parsed) return fail(ErrorCode::invalid_argument, "its name is no JSON text");
  return ImportLine{std::move(parsed->text), TRY(decode_base64(secret))};
}

}  // namespace

Result<ImportLine> parse_import_line(ByteView line) {
  LineScanner scanner({reinterpret_cast<const char*>(line.data()), line.size()});
  std::optional<std::string_view> name;
  std::optional<std::string_view> secret;
  const auto wrong_form = [] {
    return fail(ErrorCode::invalid_argument,
                "it is not of the form {\"name\": \"…\", \"secret\": \"<base64>\"}");
  };
  if (!scanner.take('{')) return wrong_form();
  do {
    const auto member = scanner.take_string();
    if (!member || !scanner.take(':')) return wrong_form();
    auto& value = *member == "name" ? name : secret;
    if ((*member != "name" && *member != "secret") || value) return wrong_form();
    value = scanner.take_string();
    if (!value) return wrong_form();
  } while (scanner.take(','));
  if (!scanner.take('}') || !scanner.at_end() || !name || !secret) return wrong_form();
  return line_of(*name, *secret);
}

ImportReader::ImportReader(int descriptor, ImportFormat format)
    : descriptor_(descriptor), format_(format) {}

std::unexpected<Error> ImportReader::wrong(std::string_view what) const {
  return fail(ErrorCode::invalid_argument, fmt::format("Record {}: {}.", record_, what));
}

Result<void> ImportReader::refill() {
  if (begin_ > 0) {
    const MutableByteView all = input_->reveal_mutable();
    std::memmove(all.data(), all.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == kInputBytes) return wrong("it is longer than any entry can be");
  const MutableByteView space = input_->reveal_mutable().subspan(end_);
  ssize_t got = 0;
  do {
    got = ::read(descriptor_, space.data(), space.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    return fail(ErrorCode::io, fmt::format("read: {}", std::generic_category().message(errno)),
                "read", static_cast<std::uint64_t>(errno));
  }
  at_end_ = got == 0;
  end_ += static_cast<std::size_t>(got);
  return {};
}

Result<void> ImportReader::append_record(ByteView name, ByteView secret) {
  if (name.empty() || name.size() > kNameBytesMax) {
    return wrong(
        fmt::format("its name has {} bytes; 1 to {} are allowed", name.size(), kNameBytesMax));
  }
  if (secret.empty() || secret.size() > kSecretBytesMax) {
    return wrong(fmt::format("its secret has {} bytes; 1 to {} are allowed", secret.size(),
                             kSecretBytesMax));
  }
  MutableByteView out = batch_->reveal_mutable().subspan(batch_size_);
  for (const ByteView part : {name, secret}) {
    write_length(out, part.size());
    std::ranges::copy(part, out.begin() + 4);
    out = out.subspan(4 + part.size());
  }
  batch_size_ += 8 + name.size() + secret.size();
  ++record_;
  return {};
}

Result<bool> ImportReader::take_binary() {
  const ByteView bytes = input();
  if (bytes.size() < 4) return false;
  const std::size_t name_size = read_length(bytes);
  if (name_size == 0 || name_size > kNameBytesMax) {
    return wrong(
        fmt::format("its name would have {} bytes; 1 to {} are allowed", name_size, kNameBytesMax));
  }
  if (bytes.size() < 8 + name_size) return false;
  const std::size_t secret_size = read_length(bytes.subspan(4 + name_size));
  if (secret_size == 0 || secret_size > kSecretBytesMax) {
    return wrong(fmt::format("its secret would have {} bytes; 1 to {} are allowed", secret_size,
                             kSecretBytesMax));
  }
  if (bytes.size() < 8 + name_size + secret_size) return false;
  TRY(append_record(bytes.subspan(4, name_size), bytes.subspan(8 + name_size, secret_size)));
  begin_ += 8 + name_size + secret_size;
  return true;
}

Result<bool> ImportReader::take_json_line() {
  for (;;) {
    const ByteView bytes = input();
    const auto newline = std::ranges::find(bytes, std::byte{'\n'});
    if (newline == bytes.end() && (!at_end_ || bytes.empty())) return false;
    const auto size = static_cast<std::size_t>(newline - bytes.begin());
    const ByteView line = bytes.first(size);
    begin_ += std::min(size + 1, bytes.size());
    if (std::ranges::all_of(line, [](std::byte b) { return b == std::byte{' '}; })) continue;
    auto parsed = parse_import_line(line);
    if (!parsed) return wrong(parsed.error().message);
    const ByteView name(reinterpret_cast<const std::byte*>(parsed->name.data()),
                        parsed->name.size());
    TRY(append_record(name, parsed->secret.reveal()));
    return true;
  }
}

Result<bool> ImportReader::take_record() {
  return format_ == ImportFormat::binary ? take_binary() : take_json_line();
}

Result<SecretBytes> ImportReader::next_batch() {
  if (pending_error_) return std::unexpected(*pending_error_);
  if (!input_) input_ = TRY(SecretBytes::allocate(kInputBytes));
  constexpr std::size_t kRecordBytesMax = 8 + kNameBytesMax + kSecretBytesMax;
  batch_ = TRY(SecretBytes::allocate(kBatchBytes + kRecordBytesMax));
  batch_size_ = 0;
  while (batch_size_ < kBatchBytes) {
    auto taken = take_record();
    if (taken && !*taken && at_end_ && !input().empty()) {
      taken = wrong("the input ends in the middle of it");
    }
    if (taken && !*taken && !at_end_) {
      auto refilled = refill();
      if (refilled) continue;
      taken = std::unexpected(refilled.error());
    }
    if (!taken) {
      if (batch_size_ == 0) return std::unexpected(taken.error());
      pending_error_ = taken.error();
      break;
    }
    if (!*taken) break;
  }
  if (batch_size_ == 0) return SecretBytes::allocate(0);
  return SecretBytes::take_from(batch_->reveal_mutable().first(batch_size_));
}

}  // namespace keyward::cli
