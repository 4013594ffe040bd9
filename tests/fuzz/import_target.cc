#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/secret_arena.h"
#include "base/text.h"
#include "cli/import_reader.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using cli::ImportFormat;
using cli::ImportReader;

struct Imported {
  Bytes records;
  bool complete = false;
};

Imported read_all(ByteView input, ImportFormat format) {
  const int file = ::memfd_create("import", MFD_CLOEXEC);
  CHECK(file >= 0, "memfd_create");
  CHECK(::pwrite(file, input.data(), input.size(), 0) == static_cast<ssize_t>(input.size()),
        "pwrite");
  Imported imported;
  ImportReader reader(file, format);
  for (;;) {
    const Result<SecretBytes> batch = reader.next_batch();
    if (!batch) {
      CHECK(batch.error().code == ErrorCode::invalid_argument, "a bad record is invalid_argument");
      CHECK(is_printable_utf8(batch.error().message), "a text for no terminal");
      break;
    }
    imported.complete = batch->size() == 0;
    if (imported.complete) break;
    const ByteView bytes = batch->reveal();
    imported.records.insert(imported.records.end(), bytes.begin(), bytes.end());
  }
  ::close(file);
  return imported;
}

}  // namespace

void fuzz_import(ByteView input) {
  SecretArena::instance().set_memory_lock(MemoryLock::best_effort);
  Input parts(input);
  const auto format = parts.byte() % 2 == 0 ? ImportFormat::json_lines : ImportFormat::binary;
  const Imported imported = read_all(parts.rest(), format);
  if (format == ImportFormat::binary && imported.complete)
    CHECK(std::ranges::equal(imported.records, parts.rest()), "binary records changed on the way");
  if (imported.records.empty()) return;
  const Imported again = read_all(imported.records, ImportFormat::binary);
  CHECK(again.complete && again.records == imported.records, "records read back as others");
}

}  // namespace keyward::fuzz
