#include "cli/table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace keyward::cli {
namespace {

std::string printed(const Table& table) {
  std::ostringstream out;
  print_table(out, table);
  return out.str();
}

TEST(TableTest, ColumnsRulesAndTotalStandAsInOneFs) {
  EXPECT_EQ(printed({{"Domain", "Status", "Error Info(if any)"},
                     {{"CELOG", "ACTIVE", ""}, {"S3", "IN_PROGRESS", "none"}}}),
            "Domain  Status       Error Info(if any)\n"
            "---------------------------------------\n"
            "CELOG   ACTIVE\n"
            "S3      IN_PROGRESS  none\n"
            "---------------------------------------\n"
            "Total: 2\n");
}

TEST(TableTest, AnEmptyListHasHeadingsAndTotalZero) {
  EXPECT_EQ(printed({{"Name"}, {}}), "Name\n----\n----\nTotal: 0\n");
}

TEST(TableTest, ANameCannotMoveTheCursor) {
  const std::string text = printed({{"Name", "Key ID"}, {{"evil\x1b[2J\n", "k"}}});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("\\x1b"), std::string::npos);
}

TEST(TableTest, WideCharactersAlignByCodePoint) {
  const std::string text = printed({{"Name", "V"}, {{"äöü", "1"}, {"abc", "2"}}});
  EXPECT_NE(text.find("äöü   1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("abc   2\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace keyward::cli
