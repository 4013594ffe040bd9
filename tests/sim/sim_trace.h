// A SimTrace is what happened in a simulation, a line each. Random ids are shown as #1, #2 … in
// their order of appearance: so two runs of one seed give the same text, and digest() compares
// them.
//
//   trace.add(clock.now(), fmt::format("start {}", domain));
//   fmt::print("{:016x}\n", trace.digest());
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace keyward::sim {

class SimTrace final {
 public:
  // With `prints`, each line goes to stdout as it comes.
  explicit SimTrace(bool prints) : prints_(prints) {}

  void add(UtcTime now, std::string_view text);
  std::uint64_t digest() const { return digest_; }
  std::size_t lines() const { return lines_; }
  // The last lines, for the report of a failure.
  const std::deque<std::string>& last() const { return last_; }

 private:
  std::string number_ids(std::string_view text);

  const bool prints_;
  std::map<std::string, std::size_t, std::less<>> ids_;
  std::deque<std::string> last_;
  std::uint64_t digest_ = 0xcbf29ce484222325;
  std::size_t lines_ = 0;
};

}  // namespace keyward::sim
