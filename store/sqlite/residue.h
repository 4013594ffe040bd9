// Residue is what SQLite leaves in a database file beyond what it still means: bytes between the
// cells of a b-tree page, content of freed pages. Our VFS and secure_delete keep all of that zero;
// this looks whether they did.
//
//   ResidueSearch search;
//   while (!TRY(search.look(database))) {}          // a piece at a time, each between transactions
//   TRY(search.look_again(database));               // the suspects once more, in one piece
//   search.found();
//
// Needles that are known are found by page_scanner.h; this needs none. Not looked at: the tail of
// an entry's last overflow page, which holds no old bytes as freed pages are zero before they are
// used again. The caller keeps others from writing during each call.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/sqlite/database.h"

namespace keyward::store {

class ResidueSearch final {
 public:
  // True when the end of the file was reached.
  Result<bool> look(Database& database);
  // Pages may have come into use, or gone out of it, between two pieces.
  Result<void> look_again(Database& database);
  // One line in words for each kind.
  std::vector<std::string> found() const;

 private:
  Result<void> read_freelist(Database& database);
  // Reads the page too.
  Result<bool> has_residue(Database& database, std::uint32_t number);

  std::uint32_t next_ = 1;
  std::set<std::uint32_t> free_;  // Freed pages that hold nothing, by number.
  std::set<std::uint32_t> suspects_;
  Bytes page_;
  Bytes cleaned_;
};

// What lies beside a database under its name and is not its own: "S3.db.bak".
Result<std::vector<std::string>> find_files_beside(const std::string& path);

}  // namespace keyward::store
