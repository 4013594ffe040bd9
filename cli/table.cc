#include "cli/table.h"

#include <algorithm>
#include <ostream>

#include "base/text.h"

namespace keyward::cli {
namespace {

// Wide enough for any text of ours; longer cells are names that somebody chose.
constexpr std::size_t kCellBytesMax = 1024;

// What a terminal shows of UTF-8: one column a code point, which is right for the texts that stand
// in tables.
std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

void print_row(std::ostream& out, const std::vector<std::string>& cells,
               const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line.append(widths[i] - display_width(cells[i]) + 2, ' ');
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out << line << '\n';
}

}  // namespace

void print_table(std::ostream& out, const Table& table) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::size_t> widths;
  for (const std::string& heading : table.headings) widths.push_back(display_width(heading));
  for (const auto& row : table.rows) {
    std::vector<std::string>& cells = rows.emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i) {
      cells.push_back(printable(row[i], kCellBytesMax));
      widths[i] = std::max(widths[i], display_width(cells.back()));
    }
  }
  std::size_t rule = 0;
  for (const std::size_t width : widths) rule += width + 2;
  rule = rule < 2 ? 0 : rule - 2;
  print_row(out, table.headings, widths);
  out << std::string(rule, '-') << '\n';
  for (const auto& cells : rows) print_row(out, cells, widths);
  out << std::string(rule, '-') << '\n' << "Total: " << rows.size() << '\n';
}

}  // namespace keyward::cli
