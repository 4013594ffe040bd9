#include "tests/crash/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "store/sqlite/page_scanner.h"

namespace keyward::crash {
namespace {

using engine::EngineRig;

void append(std::vector<std::string>& to, std::vector<std::string> more) {
  std::ranges::move(more, std::back_inserter(to));
}

// Every row, acknowledged or not, opens under a key that the keyring has unsealed.
class Opener final : public store::EntryVisitor {
 public:
  explicit Opener(EngineRig& rig) : rig_(rig) {}

  Result<void> visit(const store::EntryInfo& info, ByteView blob) override {
    const auto cipher = TRY(rig_.keyring().cipher(rig_.domain(), info.key));
    const store::SealedEntry entry{info.key, info.version, Bytes(blob.begin(), blob.end())};
    TRY(cipher->decrypt(info.name, entry));
    return {};
  }

 private:
  EngineRig& rig_;
};

class Examination final {
 public:
  Examination(EngineRig& rig, const Base& base, const Told& told, Verdict& verdict)
      : rig_(rig), base_(base), told_(told), verdict_(verdict) {}

  void run(store::VfsHook* hook) {
    look_for_old_ciphertext();
    if (const Result<void> started = rig_.try_start({.hook = hook}); !started) {
      verdict_.lost.push_back("the state directory does not open: " + started.error().message);
      return;
    }
    if (const auto keystore = rig_.keyring().keystore(rig_.domain()); !keystore) {
      verdict_.lost.push_back("the keystore does not open: " + keystore.error().message);
    } else {
      look_at_what_was_found();
      finish();
      look_at_the_end();
    }
    rig_.stop();
  }

 private:
  // A custodian is told to destroy the old key only when nothing under it can be read from a disk
  // any more. Looked at before SQLite tidies up.
  void look_for_old_ciphertext() {
    const bool destroyed = std::ranges::any_of(base_.memory.hardware, [&](const auto& item) {
      const auto before = item.second->objects();
      const auto now = rig_.hardware(item.first).objects();
      return std::ranges::find(before, *base_.key, &hsm::HeldObject::context) != before.end() &&
             std::ranges::find(now, *base_.key, &hsm::HeldObject::context) == now.end();
    });
    if (!destroyed) return;
    const std::vector<ByteView> needles(base_.old_blobs.begin(), base_.old_blobs.end());
    const auto hits = store::scan_files_for(rig_.state().string(), needles, 1);
    if (!hits)
      verdict_.other.push_back("the files cannot be scanned: " + hits.error().message);
    else if (!hits->empty())
      verdict_.other.push_back(
          fmt::format("old ciphertext is left though its key was destroyed: {} at {}",
                      hits->front().path, hits->front().offset));
  }

  void look_at_what_was_found() {
    const api::DomainStatus status = rig_.status();
    if (status.state == api::DomainState::locked || status.state == api::DomainState::degraded)
      verdict_.lost.push_back("a key does not open: " + status.error);
    append(verdict_.lost, rig_.lost_entries());
    Opener opener(rig_);
    if (const auto opened = rig_.keystore()->reencryption().scan(opener, {}); !opened)
      verdict_.lost.push_back("an entry does not open: " + opened.error().message);
    count_current();
    const store::KeyTable table = rig_.table();
    const bool replaced = table.current().id != base_.key->key;
    if (told_.begun && !table.rekey && !replaced && !told_.cancel_asked)
      verdict_.other.push_back("the rekey that had begun is gone, and the key was not replaced");
  }

  void count_current() {
    const store::KeyTable table = rig_.table();
    const auto count =
        std::ranges::count(table.keys, store::KeyState::current, &store::KeyRow::state);
    if (count != 1) verdict_.doubled.push_back(fmt::format("{} keys are current", count));
    if (const Result<void> checked = table.check(); !checked)
      verdict_.other.push_back(checked.error().message);
  }

  void finish() {
    if (const Result<void> finished = rig_.finish(); !finished)
      verdict_.other.push_back("the rekey does not end: " + finished.error().message);
    if (const Result<void> resealed = rig_.reseal(); !resealed)
      verdict_.other.push_back("the reseal does not end: " + resealed.error().message);
    if (const Result<void> written = rig_.put("after the crash", "written"); !written)
      verdict_.other.push_back("nothing can be written: " + written.error().message);
  }

  void look_at_the_end() {
    append(verdict_.lost, rig_.lost_entries());
    count_current();
    append(verdict_.orphans, rig_.orphans());
    const std::set<std::string> told(verdict_.orphans.begin(), verdict_.orphans.end());
    const std::set<std::string> lost(verdict_.lost.begin(), verdict_.lost.end());
    for (std::string& defect : rig_.defects())
      if (!told.contains(defect) && !lost.contains(defect))
        verdict_.other.push_back(std::move(defect));
    look_at_trail(rig_.keystore()->audit_trail());
    look_at_trail(rig_.backend().control().audit_trail());
  }

  // Its chain fits, and no scan had to send a rekey back to its batches: they miss no entry.
  void look_at_trail(store::AuditTrail& trail) {
    const auto records = trail.read(0, 10'000);
    if (!records || records->empty()) return;
    if (const auto verified = trail.verify(); !verified)
      verdict_.other.push_back("the audit trail is broken: " + verified.error().message);
    for (const store::StoredRecord& stored : *records)
      if (stored.record.action == "rekey.again")
        verdict_.other.push_back("a batch had missed an entry, and the scan found it");
  }

  EngineRig& rig_;
  const Base& base_;
  const Told& told_;
  Verdict& verdict_;
};

}  // namespace

void check_live(EngineRig& rig, Verdict& verdict) { append(verdict.lost, rig.lost_entries()); }

void check_recovery(EngineRig& rig, const Base& base, const Told& told, store::VfsHook* hook,
                    Verdict& verdict) {
  Examination(rig, base, told, verdict).run(hook);
}

}  // namespace keyward::crash
