// Tables as OneFS prints them: headings, a rule, rows, a rule, "Total: N".
//
//   print_table(std::cout, rows);                 // columns as the struct names them
//
// Columns are as wide as their widest cell; the last one is not padded. Cells are printed with
// control characters escaped, so that a name cannot move the cursor.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "api/fields.h"

namespace keyward::cli {

struct Table {
  std::vector<std::string> headings;
  std::vector<std::vector<std::string>> rows;
};

void print_table(std::ostream& out, const Table& table);

template <typename Row>
void print_table(std::ostream& out, const std::vector<Row>& rows) {
  Table table{api::table_headings<Row>(), {}};
  for (const Row& row : rows) table.rows.push_back(api::table_cells(row));
  print_table(out, table);
}

}  // namespace keyward::cli
