#include "sed/device_node/open_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>

namespace keyward::sed {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kName = "keyward-drive-", kLink = "/memfd:keyward-drive-";
constexpr std::size_t kCollectMin = 64;

Descriptor reopen(const Descriptor& file, int flags) {
  return Descriptor(::open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), flags | O_CLOEXEC));
}

// The number in "/memfd:keyward-drive-7 (deleted)".
std::optional<std::uint64_t> number_in(std::string_view link) {
  if (!link.starts_with(kLink)) return std::nullopt;
  link.remove_prefix(kLink.size());
  std::uint64_t number = 0;
  std::from_chars(link.data(), link.data() + link.size(), number);
  return number;
}

void add_numbers(const fs::path& directory, std::set<std::uint64_t>& numbers) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unread;
    const fs::path link = fs::read_symlink(entry->path(), unread);
    if (unread) continue;
    if (const auto number = number_in(link.native())) numbers.insert(*number);
  }
}

// Of every thread of every process that this one may look into, but itself.
std::set<std::uint64_t> numbers_in_use() {
  std::set<std::uint64_t> numbers;
  const std::string self = fmt::to_string(::getpid());
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const std::string name = process->path().filename();
    if (name == self || !std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
      continue;
    std::error_code gone;
    for (fs::directory_iterator thread(process->path() / "task", gone); !gone && thread != end;
         thread.increment(gone))
      add_numbers(thread->path() / "fd", numbers);
  }
  return numbers;
}

}  // namespace

int OpenFiles::open(DeviceNode& node, int flags, OpenFile*& file) {
  if (files_.size() >= collect_at_) {
    collect();
    collect_at_ = std::max(kCollectMin, 2 * files_.size());
  }
  const std::string name = fmt::format("{}{}", kName, next_number_);
  const Descriptor made(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made.is_open()) return errno;
  if (::ftruncate(made.get(), static_cast<off_t>(node.size_bytes())) != 0) return errno;
  // A way of writing that nobody thought of fails, instead of going nowhere.
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(made.get(), F_ADD_SEALS, kSeals) != 0) return errno;
  Descriptor shared = reopen(made, flags & (O_ACCMODE | O_NONBLOCK));
  if (!shared.is_open()) return errno;
  const auto [at, added] =
      files_.emplace(next_number_++, OpenFile{&node, flags, std::move(shared), Descriptor{}});
  file = &at->second;
  return 0;
}

FileLookup OpenFiles::find(pid_t process, int descriptor) {
  std::array<char, 64> text{};
  const std::string path = fmt::format("/proc/{}/fd/{}", process, descriptor);
  const ssize_t size = ::readlink(path.c_str(), text.data(), text.size());
  if (size < 0) {
    if (errno == ENOENT) return {};
    return {.kind = FileLookup::Kind::unknown};
  }
  const auto number = number_in({text.data(), static_cast<std::size_t>(size)});
  if (!number) return {};
  const auto found = files_.find(*number);
  if (found == files_.end()) return {.kind = FileLookup::Kind::unknown};
  return {.kind = FileLookup::Kind::node, .file = &found->second};
}

int OpenFiles::lock(OpenFile& file, int operation) {
  const int code = try_lock(file, operation);
  if (code != EWOULDBLOCK) return code;
  // Its owner may be gone.
  collect(&file);
  return try_lock(file, operation);
}

int OpenFiles::try_lock(OpenFile& file, int operation) {
  Descriptor& common = locks_[file.node];
  if (!common.is_open()) common = Descriptor(::memfd_create("keyward-lock", MFD_CLOEXEC));
  if (!file.lock.is_open()) file.lock = reopen(common, O_RDWR);
  if (!file.lock.is_open()) return errno;
  return ::flock(file.lock.get(), operation | LOCK_NB) == 0 ? 0 : errno;
}

void OpenFiles::collect(const OpenFile* keep) {
  const std::set<std::uint64_t> in_use = numbers_in_use();
  std::erase_if(files_, [&](const auto& entry) {
    return !in_use.contains(entry.first) && &entry.second != keep;
  });
}

}  // namespace keyward::sed
