#include "sed/device_node/device_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <system_error>

namespace keyward::sed {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kTransferBytesMax = 0x7FFFF000;  // As the kernel's own MAX_RW_COUNT.
constexpr unsigned kDeviceFileSystemMinor = 5;         // Of devtmpfs: the nodes' st_dev.

std::unexpected<Error> system_failure(std::string_view function) {
  const int code = errno;
  return fail(ErrorCode::io, fmt::format("{}: {}", function, std::generic_category().message(code)),
              function, static_cast<std::uint64_t>(code));
}

std::size_t words_for(std::size_t kernel_bytes, std::size_t own_bytes) {
  return (std::max(kernel_bytes, own_bytes) + 7) / 8;
}

struct Transfer {
  bool is_write = false;
  bool is_vector = false;
  bool is_at_offset = false;  // Argument 3 is where.
};

std::optional<Transfer> transfer_of(int number) {
  switch (number) {
    case SCMP_SYS(read):
      return Transfer{};
    case SCMP_SYS(readv):
      return Transfer{.is_vector = true};
    case SCMP_SYS(pread64):
      return Transfer{.is_at_offset = true};
    case SCMP_SYS(preadv):
    case SCMP_SYS(preadv2):
      return Transfer{.is_vector = true, .is_at_offset = true};
    case SCMP_SYS(write):
      return Transfer{.is_write = true};
    case SCMP_SYS(writev):
      return Transfer{.is_write = true, .is_vector = true};
    case SCMP_SYS(pwrite64):
      return Transfer{.is_write = true, .is_at_offset = true};
    case SCMP_SYS(pwritev):
    case SCMP_SYS(pwritev2):
      return Transfer{.is_write = true, .is_vector = true, .is_at_offset = true};
    default:
      return std::nullopt;
  }
}

// Bytes moved, or a negative errno when it was none.
long move_bytes(DeviceNode& node, CallerMemory& memory, const CallerBuffer& buffer,
                std::uint64_t offset, bool is_write) {
  const std::size_t size = std::min(size_of(buffer), kTransferBytesMax);
  Bytes chunk(std::min(size, kChunkBytes));
  std::size_t moved = 0;
  long code = 0;
  while (moved < size) {
    const MutableByteView part = std::span(chunk).first(std::min(chunk.size(), size - moved));
    code = is_write ? -read_pieces(memory, buffer, moved, part) : 0;
    if (code == 0)
      code = is_write ? node.write(offset + moved, part) : node.read(offset + moved, part);
    if (code <= 0) break;
    const auto count = static_cast<std::size_t>(code);
    if (!is_write) code = -write_pieces(memory, buffer, moved, part.first(count));
    if (code < 0) break;
    moved += count;
    if (count < part.size()) break;
  }
  return moved == 0 ? code : static_cast<long>(moved);
}

}  // namespace

struct DeviceServer::Call {
  std::uint64_t id;
  pid_t process;
  int number;
  std::uint64_t arguments[6];
  ProcessMemory memory;

  int descriptor(std::size_t n) const { return static_cast<int>(arguments[n]); }
};

DeviceServer::DeviceServer(std::vector<DeviceNode> nodes)
    : nodes_(std::move(nodes)), paths_(nodes_, files_) {
  seccomp_notif_sizes sizes{};
  ::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes);
  request_.resize(words_for(sizes.seccomp_notif, sizeof(seccomp_notif)));
  response_.resize(words_for(sizes.seccomp_notif_resp, sizeof(seccomp_notif_resp)));
}

void DeviceServer::listen(Descriptor listener) { listener_ = std::move(listener); }

Result<void> DeviceServer::serve_one() {
  std::ranges::fill(request_, 0);
  if (::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, request_.data()) != 0) {
    // The caller was killed before it was heard, or a signal came to this process.
    if (errno == ENOENT || errno == EINTR) return {};
    return system_failure("ioctl");
  }
  seccomp_notif request{};
  std::memcpy(&request, request_.data(), sizeof request);
  const auto process = static_cast<pid_t>(request.pid);
  Call call{request.id, process, request.data.nr, {}, ProcessMemory(process)};
  std::ranges::copy(request.data.args, call.arguments);
  return reply(call, answer(call));
}

