#include "engine/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/text.h"
#include "engine/domain_intent.h"
#include "store/key_table.h"
#include "store/self_check.h"

namespace keyward::engine {
namespace {

std::string_view kind_of(const CustodianId& id) {
  return std::string_view(id.text).substr(0, id.text.find(':'));
}

bool is_live(const store::KeyRow& row) {
  return row.state == store::KeyState::pending || row.state == store::KeyState::current;
}

bool is_holder(const store::KeyRow& row, const CustodianId& id) {
  return std::ranges::find(row.holders, id) != row.holders.end();
}

// What all keystores and intents know of keys: against it the hardware's objects are judged.
class KnownKeys {
 public:
  enum class Verdict {
    ours,       // A keystore names this custodian as a holder.
    intended,   // A domain that is being created or deleted has it.
    elsewhere,  // A keystore knows the key, and not that this custodian holds it.
    unjudged,   // Its keystore is not open.
    unknown,
  };

  static Result<KnownKeys> gather(Keyring& keyring, store::ControlStore& control) {
    KnownKeys known;
    known.intents_ = TRY(load_intents(control));
    for (const Domain& domain : keyring.domains()) {
      auto keystore = keyring.keystore(domain);
      auto table = keystore ? (*keystore)->keys()
                            : Result<store::KeyTable>(std::unexpected(keystore.error()));
      if (table)
        known.tables_.push_back(*std::move(table));
      else
        known.closed_.emplace_back(domain, table.error());
    }
    return known;
  }

  const std::vector<store::KeyTable>& tables() const { return tables_; }
  const std::vector<std::pair<Domain, Error>>& closed() const { return closed_; }
  const std::vector<DomainIntent>& intents() const { return intents_; }

  Verdict judge(const CustodianId& custodian, const KeyContext& context) const {
    for (const auto& table : tables_) {
      if (table.store != context.store) continue;
      const store::KeyRow* row = table.find(context.key);
      if (row == nullptr) break;
      return is_holder(*row, custodian) ? Verdict::ours : Verdict::elsewhere;
    }
    const auto names_it = [&](const DomainIntent& intent) { return intent.context == context; };
    if (std::ranges::any_of(intents_, names_it)) return Verdict::intended;
    const auto may_know = [&](const auto& closed) { return closed.first == context.domain; };
    return std::ranges::any_of(closed_, may_know) ? Verdict::unjudged : Verdict::unknown;
  }

  bool has_store(const StoreId& id) const {
    return std::ranges::find(tables_, id, &store::KeyTable::store) != tables_.end();
  }

 private:
  std::vector<store::KeyTable> tables_;
  std::vector<std::pair<Domain, Error>> closed_;
  std::vector<DomainIntent> intents_;
};

using Verdict = KnownKeys::Verdict;

api::DoctorFinding object_finding(const CustodianId& custodian, const hsm::HeldObject& object) {
  return {.custodian = custodian.text,
          .domain = object.context.domain.text(),
          .key = object.context.key.to_text(),
          .store = object.context.store.to_text(),
          .where = object.where};
}

class Examination {
 public:
  Examination(const Doctor::Parts& parts, std::stop_token stop)
      : parts_(parts), stop_(std::move(stop)) {}

  std::vector<api::DoctorFinding> run() {
    auto known = KnownKeys::gather(parts_.keyring, parts_.control);
    if (known) {
      examine_keystores(*known);
      for (const CustodianHealth& health : parts_.custodians.health())
        if (!stop_.stop_requested()) examine_custodian(*known, health);
    } else {
      add({.kind = "pending_intent",
           .text = fmt::format("the intents cannot be read: {}", known.error().message),
           .next_step = "Restore control.db from a backup."});
    }
    examine_rekeys();
    examine_audit();
    examine_clock();
    return std::move(findings_);
  }

 private:
  void add(api::DoctorFinding finding) { findings_.push_back(std::move(finding)); }

  // ---- Keystores ----

