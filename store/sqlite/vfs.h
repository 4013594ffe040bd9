// Vfs is the layer between SQLite and the files: unix-excl with three additions.
//
//   std::unique_ptr<Vfs> vfs = TRY(Vfs::create({.hook = &fault}));
//   Database db = TRY(Database::open(path, {.vfs_name = vfs->name(), .create = true}));
//   vfs->counts().syncs;
//
// 1. It counts every operation, and a hook may make any of them fail.
// 2. In each b-tree page that it writes to a main file it zeroes what SQLite leaves unused between
//    the cell pointers and the cells. Deleted rows and old ciphertext stay there otherwise, even
//    with secure_delete=ON (see page_scanner.h for how to look).
// 3. It remembers that a sync has failed: the kernel may have dropped the pages and report success
//    the next time, so nothing may be destroyed on the strength of that file any more.
//
// New main files are made for their owner alone (0600). Thread rule: safe from any thread; it lives
// longer than every Database opened through it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward::store {

enum class VfsOperation : std::uint8_t { open, read, write, sync, truncate, remove };

struct VfsCall {
  VfsOperation operation;
  std::string_view path;     // Empty for a temporary file.
  std::uint64_t offset = 0;  // The new size, for truncate.
  std::size_t size = 0;
  ByteView data{};  // What write writes.
};

enum class VfsAnswer : std::uint8_t {
  proceed,
  fail,        // EIO without any effect.
  fail_after,  // EIO although it took effect.
  tear,        // EIO after the first half of a write.
  disk_full,   // ENOSPC after the first half of a write.
};

// What tests hang between SQLite and the files. Called on any thread, before each operation.
class VfsHook {
 public:
  virtual ~VfsHook() = default;
  virtual VfsAnswer before(const VfsCall& call) = 0;
};

struct VfsOptions {
  VfsHook* hook = nullptr;  // Outlives the Vfs.
  bool zero_gaps = true;    // Only measurements turn it off.
};

struct VfsCounts {
  std::uint64_t opens = 0;
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t syncs = 0;
  std::uint64_t truncates = 0;
  std::uint64_t removes = 0;
  std::uint64_t bytes_written = 0;
};

class Vfs final {
 public:
  static Result<std::unique_ptr<Vfs>> create(const VfsOptions& options);
  ~Vfs();
  Vfs(const Vfs&) = delete;
  Vfs& operator=(const Vfs&) = delete;

  // Unique in the process; for Database::Options.
  const std::string& name() const;
  VfsCounts counts() const;

 private:
  friend struct VfsGlue;
  struct State;
  explicit Vfs(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Zeroes the unused bytes of a b-tree page: the gap, and the insides of its free blocks. Pages of
// other kinds, and headers that make no sense, are left as they are. `number` counts from 1.
void zero_unused_bytes(MutableByteView page, std::uint64_t number);
// Whether all of them are zero already.
bool has_clean_unused_bytes(ByteView page, std::uint64_t number);

}  // namespace keyward::store
