// One row of `keyward entries list`: everything of an entry but its secret.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"

namespace keyward::api {

struct EntryRow {
  std::string name;
  std::uint64_t version = 0;  // From 1, up by one with every put; a rekey keeps it.
  std::string key;            // The master key that it is under.
  std::uint64_t bytes = 0;    // The secret's size.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("name", &EntryRow::name, "Name");
    visit("version", &EntryRow::version, "Version");
    visit("key", &EntryRow::key, "Key ID");
    visit("bytes", &EntryRow::bytes, "Bytes");
  }
};

// The answer of a put: the entry's new version.
struct EntryWritten {
  std::uint64_t version = 0;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("version", &EntryWritten::version);
  }
};

// The answer of entries:import. Records before a bad one are committed; `error` then says what was
// wrong with the next one, and the answer's status is that of `code`.
struct ImportResult {
  std::uint64_t committed = 0;
  std::uint64_t bytes = 0;
  std::string code;   // "", or an ErrorCode's name.
  std::string error;  // Names the record by its number, from 1.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("committed", &ImportResult::committed);
    visit("bytes", &ImportResult::bytes);
    visit("code", &ImportResult::code);
    visit("error", &ImportResult::error);
  }
};

}  // namespace keyward::api
