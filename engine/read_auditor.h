// The ReadAuditor decides what is recorded of reads, and keeps it until it can be written.
//
//   reads.note(domain, name, caller);             // in a get: nanoseconds, no disk
//   for (auto& [domain, records] : reads.take()) TRY(trail_of(domain).append(records));
//
// A caller's first read of an entry is a record; its further ones within ten minutes are one more
// record with their count. Memory and the trail's growth are bounded: of more than some hundred
// different reads a second, what does not fit is counted for the domain and recorded as a number.
// So a flood of reads holds up no put. Safe from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "engine/caller.h"

namespace keyward::engine {

// The record of one read.
store::AuditRecord read_record(const Domain& domain, const EntryName& name, const Caller& caller);

class ReadAuditor final {
 public:
  explicit ReadAuditor(Clock& clock) : clock_(clock) {}

  void note(const Domain& domain, const EntryName& name, const Caller& caller);
  // What is to be written now. With `all`, counts whose ten minutes are not over too.
  enum class Take : std::uint8_t { due, all };
  std::map<Domain, std::vector<store::AuditRecord>> take(Take what);

 private:
  struct Window {
    MonotonicTime end{};
    std::uint64_t repeated = 0;
    Domain domain;
    std::string entry;
    Caller caller;
  };
  // A part of all windows with its own lock, so that readers do not wait for each other.
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, Window> windows;
    std::deque<std::string> by_end;  // Keys of `windows`, the first to end first.
    std::map<Domain, std::vector<store::AuditRecord>> waiting;
    std::size_t waiting_count = 0;
    std::map<Domain, std::uint64_t> unlisted;  // Reads that got no record of their own.
  };
  static void close_first(Shard& shard);
  static void enqueue(Shard& shard, const Domain& domain, store::AuditRecord record);

  Clock& clock_;
  std::array<Shard, 16> shards_;
};

}  // namespace keyward::engine
