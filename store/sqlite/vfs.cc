#include "store/sqlite/vfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "store/sqlite/vfs_control.h"

namespace keyward::store {
namespace {

// Shared by all files of one database: the main file, its WAL, its journal.
struct SyncLatch {
  std::atomic<bool> failed{false};
};

struct AtomicCounts {
  std::atomic<std::uint64_t> operations[6]{};
  std::atomic<std::uint64_t> bytes_written{0};
};

}  // namespace

struct Vfs::State {
  VfsOptions options;
  std::string name;
  sqlite3_vfs* inner = nullptr;
  sqlite3_vfs glue{};
  AtomicCounts counts;
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<SyncLatch>, std::less<>> latches;

  std::shared_ptr<SyncLatch> latch_of(const std::string& database) {
    const std::lock_guard lock(mutex);
    std::erase_if(latches, [](const auto& item) { return item.second.expired(); });
    std::shared_ptr<SyncLatch> latch = latches[database].lock();
    if (latch == nullptr) latch = std::make_shared<SyncLatch>();
    latches[database] = latch;
    return latch;
  }

  VfsAnswer ask(const VfsCall& call) {
    counts.operations[static_cast<std::size_t>(call.operation)].fetch_add(
        1, std::memory_order_relaxed);
    return options.hook == nullptr ? VfsAnswer::proceed : options.hook->before(call);
  }
};

// The functions that SQLite calls. A file of ours is a File, and behind it in the same memory the
// file of unix-excl.
struct VfsGlue {
  struct FileState {
    Vfs::State& vfs;
    std::shared_ptr<SyncLatch> latch;
    std::string path;
    bool is_main = false;
    Bytes page;  // Where a page is cleaned before it is written.
  };
  // SQLite's memory for it, with the inner file's behind it, is aligned to 8 bytes only.
  struct File {
    sqlite3_file base;
    FileState* state;
  };
  static_assert(alignof(File) <= 8 && sizeof(File) % 8 == 0);

  static Vfs::State& vfs_of(sqlite3_vfs* vfs) { return *static_cast<Vfs::State*>(vfs->pAppData); }
  static FileState& state_of(sqlite3_file* file) { return *reinterpret_cast<File*>(file)->state; }
  static sqlite3_file* inner_of(sqlite3_file* file) {
    return reinterpret_cast<sqlite3_file*>(reinterpret_cast<std::byte*>(file) + sizeof(File));
  }

  // Runs `call` as the hook answered; `failure` is what an EIO becomes.
  template <typename Call>
  static int apply(VfsAnswer answer, int failure, Call&& call) {
    if (answer == VfsAnswer::proceed) return call();
    if (answer == VfsAnswer::fail_after) static_cast<void>(call());
    return answer == VfsAnswer::disk_full ? SQLITE_FULL : failure;
  }

  static int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out);
  static int remove(sqlite3_vfs* vfs, const char* name, int sync_directory);
  static int close(sqlite3_file* file);
  static int read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset);
  static int write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset);
  static int truncate(sqlite3_file* file, sqlite3_int64 size);
  static int sync(sqlite3_file* file, int flags);
  static int control(sqlite3_file* file, int operation, void* argument);

  // What is handed on as it is.
  static int access(sqlite3_vfs* vfs, const char* name, int flags, int* out) {
    return vfs_of(vfs).inner->xAccess(vfs_of(vfs).inner, name, flags, out);
  }
  static int full_path(sqlite3_vfs* vfs, const char* name, int size, char* out) {
    return vfs_of(vfs).inner->xFullPathname(vfs_of(vfs).inner, name, size, out);
  }
  static int randomness(sqlite3_vfs* vfs, int size, char* out) {
    return vfs_of(vfs).inner->xRandomness(vfs_of(vfs).inner, size, out);
  }
  static int sleep(sqlite3_vfs* vfs, int microseconds) {
    return vfs_of(vfs).inner->xSleep(vfs_of(vfs).inner, microseconds);
  }
  static int current_time(sqlite3_vfs* vfs, double* out) {
    return vfs_of(vfs).inner->xCurrentTime(vfs_of(vfs).inner, out);
  }
  static int current_time_ms(sqlite3_vfs* vfs, sqlite3_int64* out) {
    return vfs_of(vfs).inner->xCurrentTimeInt64(vfs_of(vfs).inner, out);
  }
  static int last_error(sqlite3_vfs* vfs, int size, char* out) {
    return vfs_of(vfs).inner->xGetLastError(vfs_of(vfs).inner, size, out);
  }
  static int file_size(sqlite3_file* file, sqlite3_int64* size) {
    return inner_of(file)->pMethods->xFileSize(inner_of(file), size);
  }
  static int lock(sqlite3_file* file, int level) {
    return inner_of(file)->pMethods->xLock(inner_of(file), level);
  }
  static int unlock(sqlite3_file* file, int level) {
    return inner_of(file)->pMethods->xUnlock(inner_of(file), level);
  }
  static int check_lock(sqlite3_file* file, int* out) {
    return inner_of(file)->pMethods->xCheckReservedLock(inner_of(file), out);
  }
  static int sector_size(sqlite3_file* file) {
    return inner_of(file)->pMethods->xSectorSize(inner_of(file));
  }
  static int characteristics(sqlite3_file* file) {
    return inner_of(file)->pMethods->xDeviceCharacteristics(inner_of(file));
  }
  static int shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
    return inner_of(file)->pMethods->xShmMap(inner_of(file), region, size, extend, out);
  }
  static int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
    return inner_of(file)->pMethods->xShmLock(inner_of(file), offset, count, flags);
  }
  static void shm_barrier(sqlite3_file* file) {
    inner_of(file)->pMethods->xShmBarrier(inner_of(file));
  }
  static int shm_unmap(sqlite3_file* file, int remove_it) {
    return inner_of(file)->pMethods->xShmUnmap(inner_of(file), remove_it);
  }

  static const sqlite3_io_methods kMethods;
  static sqlite3_vfs make(Vfs::State& state);
  static void prepare_state(FileState& state, const char* name, int flags);
  static const std::byte* clean_page(FileState& state, const void* data, int size,
                                     sqlite3_int64 offset);
};

