#include "daemon/byte_budget.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace keyward::daemon {
namespace {

TEST(ByteBudgetTest, WhoFindsTooLittleWaitsInLine) {
  ByteBudget budget(10);
  std::vector<int> order;
  std::optional<ByteBudget::Share> first;
  std::optional<ByteBudget::Share> large;
  std::optional<ByteBudget::Share> small;
  budget.acquire(8, [&](ByteBudget::Share share) { first = std::move(share); });
  ASSERT_TRUE(first);
  budget.acquire(10, [&](ByteBudget::Share share) {
    order.push_back(1);
    large = std::move(share);
  });
  // It would fit, but must not overtake.
  budget.acquire(2, [&](ByteBudget::Share share) {
    order.push_back(2);
    small = std::move(share);
  });
  EXPECT_TRUE(order.empty());
  first.reset();
  EXPECT_EQ(order, std::vector<int>{1});
  large.reset();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_EQ(budget.in_use(), 2u);
  small.reset();
  EXPECT_EQ(budget.in_use(), 0u);
}

TEST(ByteBudgetTest, AShareThatNobodyTakesGivesItsBytesBack) {
  ByteBudget budget(10);
  ByteBudget::Share held;
  budget.acquire(10, [&](ByteBudget::Share share) { held = std::move(share); });
  budget.acquire(5, [](ByteBudget::Share) {});
  held = {};
  EXPECT_EQ(budget.in_use(), 0u);
}

TEST(ByteBudgetTest, AbandonedWaitersAreNotCalled) {
  ByteBudget budget(10);
  ByteBudget::Share held;
  bool called = false;
  budget.acquire(10, [&](ByteBudget::Share share) { held = std::move(share); });
  budget.acquire(5, [&](ByteBudget::Share) { called = true; });
  budget.abandon_waiters();
  held = {};
  EXPECT_FALSE(called);
  EXPECT_EQ(budget.in_use(), 0u);
}

}  // namespace
}  // namespace keyward::daemon
