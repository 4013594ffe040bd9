#include "tests/sim/sim_trace.h"

#include <fmt/format.h>

#include <utility>

#include "base/ids.h"
#include "base/text.h"

namespace keyward::sim {
namespace {

constexpr std::size_t kLastMax = 60;
constexpr std::size_t kUuidChars = 36;

}  // namespace

std::string SimTrace::number_ids(std::string_view text) {
  std::string numbered;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view id = text.substr(at, kUuidChars);
    if (id.size() == kUuidChars && id[8] == '-' && KeyId::parse(id)) {
      const std::size_t number = ids_.try_emplace(std::string(id), ids_.size() + 1).first->second;
      numbered += fmt::format("#{}", number);
      at += kUuidChars;
    } else {
      numbered += text[at++];
    }
  }
  return numbered;
}

void SimTrace::add(UtcTime now, std::string_view text) {
  std::string line = fmt::format("{} {}", to_iso8601(now), number_ids(text));
  constexpr std::uint64_t kFnvPrime = 0x100000001b3;
  for (const char c : line) digest_ = (digest_ ^ static_cast<unsigned char>(c)) * kFnvPrime;
  ++lines_;
  if (prints_) fmt::print("{}\n", line);
  last_.push_back(std::move(line));
  if (last_.size() > kLastMax) last_.pop_front();
}

}  // namespace keyward::sim