  void examine_keystores(const KnownKeys& known) {
    for (const auto& [domain, error] : known.closed())
      add({.kind = "locked_keystore",
           .domain = domain.text(),
           .text = fmt::format("its keystore is not open: {}", error.message),
           .next_step = "Repair the cause; it is tried again by itself."});
    for (const auto& status : parts_.keyring.status())
      if (status.state == api::DomainState::locked && !is_closed(known, status.domain))
        add({.kind = "locked_keystore",
             .domain = status.domain,
             .text = fmt::format("none of its keys is open: {}", status.error),
             .next_step = "Repair a custodian that holds a copy: keyward custodians list"});
    for (const DomainIntent& intent : known.intents())
      add({.kind = "pending_intent",
           .domain = intent.context.domain.text(),
           .key = intent.context.key.to_text(),
           .store = intent.context.store.to_text(),
           .text = fmt::format("the domain's {} has not ended",
                               intent.act == DomainIntent::Act::create ? "creation" : "deletion"),
           .next_step = "It is ended by itself once the custodians concerned answer."});
    for (const auto& table : known.tables()) {
      examine_table(table);
      if (!stop_.stop_requested()) examine_files(table.domain);
    }
  }

  // What a rekey or a deletion should have left nowhere.
  void examine_files(const Domain& domain) {
    const auto keystore = parts_.keyring.keystore(domain);
    if (!keystore) return;
    auto* self = dynamic_cast<store::SelfCheck*>(keystore->get());
    if (self == nullptr) return;
    const auto found = self->find_residue(stop_);
    if (!found) {
      add({.kind = "residue",
           .domain = domain.text(),
           .text = fmt::format("its files cannot be searched: {}", found.error().message),
           .next_step = "Repair the cause, then run: keyward doctor"});
      return;
    }
    for (const std::string& line : *found)
      add({.kind = "residue",
           .domain = domain.text(),
           .text = line,
           .next_step = "Remove files that you do not need. Bytes in pages go when every entry is "
                        "written anew: keyward cluster rekey start"});
  }

  static bool is_closed(const KnownKeys& known, const std::string& domain) {
    return std::ranges::any_of(known.closed(),
                               [&](const auto& closed) { return closed.first.text() == domain; });
  }

  void examine_table(const store::KeyTable& table) {
    const std::string& domain = table.domain.text();
    for (const store::KeyRow& row : table.keys)
      if (is_live(row)) examine_copies(table, row);
    const bool passphrase_only = std::ranges::all_of(
        table.wanted, [](const auto& wanted) { return kind_of(wanted.id) == "passphrase"; });
    if (passphrase_only)
      add({.kind = "passphrase_only",
           .domain = domain,
           .text = "its keys are sealed by a passphrase alone: whoever learns it opens every copy "
                   "of the files, and nothing can destroy a key",
           .next_step = "Add hardware: keyward custodians add pkcs11:… or tpm2:…"});
    if (table.wanted.size() == 1)
      add({.kind = "one_custodian",
           .custodian = table.wanted.front().id.text,
           .domain = domain,
           .text =
               "its keys are sealed by one custodian alone: if that is lost, so are the entries",
           .next_step = "Add a second one: keyward custodians add"});
    const auto configured = parts_.custodians.ids();
    for (const WantedCustodian& wanted : table.wanted)
      if (std::ranges::find(configured, wanted.id) == configured.end())
        add({.kind = "unlisted_custodian",
             .custodian = wanted.id.text,
             .domain = domain,
             .text = "the keystore wants this custodian, and the configuration does not name it",
             .next_step =
                 "Configure it, or run: keyward custodians remove --lost " + wanted.id.text});
  }

  void examine_copies(const store::KeyTable& table, const store::KeyRow& row) {
    for (const WantedCustodian& wanted : table.wanted)
      if (row.copy_of(wanted.id) == nullptr)
        add({.kind = "few_copies",
             .custodian = wanted.id.text,
             .domain = table.domain.text(),
             .key = row.id.to_text(),
             .text = fmt::format("{} has no copy of this key yet", wanted.id.text),
             .next_step = "It is made by itself once the custodian answers: keyward custodians "
                          "test " +
                          wanted.id.text});
  }

  // ---- Hardware ----

  void examine_custodian(const KnownKeys& before, const CustodianHealth& health) {
    if (!health.healthy)
      add({.kind = "unhealthy_custodian",
           .custodian = health.id.text,
           .text = health.error.empty() ? "it has not answered yet" : health.error,
           .next_step = "Run: keyward custodians test " + health.id.text});
    examine_identity(health.id);
    if (health.healthy) examine_hardware(health.id);
    const auto held = parts_.custodians.list(health.id);
    if (!held) {
      if (health.healthy)
        add({.kind = "unhealthy_custodian",
             .custodian = health.id.text,
             .text = fmt::format("what it holds cannot be listed: {}", held.error().message),
             .next_step = "Run: keyward custodians test " + health.id.text});
      return;
    }
    // Keys come and go while it is listed. What was known before or is known after is known, and
    // only what has a copy both before and after can be missing.
    const auto after = KnownKeys::gather(parts_.keyring, parts_.control);
    if (!after) return;
    for (const hsm::HeldObject& object : *held)
      if (!is_known(before, health.id, object)) judge(*after, health.id, object);
    if (!parts_.custodians.destroys(health.id)) return;
    for (const auto& table : before.tables())
      for (const store::KeyRow& row : table.keys)
        if (has_copy(before, health.id, table.context(row.id)) &&
            has_copy(*after, health.id, table.context(row.id)))
          look_for(health.id, table.context(row.id), *held);
  }