Result<void> DeviceServer::reply(const Call& call, const Answer& answer) {
  if (answer.file != nullptr) {
    seccomp_notif_addfd added{};
    added.id = call.id;
    added.flags = SECCOMP_ADDFD_FLAG_SEND;
    added.srcfd = static_cast<std::uint32_t>(answer.file->shared.get());
    added.newfd_flags = static_cast<std::uint32_t>(answer.descriptor_flags);
    if (::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &added) >= 0 || errno == ENOENT)
      return {};
    // Its table of descriptors is full.
    return reply(call, done(-errno));
  }
  seccomp_notif_resp response{};
  response.id = call.id;
  if (!answer.value) {
    response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  } else if (*answer.value < 0) {
    response.error = static_cast<int>(*answer.value);
  } else {
    response.val = *answer.value;
  }
  std::ranges::fill(response_, 0);
  std::memcpy(response_.data(), &response, sizeof response);
  if (::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, response_.data()) != 0 && errno != ENOENT)
    return system_failure("ioctl");
  return {};
}

// False when the caller has been killed, and its process' number may be another's.
bool DeviceServer::still_waits(const Call& call) const {
  return ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &call.id) == 0;
}

DeviceServer::Answer DeviceServer::answer(Call& call) {
  switch (call.number) {
    case SCMP_SYS(open):
    case SCMP_SYS(creat):
    case SCMP_SYS(openat):
    case SCMP_SYS(access):
    case SCMP_SYS(faccessat):
    case SCMP_SYS(faccessat2):
    case SCMP_SYS(readlink):
    case SCMP_SYS(readlinkat):
    case SCMP_SYS(stat):
    case SCMP_SYS(lstat):
    case SCMP_SYS(newfstatat):
    case SCMP_SYS(statx):
    case SCMP_SYS(getxattr):
    case SCMP_SYS(lgetxattr):
    case SCMP_SYS(listxattr):
    case SCMP_SYS(llistxattr):
      return on_path_call(call);
    case SCMP_SYS(copy_file_range):
    case SCMP_SYS(splice):
      return copy_between(call, call.descriptor(0), call.descriptor(2));
    case SCMP_SYS(sendfile):
      return copy_between(call, call.descriptor(0), call.descriptor(1));
    default:
      return on_descriptor_call(call);
  }
}

DeviceServer::Answer DeviceServer::on_path_call(Call& call) {
  const auto& a = call.arguments;
  switch (call.number) {
    case SCMP_SYS(open):
      return open(call, AT_FDCWD, a[0], static_cast<int>(a[1]));
    case SCMP_SYS(creat):
      return open(call, AT_FDCWD, a[0], O_WRONLY | O_CREAT | O_TRUNC);
    case SCMP_SYS(openat):
      return open(call, call.descriptor(0), a[1], static_cast<int>(a[2]));
    case SCMP_SYS(access):
      return access(call, AT_FDCWD, a[0]);
    case SCMP_SYS(faccessat):
    case SCMP_SYS(faccessat2):
      return access(call, call.descriptor(0), a[1]);
    case SCMP_SYS(readlink):
      return read_link(call, AT_FDCWD, a[0], a[1], a[2]);
    case SCMP_SYS(readlinkat):
      return read_link(call, call.descriptor(0), a[1], a[2], a[3]);
    case SCMP_SYS(stat):
      return stat(call, AT_FDCWD, a[0], 0, a[1], false);
    case SCMP_SYS(lstat):
      return stat(call, AT_FDCWD, a[0], AT_SYMLINK_NOFOLLOW, a[1], false);
    case SCMP_SYS(newfstatat):
      return stat(call, call.descriptor(0), a[1], static_cast<int>(a[3]), a[2], false);
    case SCMP_SYS(statx):
      return stat(call, call.descriptor(0), a[1], static_cast<int>(a[2]), a[4], true);
    default:
      return attributes(call, a[0]);
  }
}

DeviceServer::Answer DeviceServer::open(Call& call, int directory, std::uint64_t path, int flags) {
  std::string text;
  if (const int code = read_path(call.memory, path, text)) return done(-code);
  const PathLookup found = paths_.find(call.process, directory, text);
  if (found.code != 0) return done(-found.code);
  if (found.node == nullptr) return to_kernel();
  if ((flags & O_DIRECTORY) != 0) return done(-ENOTDIR);
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return done(-EEXIST);
  if (!still_waits(call)) return done(-EINTR);
  OpenFile* file = nullptr;
  if (const int code = files_.open(*found.node, flags, file)) return done(-code);
  return {.value = 0, .file = file, .descriptor_flags = flags & O_CLOEXEC};
}

