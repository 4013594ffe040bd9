#include "daemon/metrics.h"

namespace keyward::daemon {

Metrics::Metrics() : answers_(api::routes().size() + 1) {}

void Metrics::count_answer(const api::Route* route, unsigned status) {
  const std::size_t row = route == nullptr ? answers_.size() - 1
                                           : static_cast<std::size_t>(route - api::routes().data());
  const std::size_t column = status / 100 < kClasses ? status / 100 : 0;
  answers_[row][column].fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t Metrics::answers(std::size_t route_index, unsigned status_class) const {
  return answers_[route_index][status_class].load(std::memory_order_relaxed);
}

}  // namespace keyward::daemon
