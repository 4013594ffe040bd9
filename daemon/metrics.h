// Metrics counts what the server does, for GET /metrics.
//
//   metrics.count_answer(route, 200);
//
// Safe from any thread; counting is one relaxed addition.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "api/routes.h"

namespace keyward::daemon {

class Metrics final {
 public:
  Metrics();

  // None: no route fitted.
  void count_answer(const api::Route* route, unsigned status);
  std::uint64_t answers(std::size_t route_index, unsigned status_class) const;

  std::atomic<std::uint64_t> connections_open{0};
  std::atomic<std::uint64_t> connections_refused{0};  // Too many.
  std::atomic<std::uint64_t> peers_refused{0};        // A uid that is not admitted.
  std::atomic<std::uint64_t> timeouts{0};

 private:
  static constexpr std::size_t kClasses = 6;  // By the status' first digit.
  // The last row is for requests that no route fits.
  std::vector<std::array<std::atomic<std::uint64_t>, kClasses>> answers_;
};

}  // namespace keyward::daemon
