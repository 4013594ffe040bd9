#include "api/event.h"
#include "api/fields.h"
#include "base/check.h"
#include "engine/audit_checkpoint.h"
#include "engine/schedule.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

void check_schedule(std::string_view text) {
  const auto schedule = engine::schedule_from_json(text, 7);
  if (!schedule) {
    CHECK(schedule.error().code == ErrorCode::corrupt, "a stored schedule that is refused");
    return;
  }
  const auto again = engine::schedule_from_json(engine::schedule_to_json(*schedule), 7);
  CHECK(again && *again == *schedule, "a schedule reads back as another");
  static_cast<void>(schedule->next_run());
}

void check_checkpoint(std::string_view text) {
  const auto checkpoint = engine::checkpoint_from_json(text);
  if (!checkpoint) return;
  const auto again = engine::checkpoint_from_json(engine::checkpoint_to_json(*checkpoint));
  CHECK(again && *again == *checkpoint, "a checkpoint reads back as another");
  // A valid one is in the corpus; a signature cannot be found by trying.
  if (!engine::has_valid_signature(*checkpoint)) return;
  engine::AuditCheckpoint other = *checkpoint;
  ++other.number;
  CHECK(!engine::has_valid_signature(other), "the signature of another checkpoint");
}

}  // namespace

void fuzz_documents(ByteView input) {
  check_schedule(text_of(input));
  check_checkpoint(text_of(input));
}

}  // namespace keyward::fuzz
