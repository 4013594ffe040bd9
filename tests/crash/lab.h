// The Lab runs one point of the crash matrix: a rekey during which the Nth operation of some kind
// fails, or is the last; then the recovery, with every promise checked.
//
//   Lab lab;
//   const Reference reference = lab.measure(kScenarios[0]);      // how many of each there are
//   for (const Fault& fault : lab.faults(reference))
//     for (const Outcome& outcome : lab.run(kScenarios[0], fault, fault.models, 17, seed))
//       outcome.verdict.is_clean();
//
// All work is the caller's thread's, but for the store's writer. One Lab at a time. For tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/testing/engine_rig.h"
#include "tests/crash/scenario.h"
#include "tests/crash/verdict.h"

namespace keyward::crash {

enum class FaultKind : std::uint8_t {
  power_cut,      // At the Nth change of a file nothing is written any more.
  io_error,       // The Nth change of a file fails; the process lives on, then is started anew.
  lost_sync,      // The Nth sync fails, and what it should have written never reaches the disk.
  custodian,      // The Nth call of one custodian fails; the process lives on.
  process_end,    // The Nth call of any custodian is the last.
  operator_new,   // The Nth allocation within a call to store or custodian fails.
  sqlite_malloc,  // The same in SQLite's own allocator.
};

struct Fault {
  FaultKind kind;
  std::string name;
  std::vector<std::string> models;  // What may have become of it.
  std::size_t points = 0;           // N runs from 1 to this.
  std::string custodian{};
};

// What a run without faults does.
struct Reference {
  std::vector<std::string> operations;       // "write S3.db-wal", in order; reads are left out.
  std::map<std::string, std::size_t> calls;  // By custodian.
  std::size_t news = 0;
  std::size_t mallocs = 0;
};

struct Outcome {
  std::string model;
  Verdict verdict{};
  bool reached = true;      // There was an Nth operation.
  bool as_measured = true;  // It was the one that the reference run made as its Nth.
};

class Lab final {
 public:
  Lab();

  Reference measure(const Scenario& scenario);
  static std::vector<Fault> faults(const Reference& reference);
  // `models` is all or some of the fault's. The seed says which sectors a torn write loses.
  std::vector<Outcome> run(const Scenario& scenario, const Reference& reference, const Fault& fault,
                           std::span<const std::string> models, std::size_t n, std::uint64_t seed);

 private:
  struct Point;

  std::filesystem::path fresh(const std::string& name);
  void begin_anew();
  void cut_power(Point& point, std::span<const std::string> models);
  void fail_io(Point& point, const std::string& model);
  void lose_sync(Point& point, const std::string& model);
  void fail_custodian(Point& point, const std::string& model);
  void end_process(Point& point, const std::string& model);
  void fail_allocation(Point& point, const std::string& model);
  void fail_allocation_in_child(Point& point, Outcome& outcome);
  void play_and_recover(Point& point, const engine::EngineRig::Faults& faults, Outcome& outcome);

  engine::EngineRig rig_;
  std::filesystem::path root_;
  Base base_;
};

}  // namespace keyward::crash
