#include "engine/rekey_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "crypto/key_schedule.h"
#include "engine/reseal_job.h"
#include "store/entry_cipher.h"

namespace keyward::engine {
namespace {

using store::KeyTable;
using store::RekeyPhase;
using store::RekeyRow;

std::unexpected<Error> none_under_way(const KeyTable& table) {
  return fail(ErrorCode::not_found,
              fmt::format("no rekey of {} is under way", table.domain.text()));
}

// The same work as was seen: not what failed last, nor whether it is paused.
bool is_same_work(const KeyTable& seen, const KeyTable& now) {
  const auto& a = seen.rekey;
  const auto& b = now.rekey;
  return a && b && a->job == b->job && a->from == b->from && a->to == b->to &&
         a->phase == b->phase && a->without == b->without && seen.wanted == now.wanted;
}

std::vector<WantedCustodian> asked_in_prepare(const KeyTable& table) {
  std::vector<WantedCustodian> asked = table.wanted;
  std::erase_if(asked, [&](const WantedCustodian& one) {
    return std::ranges::find(table.rekey->without, one.id) != table.rekey->without.end();
  });
  return asked;
}

api::Json text_list(const std::vector<CustodianId>& ids) {
  api::Json::List list;
  for (const CustodianId& id : ids) list.emplace_back(id.text);
  return api::Json(std::move(list));
}

store::AuditRecord step_record(const KeyTable& table, std::string_view action) {
  return audit_record({table.rekey->actor, "daemon"}, action, table.domain.text(),
                      {{"job", api::Json(table.rekey->job.to_text())}});
}

// The proof: every entry is under the new key, and opens under it.
class Verifier final : public store::EntryVisitor {
 public:
  Verifier(store::Keystore& keystore, const KeyTable& seen, const store::EntryCipher& cipher)
      : keystore_(keystore), seen_(seen), verifier_(cipher) {}

  // Why the scan was ended by us, if it was.
  enum class Ended : std::uint8_t { no, missed_entry, other_work };
  Ended ended() const { return ended_; }

  Result<void> visit(const store::EntryInfo& info, ByteView blob) override {
    constexpr std::uint64_t kLookEvery = 4096;
    if (++visited_ % kLookEvery == 0) TRY(look());
    if (info.key != seen_.rekey->to) {
      ended_ = Ended::missed_entry;
      return fail(ErrorCode::conflict, "an entry is still under another key");
    }
    return verifier_.verify(info, blob);
  }

 private:
  // Pause and cancel do not wait for the end of a long scan.
  Result<void> look() {
    const KeyTable now = TRY(keystore_.keys());
    if (is_same_work(seen_, now) && !now.rekey->paused) return {};
    ended_ = Ended::other_work;
    return fail(ErrorCode::conflict, "the rekey was paused or cancelled");
  }

