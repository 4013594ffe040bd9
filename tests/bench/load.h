// A load of requests on keywardd's socket, and the times that they took.
//
//   LoadResult result = run_load({.socket = path, .clients = 16, .entries = 100'000, .seconds =
//   3});
//
// All clients are one thread around epoll with requests rendered as they are sent, so that the
// cores are the daemon's: 16 threads of clients cost more than what they measure. Each client sends
// its next request when the answer has come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/bench/measure.h"

namespace keyward::bench {

struct LoadSpec {
  std::string socket;
  unsigned clients = 1;
  bool put = false;      // Otherwise get.
  std::string target{};  // Always this one, instead of an entry.
  std::uint32_t entries = 0;
  std::size_t size = 256;  // Of what is put.
  double seconds = 1;
  std::uint64_t seed = 1;
};

struct LoadResult {
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;  // Any answer but 200.
  double per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
  double longest_us = 0;

  Json to_json() const;
};

LoadResult run_load(const LoadSpec& spec);

}  // namespace keyward::bench
