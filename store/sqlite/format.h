// Which programs may open a store: the format that it is written in, and the oldest reader that
// understands it, both in SQLite's user_version.
//
//   StoreFormat format = TRY(read_format(db));      // `unsupported` for one that is too new
//   TRY(write_format(db, kFormats[2]));             // within the transaction that migrates
//
// user_version = format * 1000 + reader. A later program that only adds what this one may ignore
// raises the format and leaves the reader as it is. Format 1 has no rekey; format 2 has.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "store/sqlite/database.h"

namespace keyward::store {

struct StoreFormat {
  std::uint32_t format = 0;
  std::uint32_t reader = 0;  // The least reader version that may open it.
  auto operator<=>(const StoreFormat&) const = default;
};

inline constexpr StoreFormat kFormatWithoutRekey{1, 1};
inline constexpr StoreFormat kFormatCurrent{2, 2};
// What this program can read.
inline constexpr std::uint32_t kReaderVersion = 2;

// The store format with that number. `invalid_argument` unless this program writes it.
Result<StoreFormat> format_numbered(std::uint32_t format);

// `unsupported` when it needs a newer reader; `corrupt` when no format is written there, so that it
// is no store of ours.
Result<StoreFormat> read_format(Database& database);
Result<void> write_format(Database& database, StoreFormat format);

}  // namespace keyward::store
