#include "tests/crash/scenario.h"

#include <fmt/format.h>

#include "base/check.h"

namespace keyward::crash {
namespace {

constexpr int kRoundsMax = 60;
// A store that has refused this often in a row has latched, or its disk is gone.
constexpr int kFailuresMax = 4;
constexpr std::size_t kSmall = 300;
constexpr std::size_t kBig = 40'000;

std::string entry_named(int number) { return fmt::format("entry {}", number); }

std::string secret(std::string text, std::size_t size) {
  text.resize(size, '.');
  return text;
}

}  // namespace

void fill(engine::EngineRig& rig) {
  for (int i = 0; i < kEntries; ++i) {
    const std::size_t size = i == 5 ? kBig : kSmall;
    CHECK(rig.put(entry_named(i), secret(fmt::format("first secret of {}", i), size)).has_value(),
          "the keystore of the matrix cannot be filled");
  }
}

bool Script::play(const std::function<bool()>& gone) {
  int failures = 0;
  for (int i = 0; i < kRoundsMax && failures < kFailuresMax && !told_.finished; ++i) {
    if (gone()) return false;
    if (!rig_.keyring().keystore(rig_.domain())) return false;
    failures = round(i) ? 0 : failures + 1;
    settle();
  }
  return told_.finished;
}

Result<void> Script::round(int number) {
  if (scenario_.traffic) TRY(traffic(number));
  if (!told_.begun) return begin();
  TRY(ask_for_changes(number));
  return work();
}

Result<void> Script::traffic(int number) {
  TRY(rig_.put(entry_named(number * 5 % kEntries),
               secret(fmt::format("round {}", number), kSmall)));
  settle();
  if (number % 3 == 1) {
    const Result<void> erased = rig_.erase(entry_named((number * 7 + 2) % kEntries));
    if (!erased && erased.error().code != ErrorCode::not_found) return erased;
  }
  if (number % 4 == 2) TRY(rig_.put(fmt::format("new entry {}", number), secret("new", kSmall)));
  settle();
  return {};
}

Result<void> Script::begin() {
  const Result<JobId> job = rig_.begin();
  told_.begun = job || job.error().code == ErrorCode::already_exists;
  if (!told_.begun) return std::unexpected(job.error());
  return {};
}

Result<void> Script::ask_for_changes(int number) {
  if (asked_) return {};
  if (scenario_.cancel_at >= 0 && number >= scenario_.cancel_at) {
    told_.cancel_asked = true;
    TRY(engine::RekeyJob(rig_.parts()).cancel(engine::EngineRig::caller()));
    asked_ = true;
  }
  if (scenario_.add_at >= 0 && number >= scenario_.add_at) {
    told_.asked_to_add = true;
    TRY(rig_.want({"fake:a", "fake:b", "fake:c"}));
    asked_ = true;
  }
  settle();
  return {};
}

Result<void> Script::work() {
  if (TRY(rig_.step()) != engine::RekeyJob::Outcome::done) return {};
  if (TRY(engine::ResealJob(rig_.parts()).step()) != engine::ResealJob::Outcome::done) return {};
  told_.finished = !told_.asked_to_add || asked_;
  return {};
}

// A change under a generation that cannot be is refused by the writer thread, in its turn: so what
// that thread had to do before, a checkpoint after the last answer too, is done. No file changes.
void Script::settle() {
  if (const auto keystore = rig_.keyring().keystore(rig_.domain()))
    static_cast<void>((*keystore)->write({}, 0, {}));
}

}  // namespace keyward::crash