DeviceServer::Answer DeviceServer::access(Call& call, int directory, std::uint64_t path) {
  std::string text;
  if (const int code = read_path(call.memory, path, text)) return done(-code);
  const PathLookup found = paths_.find(call.process, directory, text);
  if (found.code != 0) return done(-found.code);
  if (found.node == nullptr) return to_kernel();
  const int wanted = call.descriptor(call.number == SCMP_SYS(access) ? 1 : 2);
  return done((wanted & X_OK) != 0 ? -EACCES : 0);
}

// `ls -l` asks for them, and takes this for none.
DeviceServer::Answer DeviceServer::attributes(Call& call, std::uint64_t path) {
  std::string text;
  if (const int code = read_path(call.memory, path, text)) return done(-code);
  const PathLookup found = paths_.find(call.process, AT_FDCWD, text);
  if (found.code != 0) return done(-found.code);
  return found.node == nullptr ? to_kernel() : done(-EOPNOTSUPP);
}

DeviceServer::Answer DeviceServer::read_link(Call& call, int directory, std::uint64_t path,
                                             std::uint64_t buffer, std::size_t size) {
  std::string text;
  if (const int code = read_path(call.memory, path, text)) return done(-code);
  const PathLookup found = paths_.find(call.process, directory, text);
  if (found.code != 0) return done(-found.code);
  if (found.node == nullptr) return to_kernel();
  if (!found.by_descriptor || size == 0) return done(-EINVAL);
  const std::string_view name = std::string_view(found.node->path()).substr(0, size);
  if (!still_waits(call)) return done(-EINTR);
  if (const int code = call.memory.write(buffer, std::as_bytes(std::span(name))))
    return done(-code);
  return done(static_cast<long>(name.size()));
}

DeviceServer::Answer DeviceServer::stat(Call& call, int directory, std::uint64_t path, int flags,
                                        std::uint64_t buffer, bool is_extended) {
  std::string text;
  const bool no_path = path == 0 && (flags & AT_EMPTY_PATH) != 0;
  if (!no_path)
    if (const int code = read_path(call.memory, path, text)) return done(-code);
  if (text.empty() && (flags & AT_EMPTY_PATH) != 0) {
    const FileLookup found = files_.find(call.process, directory);
    if (found.kind == FileLookup::Kind::unknown) return done(-EIO);
    if (found.kind == FileLookup::Kind::other) return to_kernel();
    return stat_node(call, *found.file->node, buffer, is_extended);
  }
  const PathLookup found = paths_.find(call.process, directory, text);
  if (found.code != 0) return done(-found.code);
  const bool is_link = found.by_descriptor && (flags & AT_SYMLINK_NOFOLLOW) != 0;
  if (found.node == nullptr || is_link) return to_kernel();
  return stat_node(call, *found.node, buffer, is_extended);
}

DeviceServer::Answer DeviceServer::stat_node(Call& call, const DeviceNode& node,
                                             std::uint64_t buffer, bool is_extended) {
  constexpr std::uint32_t kBlockBytes = 4096;
  const auto inode = static_cast<std::uint64_t>(&node - nodes_.data()) + 1;
  if (!still_waits(call)) return done(-EINTR);
  if (!is_extended) {
    struct ::stat status {};
    status.st_dev = makedev(0, kDeviceFileSystemMinor);
    status.st_ino = inode;
    status.st_nlink = 1;
    status.st_mode = node.mode();
    status.st_uid = ::getuid();
    status.st_gid = ::getgid();
    status.st_rdev = node.number();
    status.st_blksize = kBlockBytes;
    return done(-call.memory.write_object(buffer, status));
  }
  struct ::statx status {};
  status.stx_mask = STATX_BASIC_STATS;
  status.stx_blksize = kBlockBytes;
  status.stx_nlink = 1;
  status.stx_uid = ::getuid();
  status.stx_gid = ::getgid();
  status.stx_mode = static_cast<std::uint16_t>(node.mode());
  status.stx_ino = inode;
  status.stx_rdev_major = major(node.number());
  status.stx_rdev_minor = minor(node.number());
  status.stx_dev_minor = kDeviceFileSystemMinor;
  return done(-call.memory.write_object(buffer, status));
}