// Version 2, without xFetch: mapped memory would go past our counting and failing.
const sqlite3_io_methods VfsGlue::kMethods = {
    .iVersion = 2,
    .xClose = close,
    .xRead = read,
    .xWrite = write,
    .xTruncate = truncate,
    .xSync = sync,
    .xFileSize = file_size,
    .xLock = lock,
    .xUnlock = unlock,
    .xCheckReservedLock = check_lock,
    .xFileControl = control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

sqlite3_vfs VfsGlue::make(Vfs::State& state) {
  sqlite3_vfs glue{};
  glue.iVersion = 2;
  glue.szOsFile = static_cast<int>(sizeof(File)) + state.inner->szOsFile;
  glue.mxPathname = state.inner->mxPathname;
  glue.zName = state.name.c_str();
  glue.pAppData = &state;
  glue.xOpen = open;
  glue.xDelete = remove;
  glue.xAccess = access;
  glue.xFullPathname = full_path;
  glue.xRandomness = randomness;
  glue.xSleep = sleep;
  glue.xCurrentTime = current_time;
  glue.xGetLastError = last_error;
  glue.xCurrentTimeInt64 = current_time_ms;
  return glue;
}

void VfsGlue::prepare_state(FileState& state, const char* name, int flags) {
  if (name == nullptr) return;
  state.path = name;
  state.is_main = (flags & SQLITE_OPEN_MAIN_DB) != 0;
  const bool beside = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0;
  if (beside) state.latch = state.vfs.latch_of(sqlite3_filename_database(name));
  if (state.is_main) state.latch = state.vfs.latch_of(state.path);
  if (state.is_main && (flags & SQLITE_OPEN_CREATE) != 0) {
    // SQLite would make it readable for all. With O_EXCL no lock of ours on the file can be lost by
    // closing it again.
    const int made = ::open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (made >= 0) ::close(made);
  }
}

int VfsGlue::open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
  Vfs::State& state = vfs_of(vfs);
  file->pMethods = nullptr;
  const VfsCall call{.operation = VfsOperation::open, .path = name == nullptr ? "" : name};
  const VfsAnswer answer = state.ask(call);
  if (answer == VfsAnswer::disk_full) return SQLITE_FULL;
  if (answer != VfsAnswer::proceed) return SQLITE_CANTOPEN;
  auto own = std::make_unique<FileState>(FileState{state, nullptr, {}, false, {}});
  prepare_state(*own, name, flags);
  const int code = state.inner->xOpen(state.inner, name, inner_of(file), flags, out);
  if (code != SQLITE_OK) return code;
  reinterpret_cast<File*>(file)->state = own.release();
  file->pMethods = &kMethods;
  return SQLITE_OK;
}

int VfsGlue::remove(sqlite3_vfs* vfs, const char* name, int sync_directory) {
  Vfs::State& state = vfs_of(vfs);
  const VfsAnswer answer = state.ask({.operation = VfsOperation::remove, .path = name});
  return apply(answer, SQLITE_IOERR_DELETE,
               [&] { return state.inner->xDelete(state.inner, name, sync_directory); });
}

int VfsGlue::close(sqlite3_file* file) {
  delete &state_of(file);
  sqlite3_file* inner = inner_of(file);
  return inner->pMethods == nullptr ? SQLITE_OK : inner->pMethods->xClose(inner);
}

int VfsGlue::read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  FileState& state = state_of(file);
  const VfsAnswer answer = state.vfs.ask({.operation = VfsOperation::read,
                                          .path = state.path,
                                          .offset = static_cast<std::uint64_t>(offset),
                                          .size = static_cast<std::size_t>(size)});
  return apply(answer, SQLITE_IOERR_READ,
               [&] { return inner_of(file)->pMethods->xRead(inner_of(file), data, size, offset); });
}

