// The Explorer visits every state that a rekey can come to, breadth first, and looks in each of
// them whether every promise holds; afterwards, whether from each of them the rekey can end.
//
//   Explorer explorer({.flaws = flaws});
//   Explorer::Report report = explorer.explore();
//   EXPECT_EQ(report.broken, "") << report.path;
//
// From every state: a step of the job, whole, and with a failure before and after each of its
// calls, with the end of the process at each call, with a custodian that answers nothing, and with
// a put, a pause, a cancel or a custodian left out between any two calls; a put and a get that
// stand still while the job goes on; every request at rest; the end of the process, with the power
// or without, and its start; at rest, or after each rekey, the
// reseal that is needed. States that differ by names and counters only are one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/model/rekey_machine.h"

namespace keyward::model {

class Explorer final {
 public:
  struct Report {
    std::size_t states = 0;
    std::size_t transitions = 0;
    std::string broken;  // The promise; empty when all hold.
    std::string path;    // What led there, a line each.
  };

  struct Scope {
    std::size_t entries = kEntriesMax;
    // At any moment other custodians are wanted; then none is left out of a rekey.
    bool changes_custodians = false;
    Flaws flaws{};
  };
  explicit Explorer(const Scope& scope);
  ~Explorer();
  Report explore();

 private:
  using Naming = std::function<std::string()>;
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Node {
    World world;  // Emptied once its successors are known.
    std::size_t parent = kNone;
    std::string label;
    // Where it goes when nothing fails.
    std::size_t good = kNone;
    bool is_done = false;
  };

  void expand(std::size_t at);
  void start(const World& from);
  void start_without(const World& from, const CustodianId& silent);
  void step(const World& from);
  void step_with_faults(const World& from, std::size_t calls);
  void step_with_others(const World& from, std::size_t calls);
  void stand_still(const World& from);
  void requests(const World& from);
  void end_process(const World& from, const Naming& naming);
  // Runs `act` from `from` as the gate was told, and visits what comes of it.
  std::size_t run(const World& from, const std::function<void()>& plan,
                  const std::function<void()>& act, const Naming& naming);
  std::size_t visit(const World& from, World next, const Naming& naming);
  void check_reads(const World& from);
  void check_that_all_end();
  void found(std::string broken, std::size_t parent, std::string label);

  const Scope scope_;
  World first_;
  std::unique_ptr<RekeyMachine> machine_;
  std::unordered_map<std::string, std::size_t> known_;
  std::vector<Node> nodes_;
  std::size_t expanding_ = 0;
  Report report_;
};

}  // namespace keyward::model