  store::Keystore& keystore_;
  const KeyTable& seen_;
  store::EntryVerifier verifier_;
  std::uint64_t visited_ = 0;
  Ended ended_ = Ended::no;
};

}  // namespace

RekeyJob::RekeyJob(JobParts parts) : parts_(std::move(parts)), destroyer_(parts_.custodians) {}

// ---- What people ask for ----

Result<void> RekeyJob::may_begin(const KeyTable& table) const {
  const std::string& name = table.domain.text();
  if (!parts_.keystore->supports_rekey()) {
    return fail(ErrorCode::unsupported,
                fmt::format("{} is stored in an older format, in which keys cannot be replaced. "
                            "Run: keyward upgrade commit",
                            name));
  }
  if (table.rekey) {
    return fail(ErrorCode::already_exists, fmt::format("a rekey of {} is under way already", name));
  }
  if (ResealJob::is_needed(table)) {
    return fail(ErrorCode::conflict,
                fmt::format("the copies of {}'s key are not yet where they are wanted; the rekey "
                            "can start when they are",
                            name));
  }
  TRY(parts_.keyring.check_wanted(table.domain));
  TRY(parts_.keyring.cipher(table.domain, table.current().id));
  return {};
}

Result<JobId> RekeyJob::begin(const Options& options, const Caller& caller) {
  const JobId job = options.job.value_or(JobId::random());
  const KeyId key = KeyId::random();
  const KeyTable seen = TRY(parts_.keystore->keys());
  const store::AuditRecord record =
      audit_record(caller, "rekey.start", seen.domain.text(),
                   {{"job", api::Json(job.to_text())}, {"without", text_list(options.without)}});
  TRY(change_table(*parts_.keystore,
                   [&](KeyTable table) -> Result<KeyTable> {
                     TRY(may_begin(table));
                     return store::announce(std::move(table), {.key = key,
                                                               .job = job,
                                                               .without = options.without,
                                                               .actor = caller.actor,
                                                               .now = parts_.clock.now()});
                   },
                   {&record, 1}));
  return job;
}

namespace {

// One durable transaction, written down with who asked for it.
Result<void> act(const JobParts& parts, std::string_view action, const Caller& caller,
                 const Transition& transition) {
  const store::AuditRecord record =
      audit_record(caller, action, TRY(parts.keystore->keys()).domain.text());
  return change_table(*parts.keystore,
                      [&](KeyTable table) -> Result<KeyTable> {
                        if (!table.rekey) return none_under_way(table);
                        return transition(std::move(table));
                      },
                      {&record, 1});
}

}  // namespace

Result<void> RekeyJob::pause(const Caller& caller) {
  return act(parts_, "rekey.pause", caller,
             [](KeyTable table) { return store::set_paused(std::move(table), true); });
}

Result<void> RekeyJob::resume(const Caller& caller) {
  return act(parts_, "rekey.resume", caller,
             [](KeyTable table) { return store::set_paused(std::move(table), false); });
}

Result<void> RekeyJob::cancel(const Caller& caller) {
  return act(parts_, "rekey.cancel", caller, [](KeyTable table) -> Result<KeyTable> {
    if (table.rekey->cancelled) return table;
    return store::cancel(std::move(table));
  });
}

Result<void> RekeyJob::leave_out(std::vector<CustodianId> without, const Caller& caller) {
  return act(parts_, "rekey.leave_out", caller,
             [&](KeyTable table) { return store::set_without(std::move(table), without); });
}

Result<void> RekeyJob::record_failure(const Error& error, std::optional<UtcTime> next_try) {
  return change_table(*parts_.keystore,
                      [&](KeyTable table) -> Result<KeyTable> {
                        if (!table.rekey) return none_under_way(table);
                        return store::set_rekey_error(std::move(table), error.message, next_try);
                      },
                      {});
}

Result<void> RekeyJob::clear_failure() {
  return change_table(*parts_.keystore,
                      [](KeyTable table) -> Result<KeyTable> {
                        if (!table.rekey || (table.rekey->error.empty() && !table.rekey->next_try))
                          return table;
                        return store::set_rekey_error(std::move(table), {}, std::nullopt);
                      },
                      {});
}

// ---- The steps ----

Result<RekeyJob::Outcome> RekeyJob::step(std::size_t entries_max, std::stop_token stop) {
  const KeyTable table = TRY(parts_.keystore->keys());
  if (!table.rekey) return Outcome::done;
  if (table.rekey->paused) return Outcome::paused;
  switch (table.rekey->phase) {
    case RekeyPhase::prepare:
      return prepare(table);
    case RekeyPhase::reencrypt:
      return reencrypt(table, entries_max);
    case RekeyPhase::verify:
      return verify(table, std::move(stop));
    case RekeyPhase::destroy:
      break;
  }
  return destroy(table);
}

Result<void> RekeyJob::advance(const KeyTable& seen, const Transition& transition,
                               std::string_view action) {
  const store::AuditRecord record = step_record(seen, action);
  return change_table(
      *parts_.keystore,
      [&](KeyTable table) -> Result<KeyTable> {
        if (!is_same_work(seen, table)) {
          return fail(ErrorCode::conflict,
                      fmt::format("the rekey of {} was changed meanwhile", table.domain.text()));
        }
        return transition(std::move(table));
      },
      {&record, 1});
}

namespace {

// Work that somebody changed meanwhile is no failure: the next step reads what is to be done now.
Result<RekeyJob::Outcome> go_on_after(const Result<void>& advanced) {
  if (advanced || advanced.error().code == ErrorCode::conflict) return RekeyJob::Outcome::more;
  return std::unexpected(advanced.error());
}

}  // namespace

Result<RekeyJob::Outcome> RekeyJob::prepare(const KeyTable& table) {
  TRY(parts_.keyring.check_wanted(table.domain));
  const KeyContext context = table.context(table.rekey->to);
  TRY(note_intent(*parts_.keystore, step_record(table, "rekey.make_key")));
  NewKey made = TRY(parts_.custodians.generate(context, asked_in_prepare(table)));
  const WantedMac mac = TRY(crypto::authenticate_wanted(made.key, context, table.wanted));
  // Before the table says that entries are written under it.
  TRY(parts_.keyring.hold(table.domain, context.key, made.key));
  const Result<void> begun = advance(
      table,
      [&](KeyTable now) {
        return store::begin_reencrypt(std::move(now), made.copies, made.commitment, mac);
      },
      "rekey.key_made");
  if (begun) TRY(confirm(TRY(parts_.keystore->keys())));
  return go_on_after(begun);
}

// Tells the hardware that the new key is in use, so that no older state of this store can destroy
// it.
Result<void> RekeyJob::confirm(const KeyTable& table) {
  if (!table.rekey) return {};
  const store::KeyRow* row = table.find(table.rekey->to);
  if (row == nullptr) return {};
  for (const SealedKey& copy : row->copies)
    TRY(parts_.custodians.confirm(copy.custodian, table.context(row->id)));
  return {};
}

Result<RekeyJob::Outcome> RekeyJob::reencrypt(const KeyTable& table, std::size_t entries_max) {
  store::Reencryption& work = parts_.keystore->reencryption();
  // Until a batch is durable nobody remembers that it was told; so it is told again.
  if (!TRY(work.progress()).has_batch) TRY(confirm(table));
  const auto from = TRY(parts_.keyring.cipher(table.domain, table.rekey->from));
  const auto to = TRY(parts_.keyring.cipher(table.domain, table.rekey->to));
  TRY(parts_.keyring.reserve_encryptions(table.domain, to->key(), entries_max));
  const KeyTable now = TRY(parts_.keystore->keys());
  if (!is_same_work(table, now) || now.rekey->paused) return Outcome::more;
  const auto reencryptor = store::make_reencryptor(*from, *to);
  const Result<store::BatchReport> batch =
      work.run_batch(now.generation, entries_max, *reencryptor);
  if (!batch && batch.error().code == ErrorCode::conflict &&
      TRY(parts_.keystore->keys()).generation != now.generation)
    return Outcome::more;
  if (!batch) return std::unexpected(batch.error());
  if (!batch->done) return Outcome::more;
  return go_on_after(advance(
      table, [](KeyTable done) { return store::begin_verify(std::move(done)); }, "rekey.verify"));
}

Result<RekeyJob::Outcome> RekeyJob::verify(const KeyTable& table, std::stop_token stop) {
  const auto cipher = TRY(parts_.keyring.cipher(table.domain, table.rekey->to));
  Verifier verifier(*parts_.keystore, table, *cipher);
  Result<void> scanned = parts_.keystore->reencryption().scan(verifier, std::move(stop));
  if (verifier.ended() == Verifier::Ended::other_work) return Outcome::more;
  if (verifier.ended() == Verifier::Ended::missed_entry) {
    return go_on_after(advance(
        table, [](KeyTable now) { return store::back_to_reencrypt(std::move(now)); },
        "rekey.again"));
  }
  TRY(scanned);
  return go_on_after(advance(
      table, [](KeyTable now) { return store::switch_over(std::move(now)); }, "rekey.switch"));
}

// ---- Destroying the old key ----

// Written before the first custodian is asked, since the key table forgets those that have
// confirmed.
Result<RekeyRecord> RekeyJob::begin_record(const KeyTable& table) {
  const RekeyRow& rekey = *table.rekey;
  Result<RekeyRecord> known =
      load_rekey_record(parts_.control, table.domain.text(), rekey.started, rekey.job);
  if (known || known.error().code != ErrorCode::not_found) return known;
  const store::RekeyProgress progress = TRY(parts_.keystore->reencryption().progress());
  RekeyRecord record{.domain = table.domain.text(),
                     .job = rekey.job,
                     .actor = rekey.actor,
                     .started = rekey.started,
                     .finished = {},
                     .cancelled = rekey.cancelled,
                     .old_key = rekey.from,
                     .new_key = rekey.to,
                     .entries_done = progress.entries_done,
                     .entries_total = progress.entries_total,
                     .custodians = table.find(rekey.from)->holders,
                     .except = {}};
  TRY(save_rekey_record(parts_.control, record));
  return record;
}

// The old key goes only while the new one demonstrably opens. A copy that its custodian does not
// give now is no reason to keep the old key, under which there are no entries; but one must open.
Result<void> RekeyJob::prove_current(const KeyTable& table) {
  const store::KeyRow& row = table.current();
  Error error{ErrorCode::corrupt, fmt::format("key {} has no copy", row.id.to_text())};
  bool opens = false;
  for (const SealedKey& copy : row.copies) {
    Result<SecretBytes> key = parts_.custodians.unseal_copy(copy, row, table.context(row.id));
    opens = opens || key.has_value();
    if (key) continue;
    log(LogLevel::warning, "{}: a copy of the current key does not open: {}", table.domain.text(),
        key.error().message);
    error = std::move(key.error());
  }
  if (opens) return {};
  return std::unexpected(with_context(
      std::move(error), "the old key is not destroyed, because no copy of the new one opens now"));
}

Result<void> RekeyJob::destroy_at(const KeyTable& table, const CustodianId& holder) {
  const KeyId& key = table.rekey->from;
  const bool was_in_use = table.find(key)->commitment != KeyCommitment{};
  Result<void> destroyed = destroyer_.retired(*parts_.keystore, key, holder);
  bool kept = false;
  if (!destroyed) {
    // An announced key that the hardware says is in use belongs to a newer state of this store.
    kept = !was_in_use && destroyed.error().code == ErrorCode::conflict;
    if (!kept) return destroyed;
    parts_.events.raise(kUnknownHardwareObject, key.to_text(),
                        fmt::format("{}: the cancelled rekey of {} had announced a key that the "
                                    "hardware says is in use: this state directory is older than "
                                    "the hardware. Nothing was destroyed",
                                    holder.text, table.domain.text()));
  }
  const bool gone = !kept && parts_.custodians.destroys(holder);
  const store::AuditRecord record =
      audit_record({table.rekey->actor, "daemon"}, "rekey.destroy", table.domain.text(),
                   {{"job", api::Json(table.rekey->job.to_text())},
                    {"key", api::Json(key.to_text())},
                    {"custodian", api::Json(holder.text)},
                    {"destroyed", api::Json(gone)}});
  return change_table(*parts_.keystore,
                      [&](KeyTable now) {
                        return store::record_destroyed(
                            std::move(now), key, holder,
                            gone ? store::Destruction::confirmed : store::Destruction::except);
                      },
                      {&record, 1});
}

Result<RekeyJob::Outcome> RekeyJob::destroy(const KeyTable& table) {
  RekeyRecord record = TRY(begin_record(table));
  const store::KeyRow* old_key = table.find(table.rekey->from);
  if (old_key->holders.empty()) return finish(table, std::move(record));
  TRY(parts_.keystore->reencryption().purge());
  // A key that never was in use is no loss, whatever else opens.
  if (old_key->commitment != KeyCommitment{}) TRY(prove_current(table));
  std::optional<Error> error;
  std::size_t left = 0;
  for (const CustodianId& holder : old_key->holders) {
    Result<void> destroyed = destroy_at(table, holder);
    if (destroyed) continue;
    ++left;
    if (!error) error = std::move(destroyed.error());
  }
  if (!error) return Outcome::more;
  const std::size_t all = std::max(record.custodians.size(), old_key->holders.size());
  return std::unexpected(
      with_context(std::move(*error), fmt::format("old key: {} of {} destroyed", all - left, all)));
}

Result<RekeyJob::Outcome> RekeyJob::finish(const KeyTable& table, RekeyRecord record) {
  const KeyId key = table.rekey->from;
  TRY(parts_.keystore->reencryption().purge());
  record.except = table.find(key)->except;
  record.finished = parts_.clock.now();
  TRY(save_rekey_record(parts_.control, record));
  // First, since nobody would come back to it when the answer to what follows is lost.
  parts_.keyring.forget(table.domain, key);
  TRY(advance(
      table, [&](KeyTable now) { return store::forget(std::move(now), key); }, "rekey.finish"));
  return Outcome::done;
}

}  // namespace keyward::engine
