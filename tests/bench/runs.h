// The three whole runs of keyward-bench. Each answers its measurements as JSON, all rounds of them;
// targets.h makes medians and ratios of that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "tests/bench/measure.h"

namespace keyward::bench {

struct RunOptions {
  std::filesystem::path directory;  // Empty, and on the disk that is to be measured.
  std::uint32_t entries = 1'000'000;
  std::size_t size = 256;
  unsigned rounds = 5;
  double seconds = 2;  // Of each load of requests.
};

// Rewriting every entry: the floor, ours with each engine, the others; in turn, round by round, so
// that what else the machine does hits all alike.
Json run_rewrites(const RunOptions& options);

// Gets, puts and status over the socket, by 1 and by 16 clients, while nothing else goes on, while
// the keystore is rekeyed, and while a second one is rekeyed too.
Json run_requests(const RunOptions& options);

// The same domain at each of these sizes: what must not grow with it.
Json run_scale(const RunOptions& options, const std::vector<std::uint32_t>& sizes);

}  // namespace keyward::bench
