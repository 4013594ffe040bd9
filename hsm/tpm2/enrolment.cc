#include "hsm/tpm2/enrolment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <system_error>

#include "base/text.h"
#include "crypto/kdf.h"

namespace keyward::hsm::tpm2 {
namespace {

constexpr std::string_view kFirstLine = "keyward-tpm2-enrolment 1\n";
constexpr std::string_view kPublicField = "srk_public ";
constexpr std::string_view kAuthField = "nv_auth ";
constexpr std::size_t kFileBytesMax = 8192;

std::unexpected<Error> os_failure(std::string_view origin, const std::string& path) {
  const int error = errno;
  return fail(ErrorCode::io,
              fmt::format("{}: {}: {}", origin, printable(path),
                          std::error_code(error, std::generic_category()).message()),
              origin, static_cast<std::uint64_t>(error));
}

class File final {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// Hexadecimal of a secret, both sides in locked memory.
std::byte hex_digit(unsigned value) { return static_cast<std::byte>("0123456789abcdef"[value]); }

void write_hex(ByteView bytes, MutableByteView text) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text[2 * i] = hex_digit(std::to_integer<unsigned>(bytes[i]) >> 4);
    text[2 * i + 1] = hex_digit(std::to_integer<unsigned>(bytes[i]) & 15u);
  }
}

std::optional<unsigned> hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'a' && digit <= 'f') return static_cast<unsigned>(digit - 'a' + 10);
  return std::nullopt;
}

Result<SecretBytes> read_hex(std::string_view text) {
  SecretBytes bytes = TRY(SecretBytes::allocate(text.size() / 2));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto high = hex_value(text[2 * i]);
    const auto low = hex_value(text[2 * i + 1]);
    if (!high || !low) return fail(ErrorCode::corrupt, "is not hexadecimal");
    bytes.reveal_mutable()[i] = static_cast<std::byte>((*high << 4) | *low);
  }
  return bytes;
}

// Cuts "<field><value>\n" off the front of `rest`.
Result<std::string_view> take_field(std::string_view& rest, std::string_view field) {
  const std::size_t end = rest.find('\n');
  if (!rest.starts_with(field) || end == std::string_view::npos) {
    return fail(ErrorCode::corrupt, fmt::format("has no line \"{}…\" where one belongs", field));
  }
  const std::string_view value = rest.substr(field.size(), end - field.size());
  rest.remove_prefix(end + 1);
  return value;
}

Result<Enrolment> parse(std::string_view text) {
  if (!text.starts_with(kFirstLine)) return fail(ErrorCode::corrupt, "its first line is not ours");
  text.remove_prefix(kFirstLine.size());
  Bytes srk_public = TRY(from_hex(TRY(take_field(text, kPublicField))));
  const std::string_view auth_text = TRY(take_field(text, kAuthField));
  if (srk_public.size() <= 2 || auth_text.size() != 2 * kNvAuthBytes || !text.empty()) {
    return fail(ErrorCode::corrupt, "a field has a wrong length");
  }
  // Named first: GCC 12 leaks the members before a TRY that returns from inside the braces.
  SecretBytes nv_auth = TRY(read_hex(auth_text));
  return Enrolment{std::move(srk_public), std::move(nv_auth)};
}

// The file's text; in locked memory, since the auth value is in it.
Result<SecretBytes> render(const Enrolment& enrolment) {
  const std::string head =
      fmt::format("{}{}{}\n{}", kFirstLine, kPublicField, to_hex(enrolment.srk_public), kAuthField);
  SecretBytes text = TRY(SecretBytes::allocate(head.size() + 2 * kNvAuthBytes + 1));
  const MutableByteView out = text.reveal_mutable();
  std::ranges::copy(as_bytes(head), out.begin());
  write_hex(enrolment.nv_auth.reveal(), out.subspan(head.size(), 2 * kNvAuthBytes));
  out.back() = std::byte{'\n'};
  return text;
}

Result<void> write_and_sync(const std::string& path, ByteView bytes) {
  const File file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.get() < 0) return os_failure("open", path);
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return os_failure("write", path);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (::fsync(file.get()) != 0) return os_failure("fsync", path);
  return {};
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  const File file(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0) return os_failure("open", directory);
  if (::fsync(file.get()) != 0) return os_failure("fsync", directory);
  return {};
}

}  // namespace

std::string Enrolment::srk_name() const {
  // TPM2B_PUBLIC is a 16-bit size and the public area, which the name is the digest of.
  const crypto::Sha256Digest digest = crypto::sha256(ByteView(srk_public).subspan(2));
  return "000b" + to_hex(digest);
}

Result<Enrolment> make_enrolment(Bytes srk_public) {
  SecretBytes auth = TRY(SecretBytes::random(kNvAuthBytes));
  auth.reveal_mutable().back() |= std::byte{1};
  return Enrolment{std::move(srk_public), std::move(auth)};
}

Result<std::optional<Enrolment>> load_enrolment(const std::string& path) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::optional<Enrolment>();
    return os_failure("open", path);
  }
  SecretBytes content = TRY(SecretBytes::read_from(file.get(), kFileBytesMax));
  // read_from takes the last newline away; parse wants every line to end with one.
  SecretBytes text = TRY(SecretBytes::allocate(content.size() + 1));
  std::ranges::copy(content.reveal(), text.reveal_mutable().begin());
  text.reveal_mutable().back() = std::byte{'\n'};
  Result<Enrolment> enrolment =
      parse({reinterpret_cast<const char*>(text.reveal().data()), text.size()});
  if (!enrolment) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} {}; it says how to open the TPM's erasure slots: restore it from a "
                            "backup of the state directory",
                            printable(path), enrolment.error().message));
  }
  return std::optional<Enrolment>(*std::move(enrolment));
}

Result<void> store_enrolment(const std::string& path, const Enrolment& enrolment) {
  const SecretBytes text = TRY(render(enrolment));
  const std::string fresh = path + ".new";
  TRY(write_and_sync(fresh, text.reveal()));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return os_failure("rename", path);
  return sync_directory_of(path);
}

}  // namespace keyward::hsm::tpm2