  static bool is_known(const KnownKeys& known, const CustodianId& custodian,
                       const hsm::HeldObject& object) {
    const Verdict verdict = known.judge(custodian, object.context);
    return verdict == Verdict::ours || verdict == Verdict::intended;
  }

  static bool has_copy(const KnownKeys& known, const CustodianId& custodian,
                       const KeyContext& context) {
    const auto table = std::ranges::find(known.tables(), context.store, &store::KeyTable::store);
    if (table == known.tables().end()) return false;
    const store::KeyRow* row = table->find(context.key);
    return row != nullptr && is_live(*row) && row->copy_of(custodian) != nullptr;
  }

  // What a token says of itself; a TPM's key name tells nothing of the kind.
  void examine_identity(const CustodianId& id) {
    const auto identity = parts_.custodians.identity(id);
    if (!identity) return;
    std::string lower = *identity;
    std::ranges::transform(lower, lower.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    constexpr std::array kSoftware{"softhsm", "swtpm", "simulator"};
    if (std::ranges::none_of(kSoftware, [&](const char* name) { return lower.contains(name); }))
      return;
    add({.kind = "software_hardware",
         .custodian = id.text,
         .text = fmt::format("it is software ({}): whoever copies its files has its keys",
                             printable(*identity)),
         .next_step = "Fine for tests. For real secrets, add hardware and remove this one."});
  }

  void examine_hardware(const CustodianId& id) {
    const auto warnings = parts_.custodians.warnings(id);
    if (!warnings) {
      add({.kind = "unhealthy_custodian",
           .custodian = id.text,
           .text = "its hardware could not be looked at: " + warnings.error().message,
           .next_step = "Run: keyward custodians test " + id.text});
      return;
    }
    for (const hsm::HardwareWarning& warning : *warnings)
      add({.kind = warning.is_software ? "software_hardware" : "weak_hierarchy",
           .custodian = id.text,
           .text = warning.text,
           .next_step = warning.next_step});
  }

  void judge(const KnownKeys& known, const CustodianId& custodian, const hsm::HeldObject& object) {
    api::DoctorFinding finding = object_finding(custodian, object);
    switch (known.judge(custodian, object.context)) {
      case Verdict::ours:
      case Verdict::intended:
        return;
      case Verdict::elsewhere:
        finding.kind = "unknown_object";
        finding.text =
            "the keystore uses this key, and does not know that this custodian holds something "
            "for it: the custodian was given up as lost, or has two names";
        finding.next_step = "Leave it until the key was replaced: keyward cluster rekey start";
        break;
      case Verdict::unjudged:
        finding.kind = "unjudged_object";
        finding.text = "the keystore that may know it is not open";
        finding.next_step = "Open that keystore first; then run: keyward doctor";
        break;
      case Verdict::unknown:
        finding.kind = "unknown_object";
        finding.text = known.has_store(object.context.store)
                           ? "this keystore does not know the key: the state directory may be "
                             "older than the hardware, as after restoring a backup"
                           : "no keystore here has this store id: it is another node's, or of a "
                             "keystore that was removed";
        finding.next_step =
            "Leave it unless you know whose it is. To destroy it: keyward doctor --remove";
        parts_.events.raise(
            kUnknownHardwareObject, custodian.text,
            fmt::format("{} of key {} of {}", object.where, finding.key, finding.domain));
        break;
    }
    add(std::move(finding));
  }

  void look_for(const CustodianId& custodian, const KeyContext& context,
                const std::vector<hsm::HeldObject>& held) {
    if (std::ranges::find(held, context, &hsm::HeldObject::context) != held.end()) return;
    add({.kind = "missing_object",
         .custodian = custodian.text,
         .domain = context.domain.text(),
         .key = context.key.to_text(),
         .store = context.store.to_text(),
         .text = "the hardware no longer has what opens this copy",
         .next_step =
             "Find out who removed it. Then seal anew: keyward custodians remove, then add"});
    parts_.events.raise(
        kKeyOrphaned, context.domain.text(),
        fmt::format("{} no longer has what opens key {}", custodian.text, context.key.to_text()));
  }

  // ---- The rest ----

  void examine_rekeys() {
    for (const auto& status : parts_.rekeys.progress()) {
      if (status.error.empty()) continue;
      add({.kind = "rekey_failed",
           .domain = status.domain,
           .text = status.error,
           .next_step = "Repair the cause; it is tried again by itself. At once: keyward cluster "
                        "rekey retry"});
    }
  }

  void examine_audit() {
    const auto verdict = parts_.audit.verify(stop_);
    if (!verdict) {
      add({.kind = "audit_note",
           .text = verdict.error().message,
           .next_step = "Run: keyward audit verify"});
      return;
    }
    for (const std::string& defect : verdict->defects)
      add({.kind = "audit_defect",
           .text = defect,
           .next_step = "Records were removed, reordered or edited: find out by whom."});
    for (const std::string& note : verdict->notes)
      add({.kind = "audit_note", .text = note, .next_step = "Open that keystore, then run again."});
  }

  void examine_clock() {
    const auto verdict = parts_.rekeys.clock_verdict();
    if (verdict == ClockSanity::Verdict::believable) return;
    add({.kind = "clock",
         .text = verdict == ClockSanity::Verdict::jumped
                     ? "the clock has jumped by more than a day; scheduled rekeys wait"
                     : "the clock shows a time that cannot be; scheduled rekeys wait",
         .next_step = "Set the clock. If it is right: keyward cluster rekey retry"});
  }

  const Doctor::Parts& parts_;
  std::stop_token stop_;
  std::vector<api::DoctorFinding> findings_;
};

Result<KeyContext> find_held(CustodianSet& custodians, const CustodianId& custodian,
                             const KeyId& key) {
  std::optional<KeyContext> found;
  for (const hsm::HeldObject& object : TRY(custodians.list(custodian))) {
    if (object.context.key != key) continue;
    if (found && *found != object.context)
      return fail(ErrorCode::conflict,
                  fmt::format("{} holds objects of two keystores under the key id {}: remove them "
                              "with the hardware's own tools",
                              custodian.text, key.to_text()));
    found = object.context;
  }
  if (found) return *found;
  return fail(ErrorCode::not_found, fmt::format("{} holds nothing for a key {}: keyward doctor",
                                                custodian.text, key.to_text()));
}

Result<void> check_unknown(Keyring& keyring, store::ControlStore& control,
                           const CustodianId& custodian, const KeyContext& context) {
  const KnownKeys known = TRY(KnownKeys::gather(keyring, control));
  switch (known.judge(custodian, context)) {
    case Verdict::unknown:
      return {};
    case Verdict::unjudged:
      return fail(ErrorCode::unavailable,
                  fmt::format("the keystore {} may know key {} and is not open, so nothing was "
                              "removed",
                              context.domain.text(), context.key.to_text()));
    case Verdict::ours:
    case Verdict::elsewhere:
    case Verdict::intended:
      break;
  }
  return fail(ErrorCode::conflict,
              fmt::format("key {} is known here, as one of {}, so nothing was removed: only what "
                          "no keystore names is removed this way",
                          context.key.to_text(), context.domain.text()));
}

}  // namespace

std::vector<api::DoctorFinding> Doctor::examine(std::stop_token stop) {
  return Examination(parts_, std::move(stop)).run();
}

Result<void> Doctor::remove_unknown(const CustodianId& custodian, std::string_view key_id,
                                    const Caller& caller) {
  const auto key = KeyId::parse(key_id);
  if (!key)
    return fail(ErrorCode::invalid_argument,
                "type the key's id in full, as keyward doctor shows it");
  const KeyContext context = TRY(find_held(parts_.custodians, custodian, *key));
  store::AuditRecord record = audit_record(caller, "doctor.remove", custodian.text);
  record.detail = fmt::format(R"({{"domain":"{}","store":"{}","key":"{}"}})", context.domain.text(),
                              context.store.to_text(), key->to_text());
  auto checked = check_unknown(parts_.keyring, parts_.control, custodian, context);
  if (!checked) record.outcome = error_code_name(checked.error().code);
  // Written before it is done: what cannot be recorded must not happen.
  TRY(parts_.control.audit_trail().append({&record, 1}));
  if (!checked) return checked;
  TRY(parts_.custodians.destroy(custodian, context, hsm::DestroyScope::everything));
  parts_.events.clear(kUnknownHardwareObject, custodian.text);
  return {};
}

}  // namespace keyward::engine
