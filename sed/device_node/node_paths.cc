#include "sed/device_node/node_paths.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <filesystem>

namespace keyward::sed {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kStandard{"/dev/stdin", "/dev/stdout", "/dev/stderr"};
// Pages are at least this large, so no piece of a path that is read at once crosses into another.
constexpr std::size_t kPageBytes = 4096;

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

int number_of(std::string_view text) {
  int number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

int read_path(CallerMemory& memory, std::uint64_t address, std::string& path) {
  constexpr std::size_t kPieceBytes = 256;
  path.clear();
  std::array<char, kPieceBytes> piece{};
  while (path.size() < PATH_MAX) {
    const std::size_t size = std::min<std::size_t>(kPieceBytes, kPageBytes - address % kPageBytes);
    if (const int code = memory.read(address, std::as_writable_bytes(std::span(piece)).first(size)))
      return code;
    const std::string_view text(piece.data(), size);
    const std::size_t end = text.find('\0');
    path += text.substr(0, end);
    if (end != std::string_view::npos) return 0;
    address += size;
  }
  return ENAMETOOLONG;
}

PathLookup NodePaths::find(pid_t process, int directory, std::string_view path) {
  // Nearly every path is neither, and its last part shows it.
  const std::string_view last = path.substr(path.rfind('/') + 1);
  const bool may_be_descriptor = is_number(last) || last.starts_with("std");
  const auto may_be = [&](const DeviceNode& node) { return node.path().ends_with(last); };
  if (last.empty() || (!may_be_descriptor && std::ranges::none_of(nodes_, may_be))) return {};

  fs::path whole(path);
  if (!whole.is_absolute()) {
    const std::string base = directory == AT_FDCWD
                                 ? fmt::format("/proc/{}/cwd", process)
                                 : fmt::format("/proc/{}/fd/{}", process, directory);
    std::error_code error;
    const fs::path at = fs::read_symlink(base, error);
    if (error) return {.code = error == std::errc::no_such_file_or_directory ? EBADF : EIO};
    whole = at / whole;
  }
  const std::string normal = whole.lexically_normal();
  for (DeviceNode& node : nodes_)
    if (node.path() == normal) return {.node = &node};
  return may_be_descriptor ? by_descriptor(process, normal) : PathLookup{};
}

PathLookup NodePaths::by_descriptor(pid_t process, const std::string& path) {
  const std::string_view text(path);
  const std::string_view last = text.substr(text.rfind('/') + 1);
  int descriptor = -1;
  const auto standard = std::ranges::find(kStandard, text);
  if (standard != kStandard.end()) {
    descriptor = static_cast<int>(standard - kStandard.begin());
  } else if (is_number(last)) {
    const std::string_view parent = text.substr(0, text.size() - last.size());
    constexpr std::string_view kProc = "/proc/", kFd = "/fd/";
    if (parent.starts_with(kProc) && parent.ends_with(kFd)) {
      const std::string_view who =
          parent.substr(kProc.size(), parent.size() - kProc.size() - kFd.size());
      if (is_number(who)) process = number_of(who);
      if (is_number(who) || who == "self" || who == "thread-self") descriptor = number_of(last);
    } else if (parent == "/dev/fd/") {
      descriptor = number_of(last);
    }
  }
  if (descriptor < 0) return {};
  const FileLookup found = files_.find(process, descriptor);
  if (found.kind == FileLookup::Kind::unknown) return {.code = EIO};
  if (found.kind == FileLookup::Kind::other) return {};
  return {.node = found.file->node, .by_descriptor = true};
}

}  // namespace keyward::sed
