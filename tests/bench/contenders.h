// What a rekey is measured against: others' ways to write every entry anew. Each works on a file of
// its own, is run alone in a process (in_child), and answers {"usage": …, "peak_kib": …}.
#pragma once

#include <cstdint>
#include <filesystem>

#include "tests/bench/measure.h"

namespace keyward::bench {

// The floor: SQLite as it comes, on a copy of our own file, writes other bytes of the same size
// into every payload, by one UPDATE for each 10,000 rows with a C function that does nothing but
// copy. No encryption, no erasing, no counters, no proof. Its last checkpoint and syncs are part of
// it.
Json rewrite_bare(const std::filesystem::path& database);

// The same as programs usually do it: a prepared UPDATE for each row, with the new bytes bound.
Json rewrite_row_by_row(const std::filesystem::path& database);

// The same rows one by one, each durable before the next: of `sample` rows. The answer's usage is
// that of the sample.
Json rewrite_synced_one_by_one(const std::filesystem::path& database, std::uint32_t sample);

// Copies the payloads of our own file into an LMDB environment, and writes them anew there: in
// place by a cursor, committed with a sync every 16 MiB.
void copy_into_lmdb(const std::filesystem::path& database, const std::filesystem::path& lmdb);
Json rewrite_lmdb(const std::filesystem::path& lmdb);

// The program for SQLCipher: its library has SQLite's own symbols.
//   keyward-bench-sqlcipher fill FILE ENTRIES SIZE | rekey FILE delete|wal
std::filesystem::path sqlcipher_program();

}  // namespace keyward::bench
