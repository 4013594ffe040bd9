#include "store/sqlite/format.h"

#include <fmt/format.h>

namespace keyward::store {
namespace {
constexpr std::uint32_t kFactor = 1000;
}

Result<StoreFormat> format_numbered(std::uint32_t format) {
  if (format == kFormatWithoutRekey.format) return kFormatWithoutRekey;
  if (format == kFormatCurrent.format) return kFormatCurrent;
  return fail(ErrorCode::invalid_argument,
              fmt::format("there is no store format {}; this program writes {} and {}", format,
                          kFormatWithoutRekey.format, kFormatCurrent.format));
}

Result<StoreFormat> read_format(Database& database) {
  const std::uint32_t version = TRY(database.user_version());
  const StoreFormat format{version / kFactor, version % kFactor};
  if (format.format == 0 || format.reader == 0) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} is an SQLite database but no store of Keyward (user_version {}); "
                            "restore it from a backup",
                            database.path(), version));
  }
  if (format.reader > kReaderVersion) {
    return fail(
        ErrorCode::unsupported,
        fmt::format("{} is in format {} and needs a Keyward of reader version {} or newer, "
                    "but this one is of reader version {}. Install the newer Keyward again; "
                    "after `keyward upgrade commit` there is no way back to an older one",
                    database.path(), format.format, format.reader, kReaderVersion));
  }
  return format;
}

Result<void> write_format(Database& database, StoreFormat format) {
  return database.set_user_version(format.format * kFactor + format.reader);
}

}  // namespace keyward::store
