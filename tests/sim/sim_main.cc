#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "tests/sim/sim_node.h"

using namespace std::chrono_literals;

int main() {
  using namespace keyward;
  set_log_level(LogLevel::error);
  sim::SimClock clock(from_iso8601("2026-01-05T02:00:00Z").value(), 1);
  sim::SimNode node(
      {.domains = {"KEYWARD", "S3"},
       .custodians = {"fake:a", "fake:b"},
       .workers = 2,
       .limits = {.look_every = 6h}},
      clock,
      {.event = [](const engine::Event& e) { fmt::print("{} {} {}\n", e.name, e.subject, e.text); },
       .recovered = [] {}});
  node.start();
  clock.settle();
  const Domain s3 = sim::domain_of("S3");
  static_cast<void>(node.service().start({&s3, 1}, {}, sim::kOperator));
  clock.advance(24h * 100);
}
