// The rekey's state machine as it is in the product, in every state that it can come to; and that
// this search notices when a store or a custodian breaks its promises.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "tests/model/explorer.h"

namespace keyward::model {
namespace {

class RekeyModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_sink([](LogLevel, std::string_view) {});
  }
  void TearDown() override { set_log_sink(nullptr); }
};

Explorer::Report explore(const Explorer::Scope& scope) {
  const Explorer::Report report = Explorer(scope).explore();
  fmt::print("{} states, {} transitions\n", report.states, report.transitions);
  return report;
}

TEST_F(RekeyModelTest, EveryPromiseHoldsInEveryStateAndEveryRekeyCanEnd) {
  const Explorer::Report report = explore({});
  EXPECT_EQ(report.broken, "") << report.path;
  EXPECT_GT(report.states, 1000u);
}

TEST_F(RekeyModelTest, EveryPromiseHoldsWhileOtherCustodiansAreWantedAtAnyMoment) {
  const Explorer::Report report = explore({.entries = 1, .changes_custodians = true});
  EXPECT_EQ(report.broken, "") << report.path;
  EXPECT_GT(report.states, 1000u);
}

struct Mutant {
  std::string_view name;
  Flaws flaws;
  std::string_view broken;  // Empty where another guard makes up for it.
};

const Mutant kMutants[] = {
    {"a put passes under any key table",
     {.store = {.ignores_generation = true}},
     "an entry under a key on its way out"},
    {"a key table replaces whichever is there",
     {.store = {.swaps_blindly = true}},
     "a pause was granted and undone"},
    {"nothing is durable but by a purge",
     {.store = {.syncs_nothing = true}},
     "a rekey is gone that the history does not know"},
    {"the purge does nothing",
     {.store = {.purges_nothing = true}},
     "a key was destroyed before the purge"},
    {"the cursor is durable before its rows", {.store = {.cursor_apart = true}}, ""},
    {"the cursor is durable before its rows, and no scan",
     {.store = {.cursor_apart = true, .scans_nothing = true}},
     "an entry under a key that is forgotten"},
    {"the cursor never goes back",
     {.store = {.keeps_cursor = true}},
     "entries are moved to a key that the hardware may destroy"},
    {"the scan shows nothing", {.store = {.scans_nothing = true}}, ""},
    {"the cursor never goes back, and no scan",
     {.store = {.keeps_cursor = true, .scans_nothing = true}},
     "an entry under a key that is forgotten"},
    {"a put counts as a batch",
     {.store = {.takes_puts_for_batches = true}},
     "entries are moved to a key that the hardware may destroy"},
    {"who may hold an announced key is not durable",
     {.store = {.forgets_intents = true}},
     "an object in the hardware that no intent names"},
    {"destroying does nothing",
     {.custodian = {.keeps_objects = true}},
     "an object in the hardware that no intent names"},
    {"destroying answers before it acts",
     {.custodian = {.destroys_late = true}},
     "an object in the hardware that no intent names"},
    {"a copy opens once only",
     {.custodian = {.loses_objects = true}},
     "a copy of a live key is gone"},
    {"a copy gives another key", {.custodian = {.seals_another = true}}, "a rekey that never ends"},
    {"confirming does nothing",
     {.custodian = {.confirms_nothing = true}},
     "the hardware may destroy the current key"},
};

TEST_F(RekeyModelTest, EveryMutantIsNoticed) {
  for (const Mutant& mutant : kMutants) {
    const Explorer::Report report = Explorer({.entries = 2, .flaws = mutant.flaws}).explore();
    fmt::print("{:50} | {:56} | {:6} states\n", mutant.name,
               report.broken.empty() ? "all promises hold" : report.broken, report.states);
    EXPECT_EQ(report.broken, mutant.broken) << mutant.name << "\n" << report.path;
  }
}

}  // namespace
}  // namespace keyward::model