// Programs fall back to read and write.
DeviceServer::Answer DeviceServer::copy_between(Call& call, int first, int second) {
  for (const int descriptor : {first, second}) {
    const FileLookup found = files_.find(call.process, descriptor);
    if (found.kind == FileLookup::Kind::unknown) return done(-EIO);
    if (found.kind == FileLookup::Kind::node) return done(-EINVAL);
  }
  return to_kernel();
}

DeviceServer::Answer DeviceServer::on_descriptor_call(Call& call) {
  const int descriptor = call.descriptor(call.number == SCMP_SYS(mmap) ? 4 : 0);
  const FileLookup found = files_.find(call.process, descriptor);
  if (found.kind == FileLookup::Kind::unknown) return done(-EIO);
  if (found.kind == FileLookup::Kind::other) return to_kernel();
  return on_node(call, *found.file);
}

DeviceServer::Answer DeviceServer::on_node(Call& call, OpenFile& file) {
  const auto& a = call.arguments;
  switch (call.number) {
    case SCMP_SYS(ioctl): {
      // These are about the descriptor, and the kernel's.
      const auto request = static_cast<std::uint32_t>(a[1]);
      if (request == FIOCLEX || request == FIONCLEX || request == FIONBIO) return to_kernel();
      if (!still_waits(call)) return done(-EINTR);
      return done(file.node->ioctl(request, a[2], call.memory));
    }
    case SCMP_SYS(fstat):
      return stat_node(call, *file.node, a[1], false);
    case SCMP_SYS(lseek):
      return seek(call, file);
    case SCMP_SYS(flock):
      return done(-files_.lock(file, static_cast<int>(a[1])));
    case SCMP_SYS(fallocate):
      return done(-EOPNOTSUPP);
    case SCMP_SYS(mmap):
      return done(-ENODEV);
    default:
      return transfer(call, file);
  }
}

// SEEK_DATA and SEEK_HOLE: all of a disk is data.
DeviceServer::Answer DeviceServer::seek(Call& call, OpenFile& file) {
  const auto offset = static_cast<off_t>(call.arguments[1]);
  const auto size = static_cast<off_t>(file.node->size_bytes());
  if (offset < 0 || offset >= size) return done(-ENXIO);
  if (call.arguments[2] != SEEK_DATA && call.arguments[2] != SEEK_HOLE) return done(-EINVAL);
  const off_t target = call.arguments[2] == SEEK_DATA ? offset : size;
  return done(::lseek(file.shared.get(), target, SEEK_SET) < 0 ? -errno : target);
}

DeviceServer::Answer DeviceServer::transfer(Call& call, OpenFile& file) {
  const std::optional<Transfer> asked = transfer_of(call.number);
  if (!asked) return done(-EIO);
  const int mode = file.flags & O_ACCMODE;
  if (mode == (asked->is_write ? O_RDONLY : O_WRONLY)) return done(-EBADF);
  CallerBuffer buffer;
  if (const int code = buffer_of(call, asked->is_vector, buffer)) return done(-code);
  auto offset = static_cast<off_t>(call.arguments[3]);
  // preadv2 and pwritev2 take -1 for the file's own offset.
  const bool own_allowed = call.number == SCMP_SYS(preadv2) || call.number == SCMP_SYS(pwritev2);
  const bool own_offset = !asked->is_at_offset || (own_allowed && offset == -1);
  if (own_offset) offset = ::lseek(file.shared.get(), 0, SEEK_CUR);
  if (offset < 0) return done(-EINVAL);
  if (!still_waits(call)) return done(-EINTR);
  const long moved = move_bytes(*file.node, call.memory, buffer, static_cast<std::uint64_t>(offset),
                                asked->is_write);
  if (own_offset && moved > 0) ::lseek(file.shared.get(), offset + moved, SEEK_SET);
  return done(moved);
}

int DeviceServer::buffer_of(Call& call, bool is_vector, CallerBuffer& buffer) {
  const std::uint64_t address = call.arguments[1], count = call.arguments[2];
  if (!is_vector) {
    buffer.push_back({address, count});
    return 0;
  }
  if (count > IOV_MAX) return EINVAL;
  std::vector<iovec> pieces(count);
  if (const int code = call.memory.read(address, std::as_writable_bytes(std::span(pieces))))
    return code;
  for (const iovec& piece : pieces)
    buffer.push_back({reinterpret_cast<std::uintptr_t>(piece.iov_base), piece.iov_len});
  return 0;
}

}  // namespace keyward::sed
