#include <fmt/format.h>

#include "base/text.h"
#include "store/control_store.h"
#include "store/sqlite/sqlite_backend.h"

namespace keyward::store {
namespace {

constexpr std::string_view kSqlite = "sqlite:";
// "sqlite:/var/lib/keyward?format=1": what SqliteBackendOptions::first_format is.
constexpr std::string_view kFormat = "?format=";

Result<std::uint32_t> parse_format(std::string_view text) {
  if (text.size() == 1 && text[0] >= '0' && text[0] <= '9')
    return static_cast<std::uint32_t>(text[0] - '0');
  return fail(ErrorCode::invalid_argument,
              fmt::format("\"{}\" is no store format; give one digit", printable(text)));
}

Result<std::unique_ptr<Backend>> open_sqlite(std::string_view place, Clock& clock) {
  SqliteBackendOptions options;
  const std::size_t at = place.find(kFormat);
  if (at != std::string_view::npos) {
    options.first_format = TRY(parse_format(place.substr(at + kFormat.size())));
    place = place.substr(0, at);
  }
  if (!place.starts_with('/')) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the state directory \"{}\" is no absolute path; write it as "
                            "sqlite:/var/lib/keyward",
                            printable(place)));
  }
  return open_sqlite_backend(std::string(place), clock, options);
}

}  // namespace

Result<std::unique_ptr<Backend>> open_backend(std::string_view location, Clock& clock) {
  if (location.starts_with(kSqlite)) return open_sqlite(location.substr(kSqlite.size()), clock);
  return fail(ErrorCode::invalid_argument,
              fmt::format("there is no back end for \"{}\"; write sqlite:/var/lib/keyward",
                          printable(location)));
}

}  // namespace keyward::store
