// What the SQLite back end does with files and directories themselves, each act durable when it
// returns.
//
//   StateLock lock = TRY(StateLock::acquire(directory + "/lock"));   // `busy` names the owner
//   TRY(publish_database(path + ".new", path));                      // whole, or not there at all
//
// Functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace keyward::store {

// An error of the operating system: "open /var/lib/keyward: Permission denied".
Error os_error(std::string_view call, std::string_view path, int number);

// Makes the directory for its owner alone (0700) unless it is there. Its parent must exist.
Result<void> make_directory(const std::string& path);
Result<bool> file_exists(const std::string& path);
Result<void> sync_directory(const std::string& path);
// Of the directory that `path` lies in.
Result<void> sync_parent(const std::string& path);

// A database that is closed and whose WAL is empty takes its final name. `already_exists` when
// there is one of that name.
Result<void> publish_database(const std::string& unfinished, const std::string& path);
// Removes the file and what lies beside it (-wal, -shm, -journal, the mark). Idempotent.
Result<void> remove_database(const std::string& path);

// The mark that a sync of a database has failed: a file beside it, so that it outlives the process
// and depends on no byte of the database. All idempotent.
inline constexpr std::string_view kUnsyncedSuffix = "-unsynced";
Result<void> mark_unsynced(const std::string& path);
Result<bool> is_marked_unsynced(const std::string& path);
Result<void> clear_unsynced(const std::string& path);
// Writes out what the kernel holds of the file and makes it forget the rest, so that what is read
// next comes from the disk. Nobody in this process may have it open: closing it drops their locks.
Result<void> read_anew(const std::string& path);

// Held as long as it lives: by this process, or until it dies.
class StateLock final {
 public:
  // `busy`, with the process id of the owner, when another one holds it. When that one is dead, a
  // child that it was starting may hold it still: waits up to 2 s for it.
  static Result<StateLock> acquire(const std::string& path);
  StateLock(StateLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  StateLock& operator=(StateLock&&) = delete;
  ~StateLock();

 private:
  explicit StateLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace keyward::store
