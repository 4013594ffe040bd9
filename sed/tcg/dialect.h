// The two ways to write a method's arguments: Opal's numbers and Enterprise's texts, and the method
// UIDs that differ.
//
//   const Words words(Dialect::enterprise);
//   words.get(range::band(1), {column::locking::kReadLocked, column::locking::kWriteLocked},
//   request); Row row = TRY(words.row(band, results));
//
// Pure. `invalid_argument` for a column that the dialect has no name for.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "sed/tcg/token.h"
#include "sed/tcg/value.h"

namespace keyward::sed::tcg {

// Enterprise names arguments and columns by text, has other method UIDs, and authenticates by a
// method of its own.
enum class Dialect : std::uint8_t { opal, enterprise };

// Bytes around the content of a Get or Set of a byte table, at most: call, UIDs, names, status.
inline constexpr std::size_t kCallBytesMax = 96;

// The name of an optional argument.
struct Name {
  std::uint64_t number;
  std::string_view text;
};

class Words final {
 public:
  explicit Words(Dialect dialect) : dialect_(dialect) {}

  // Whole calls, from the Call token to the status list.
  Result<void> get(const Uid& object, Columns columns, TokenWriter& out) const;
  Result<void> set(const Uid& object, const Row& cells, TokenWriter& out) const;
  Result<void> set_pin(const Uid& credential, const SecretBytes& pin, TokenWriter& out) const;
  void get_bytes(const Uid& table, std::uint64_t offset, std::size_t size, TokenWriter& out) const;
  void set_bytes(const Uid& table, std::uint64_t offset, ByteView content, TokenWriter& out) const;
  void authenticate(const Uid& authority, const SecretBytes* pin, TokenWriter& out) const;

  void name(const Name& name, TokenWriter& out) const;
  // The row in the results of a Get, by column number. Columns that we cannot name are left out.
  Result<Row> row(const Uid& object, const List& results) const;

  static void begin(const Uid& object, const Uid& method, TokenWriter& out);
  static void end(TokenWriter& out);

 private:
  Result<void> column(const Uid& object, std::uint32_t number, TokenWriter& out) const;
  template <typename Fill>
  Result<void> set_row(const Uid& object, TokenWriter& out, const Fill& fill) const;
  std::optional<std::uint32_t> column_number(const Uid& object, const Value& name) const;
  void cell_block(const Name& first_name, std::uint64_t first, const Name& last_name,
                  std::uint64_t last, TokenWriter& out) const;

  Dialect dialect_;
};

}  // namespace keyward::sed::tcg
