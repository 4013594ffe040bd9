#include "sed/transport/device_node.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/c_ptr.h"
#include "base/file.h"
#include "base/text.h"

namespace keyward::sed {
namespace {

// What O_DIRECT asks of memory at most: a page.
constexpr std::size_t kAlignment = 4096;
constexpr std::size_t kChunkBytes = 256u << 10;

ErrorCode code_of(int number) {
  switch (number) {
    case ENODEV:
    case ENXIO:
    case ENOENT:
    case ESHUTDOWN:
      return ErrorCode::unavailable;
    case EBUSY:
    case EAGAIN:
      return ErrorCode::busy;
    case ETIMEDOUT:
    case ETIME:
    case EINTR:  // NVMe's, for a command that the kernel gave up.
      return ErrorCode::timeout;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::not_permitted;
    case ENOTTY:
    case EOPNOTSUPP:
    case EINVAL:  // Drivers' own answer to a request that is not theirs.
      return ErrorCode::unsupported;
    default:
      return ErrorCode::io;
  }
}

std::unexpected<Error> os_failure(std::string_view function, const std::string& path, int number) {
  std::string text =
      fmt::format("{} {}: {}", function, printable(path), std::generic_category().message(number));
  if (number == EPERM || number == EACCES)
    text += "; drives need root, or the capabilities that docs/SECURITY.md names";
  return fail(code_of(number), std::move(text), function, static_cast<std::uint64_t>(number));
}

using AlignedBytes = CPtr<std::byte, std::free>;

AlignedBytes aligned(std::size_t size) {
  const std::size_t whole = (size + kAlignment - 1) / kAlignment * kAlignment;
  AlignedBytes bytes(static_cast<std::byte*>(std::aligned_alloc(kAlignment, whole)));
  if (bytes == nullptr) throw std::bad_alloc();
  return bytes;
}

// Without O_DIRECT where a file system has none.
Descriptor open_direct(const char* path, int flags) {
  Descriptor file(::open(path, flags | O_DIRECT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open() && errno == EINVAL)
    file = Descriptor(::open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  return file;
}

class FileNode final : public DeviceNode {
 public:
  FileNode(std::string path, Descriptor file, dev_t device)
      : path_(std::move(path)), file_(std::move(file)), device_(device) {}

  const std::string& path() const override { return path_; }

  std::optional<BlockGeometry> geometry() override {
    int sector_bytes = 0;
    std::uint64_t bytes = 0;
    if (::ioctl(file_.get(), BLKSSZGET, &sector_bytes) != 0 || sector_bytes <= 0) return {};
    if (::ioctl(file_.get(), BLKGETSIZE64, &bytes) != 0) return {};
    const auto sector = static_cast<std::uint32_t>(sector_bytes);
    return BlockGeometry{sector, bytes / sector};
  }

  Result<int> ioctl(unsigned long request, void* argument) override {
    const int answer = ::ioctl(file_.get(), request, argument);
    if (answer < 0) return os_failure("ioctl", path_, errno);
    return answer;
  }

  Result<void> pread(std::uint64_t offset, MutableByteView bytes) override {
    const AlignedBytes chunk = aligned(std::min(bytes.size(), kChunkBytes));
    while (!bytes.empty()) {
      const std::size_t size = std::min(bytes.size(), kChunkBytes);
      const ssize_t got = ::pread(file_.get(), chunk.get(), size, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return os_failure("pread", path_, errno);
      if (got == 0) return fail(ErrorCode::invalid_argument, "pread: the drive ends here", "pread");
      std::copy_n(chunk.get(), got, bytes.begin());
      bytes = bytes.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::uint64_t>(got);
    }
    return {};
  }

  Result<void> pwrite(std::uint64_t offset, ByteView bytes) override {
    const Descriptor file = TRY(open_for_writing());
    const AlignedBytes chunk = aligned(std::min(bytes.size(), kChunkBytes));
    while (!bytes.empty()) {
      const std::size_t size = std::min(bytes.size(), kChunkBytes);
      std::copy_n(bytes.begin(), size, chunk.get());
      const ssize_t put = ::pwrite(file.get(), chunk.get(), size, static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return os_failure("pwrite", path_, put == 0 ? ENOSPC : errno);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
      offset += static_cast<std::uint64_t>(put);
    }
    // The drive's write cache: what pwrite has answered is on the medium.
    if (::fsync(file.get()) != 0) return os_failure("fsync", path_, errno);
    return {};
  }

 private:
  // Of the device that is open here, and not of what its name means today.
  Result<Descriptor> open_for_writing() {
    Descriptor file = open_direct(fmt::format("/proc/self/fd/{}", file_.get()).c_str(), O_RDWR);
    if (!file.is_open()) return os_failure("open", path_, errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || status.st_rdev != device_)
      return os_failure("open", path_, ENODEV);
    return file;
  }

  std::string path_;
  Descriptor file_;
  dev_t device_;
};

}  // namespace

Result<std::unique_ptr<DeviceNode>> DeviceNode::open(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return os_failure("stat", path, errno);
  // The SCSI generic driver lets a device group send any command, to a node open for writing.
  const bool is_character = S_ISCHR(status.st_mode);
  Descriptor file = open_direct(path.c_str(), is_character ? O_RDWR : O_RDONLY);
  if (!file.is_open()) return os_failure("open", path, errno);
  if (::fstat(file.get(), &status) != 0) return os_failure("fstat", path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return os_failure("flock", path, errno);
    return fail(ErrorCode::busy,
                fmt::format("flock {}: another process speaks to the drive", printable(path)),
                "flock", EWOULDBLOCK);
  }
  return std::make_unique<FileNode>(path, std::move(file), status.st_rdev);
}

}  // namespace keyward::sed
