#include "cli/terminal.h"

#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <system_error>

namespace keyward::cli {
namespace {

// Turns the terminal's echo off for a while.
class EchoOff final {
 public:
  explicit EchoOff(int descriptor) : descriptor_(descriptor) {
    if (::tcgetattr(descriptor, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = ::tcsetattr(descriptor, TCSAFLUSH, &silent) == 0;
  }
  ~EchoOff() {
    if (changed_) ::tcsetattr(descriptor_, TCSAFLUSH, &before_);
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  int descriptor_;
  termios before_{};
  bool changed_ = false;
};

// 270000 → "270,000".
std::string grouped(std::uint64_t number) {
  std::string text = fmt::to_string(number);
  for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string time_left(std::uint64_t seconds) {
  if (seconds < 120) return fmt::format("{} s left", seconds);
  if (seconds < 7200) return fmt::format("{} min left", (seconds + 59) / 60);
  return fmt::format("{} h left", (seconds + 3599) / 3600);
}

Result<std::size_t> read_some(int descriptor, MutableByteView into) {
  for (;;) {
    const ssize_t got = ::read(descriptor, into.data(), into.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    return fail(ErrorCode::io,
                fmt::format("read: the secret cannot be read from descriptor {}: {}", descriptor,
                            std::generic_category().message(errno)),
                "read", static_cast<std::uint64_t>(errno));
  }
}

}  // namespace

bool confirm(std::string_view question, bool yes_given) {
  if (yes_given) return true;
  std::cerr << question << " (yes/[no]): " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "yes") return true;
  std::cerr << "Nothing was changed.\n";
  return false;
}

Result<SecretBytes> read_secret(int descriptor, std::string_view prompt, std::size_t size_max) {
  const bool terminal = ::isatty(descriptor) == 1;
  // One byte more than allowed, to see that there is more.
  SecretBytes buffer = TRY(SecretBytes::allocate(size_max + 1));
  std::size_t size = 0;
  {
    const EchoOff echo_off(terminal ? descriptor : -1);
    if (terminal) std::cerr << prompt << std::flush;
    while (size < buffer.size()) {
      const MutableByteView rest = buffer.reveal_mutable().subspan(size);
      const std::size_t got = TRY(read_some(descriptor, rest));
      size += got;
      if (got == 0 || (terminal && rest[got - 1] == std::byte{'\n'})) break;
    }
    if (terminal) std::cerr << '\n';
  }
  if (terminal && size > 0 && buffer.reveal()[size - 1] == std::byte{'\n'}) --size;
  if (size == 0) {
    return fail(ErrorCode::invalid_argument,
                "The secret is empty. Give it on standard input, or name a descriptor with --fd.");
  }
  if (size > size_max) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("The secret is longer than {} bytes, the most that an entry holds.", size_max));
  }
  return SecretBytes::take_from(buffer.reveal_mutable().first(size));
}

Result<void> write_secret(int descriptor, const SecretBytes& secret) {
  ByteView rest = secret.reveal();
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return fail(ErrorCode::io, fmt::format("write: {}", std::generic_category().message(errno)),
                  "write", static_cast<std::uint64_t>(errno));
    }
    rest = rest.subspan(static_cast<std::size_t>(written));
  }
  if (::isatty(descriptor) == 1 && ::write(descriptor, "\n", 1) < 0) {
    return fail(ErrorCode::io, fmt::format("write: {}", std::generic_category().message(errno)),
                "write");
  }
  return {};
}

std::string progress_line(const api::RekeyStatus& status, std::size_t width) {
  const std::string state(api::enum_text(status.state));
  if (status.phase.empty()) {
    const std::string outcome(api::enum_text(status.outcome));
    std::string line = fmt::format("{:<12}  {}", status.domain, outcome.empty() ? state : outcome);
    for (std::size_t i = 0; i < status.except.size(); ++i) {
      line += (i == 0 ? " " : ", ") + status.except[i];
    }
    return line;
  }
  const double share = status.entries_total == 0
                           ? 1.0
                           : std::min(1.0, static_cast<double>(status.entries_done) /
                                               static_cast<double>(status.entries_total));
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
  std::string line =
      fmt::format("{:<12}  {:<9}  [{}{}] {:3.0f} %  {}/{}", status.domain, status.phase,
                  std::string(filled, '#'), std::string(width - filled, '-'), share * 100,
                  grouped(status.entries_done), grouped(status.entries_total));
  if (status.entries_per_second > 0 && status.phase == "reencrypt") {
    line += fmt::format("  {}/s", grouped(static_cast<std::uint64_t>(status.entries_per_second)));
  }
  if (status.seconds_left && status.phase == "reencrypt") {
    line += "  " + time_left(*status.seconds_left);
  }
  if (!status.old_key.empty()) line += "  old key: " + status.old_key;
  if (status.cancelled) line += "  (cancelling)";
  if (status.state == api::DomainState::paused) line += "  PAUSED";
  if (status.state == api::DomainState::failed) line += "  FAILED";
  return line;
}

ProgressView::ProgressView() : terminal_(::isatty(STDOUT_FILENO) == 1) {}

void ProgressView::draw(const std::vector<api::RekeyStatus>& rows) {
  std::vector<std::string> lines;
  for (const api::RekeyStatus& row : rows) lines.push_back(progress_line(row));
  if (terminal_) {
    if (lines_drawn_ > 0) std::cout << fmt::format("\x1b[{}A", lines_drawn_);
    for (const std::string& line : lines) std::cout << "\r\x1b[K" << line << '\n';
    lines_drawn_ = lines.size();
  } else {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (i >= last_.size() || last_[i] != lines[i]) std::cout << lines[i] << '\n';
    }
  }
  std::cout << std::flush;
  last_ = std::move(lines);
}

}  // namespace keyward::cli
