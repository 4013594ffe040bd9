#include "sed/emulator/media.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/check.h"
#include "base/text.h"
#include "sed/emulator/uid.h"

namespace keyward::sed::emulator {
namespace {

// Old keys of many erases need not stay.
constexpr std::size_t kCiphersMax = 64;

std::unexpected<Error> os_failure(std::string_view function) {
  const int code = errno;
  return fail(code == ENOSPC ? ErrorCode::exhausted : ErrorCode::io,
              fmt::format("{}: {}", function, std::generic_category().message(code)), function,
              static_cast<std::uint64_t>(code));
}

Result<void> read_at(int file, std::uint64_t offset, MutableByteView out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(file, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_failure("pread");
    if (got == 0) return fail(ErrorCode::corrupt, "pread: the backing file was cut short");
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> write_at(int file, std::uint64_t offset, ByteView data) {
  while (!data.empty()) {
    const ssize_t written = ::pwrite(file, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return os_failure("pwrite");
    data = data.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return {};
}

bool is_hole(ByteView sector) {
  return std::ranges::all_of(sector, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Media::Media(Descriptor file, const EmulatedDriveOptions& options)
    : file_(std::move(file)),
      sector_bytes_(options.sector_bytes),
      sectors_(options.sectors),
      data_store_bytes_(options.data_store_bytes),
      shadow_mbr_bytes_(options.shadow_mbr_bytes) {}

Result<Media> Media::open(const EmulatedDriveOptions& options) {
  Descriptor file(::open(options.backing_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.is_open()) return os_failure("open");
  const std::uint64_t size =
      options.sectors * options.sector_bytes + options.data_store_bytes + options.shadow_mbr_bytes;
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return os_failure("ftruncate");
  return Media(std::move(file), options);
}

Result<crypto::AesXts*> Media::cipher(ByteView key) {
  Bytes name(key.begin(), key.end());
  auto found = ciphers_.find(name);
  if (found == ciphers_.end()) {
    crypto::AesXts opened = TRY(crypto::AesXts::open(key));
    if (ciphers_.size() >= kCiphersMax) ciphers_.clear();
    found = ciphers_.emplace(std::move(name), std::move(opened)).first;
  }
  return &found->second;
}

Result<void> Media::read_sectors(std::uint64_t first, ByteView key, MutableByteView out) {
  TRY(read_at(file_.get(), first * sector_bytes_, out));
  crypto::AesXts* xts = TRY(cipher(key));
  for (std::size_t at = 0; at < out.size(); at += sector_bytes_) {
    const MutableByteView sector = out.subspan(at, sector_bytes_);
    if (is_hole(sector)) continue;
    TRY(xts->decrypt(first + at / sector_bytes_, sector_bytes_, sector, sector));
  }
  return {};
}

Result<void> Media::write_sectors(std::uint64_t first, ByteView key, ByteView data) {
  Bytes sectors(data.size());
  crypto::AesXts* xts = TRY(cipher(key));
  TRY(xts->encrypt(first, sector_bytes_, data, sectors));
  return write_at(file_.get(), first * sector_bytes_, sectors);
}

Result<void> Media::erase_sectors() { return punch(0, sectors_ * sector_bytes_); }

std::uint64_t Media::table_offset(Uid table) const {
  const std::uint64_t tables = sectors_ * sector_bytes_;
  return table == uid::kDataStore ? tables : tables + data_store_bytes_;
}

std::uint64_t Media::table_size(Uid table) const {
  return table == uid::kDataStore ? data_store_bytes_ : shadow_mbr_bytes_;
}

Result<void> Media::read_table(Uid table, std::uint64_t offset, MutableByteView out) const {
  CHECK(offset + out.size() <= table_size(table), "a byte table ends here");
  return read_at(file_.get(), table_offset(table) + offset, out);
}

Result<void> Media::write_table(Uid table, std::uint64_t offset, ByteView data) {
  CHECK(offset + data.size() <= table_size(table), "a byte table ends here");
  return write_at(file_.get(), table_offset(table) + offset, data);
}

Result<void> Media::erase_table(Uid table) { return punch(table_offset(table), table_size(table)); }

Result<void> Media::sync() {
  if (::fdatasync(file_.get()) != 0) return os_failure("fdatasync");
  return {};
}

Result<void> Media::punch(std::uint64_t offset, std::uint64_t size) {
  if (size == 0) return {};
  if (::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(offset), static_cast<off_t>(size)) != 0)
    return os_failure("fallocate");
  return {};
}

}  // namespace keyward::sed::emulator