const std::byte* VfsGlue::clean_page(FileState& state, const void* data, int size,
                                     sqlite3_int64 offset) {
  const auto* bytes = static_cast<const std::byte*>(data);
  const auto count = static_cast<unsigned>(size);
  const bool is_page = count >= 512 && std::has_single_bit(count) && offset % size == 0;
  if (!state.is_main || !state.vfs.options.zero_gaps || !is_page) return bytes;
  const std::uint64_t number = static_cast<std::uint64_t>(offset / size) + 1;
  // What a rekey writes in place stays clean.
  if (has_clean_unused_bytes({bytes, count}, number)) return bytes;
  state.page.assign(bytes, bytes + size);
  zero_unused_bytes(state.page, number);
  return state.page.data();
}

int VfsGlue::write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  FileState& state = state_of(file);
  const std::byte* bytes = clean_page(state, data, size, offset);
  const VfsAnswer answer = state.vfs.ask({.operation = VfsOperation::write,
                                          .path = state.path,
                                          .offset = static_cast<std::uint64_t>(offset),
                                          .size = static_cast<std::size_t>(size),
                                          .data = ByteView(bytes, static_cast<std::size_t>(size))});
  const auto put = [&](int count) {
    state.vfs.counts.bytes_written.fetch_add(static_cast<std::uint64_t>(count),
                                             std::memory_order_relaxed);
    return inner_of(file)->pMethods->xWrite(inner_of(file), bytes, count, offset);
  };
  if (answer == VfsAnswer::tear || answer == VfsAnswer::disk_full) static_cast<void>(put(size / 2));
  return apply(answer, SQLITE_IOERR_WRITE, [&] { return put(size); });
}

int VfsGlue::truncate(sqlite3_file* file, sqlite3_int64 size) {
  FileState& state = state_of(file);
  const VfsAnswer answer = state.vfs.ask({.operation = VfsOperation::truncate,
                                          .path = state.path,
                                          .offset = static_cast<std::uint64_t>(size)});
  return apply(answer, SQLITE_IOERR_TRUNCATE,
               [&] { return inner_of(file)->pMethods->xTruncate(inner_of(file), size); });
}

int VfsGlue::sync(sqlite3_file* file, int flags) {
  FileState& state = state_of(file);
  const VfsAnswer answer = state.vfs.ask({.operation = VfsOperation::sync, .path = state.path});
  const int code = apply(answer, SQLITE_IOERR_FSYNC,
                         [&] { return inner_of(file)->pMethods->xSync(inner_of(file), flags); });
  if (code != SQLITE_OK && state.latch != nullptr) state.latch->failed = true;
  return code;
}

int VfsGlue::control(sqlite3_file* file, int operation, void* argument) {
  FileState& state = state_of(file);
  if (operation == kFileControlSyncFailed) {
    *static_cast<bool*>(argument) = state.latch != nullptr && state.latch->failed;
    return SQLITE_OK;
  }
  return inner_of(file)->pMethods->xFileControl(inner_of(file), operation, argument);
}

Vfs::Vfs(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Vfs>> Vfs::create(const VfsOptions& options) {
  static std::atomic<std::uint64_t> count{0};
  auto state = std::make_unique<State>();
  state->options = options;
  state->name = fmt::format("keyward-{}", ++count);
  state->inner = sqlite3_vfs_find("unix-excl");
  if (state->inner == nullptr) {
    return fail(
        ErrorCode::unsupported,
        "sqlite3_vfs_find: this SQLite has no unix-excl; install the one of the distribution",
        "sqlite3_vfs_find");
  }
  state->glue = VfsGlue::make(*state);
  const int code = sqlite3_vfs_register(&state->glue, 0);
  if (code != SQLITE_OK) {
    return fail(ErrorCode::exhausted, fmt::format("sqlite3_vfs_register: {}", sqlite3_errstr(code)),
                "sqlite3_vfs_register", static_cast<std::uint64_t>(code));
  }
  return std::unique_ptr<Vfs>(new Vfs(std::move(state)));
}

Vfs::~Vfs() { sqlite3_vfs_unregister(&state_->glue); }

const std::string& Vfs::name() const { return state_->name; }

VfsCounts Vfs::counts() const {
  const auto count = [&](VfsOperation operation) {
    return state_->counts.operations[static_cast<std::size_t>(operation)].load();
  };
  return {.opens = count(VfsOperation::open),
          .reads = count(VfsOperation::read),
          .writes = count(VfsOperation::write),
          .syncs = count(VfsOperation::sync),
          .truncates = count(VfsOperation::truncate),
          .removes = count(VfsOperation::remove),
          .bytes_written = state_->counts.bytes_written.load()};
}

}  // namespace keyward::store
