// PINs of drives that go to another node, and of drives that come from one.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "api/fields.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "engine/drives/drive_bundle.h"
#include "engine/drives/drive_fleet_impl.h"
#include "engine/host_name.h"

namespace keyward::engine {
namespace {

struct ReleasedDocument {
  std::string bundle;  // In hexadecimal.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("bundle", &ReleasedDocument::bundle);
  }
};

// Which drives, not in which order.
std::string document_name(std::vector<std::string> keys) {
  std::ranges::sort(keys);
  std::string text;
  for (const std::string& key : keys) text += key + "\n";
  return "released/" + to_hex(crypto::sha256(as_bytes(text)));
}

bool is_same(const SecretBytes& a, const SecretBytes& b) {
  return constant_time_equal(a.reveal(), b.reveal());
}

}  // namespace

// The bundle is kept, sealed as it is, before the PINs are forgotten: an answer that was lost is
// given again.
Result<Bytes> DriveFleet::Impl::release(const std::vector<std::string>& names,
                                        const SecretBytes& passphrase, const Caller& caller) {
  if (names.empty()) return fail(ErrorCode::invalid_argument, "releasing needs the drives' names");
  const std::lock_guard lock(handover_mutex_);
  std::vector<api::DriveRow> rows;
  std::vector<std::string> keys;
  for (const std::string& name : names) {
    rows.push_back(TRY(find(name)));
    keys.push_back(key_of(rows.back()));
  }
  store::Document document{document_name(keys), 0, {}};
  auto kept = parts_.control.load(document.name);
  if (kept) {
    document = *std::move(kept);
    auto file = TRY(finish_release(document, keys, passphrase, caller));
    if (file) return *std::move(file);
  } else if (kept.error().code != ErrorCode::not_found) {
    return std::unexpected(kept.error());
  }
  DriveBundle bundle{settings_.node, host_name(), parts_.clock.now(), {}};
  for (const api::DriveRow& row : rows) bundle.drives.push_back(TRY(pack(row, caller)));
  Bytes file = TRY(seal_bundle(bundle, passphrase));
  document.json = api::to_json(ReleasedDocument{to_hex(file)});
  std::vector<store::AuditRecord> audit;
  for (const std::string& key : keys)
    audit.push_back(audit_record(caller, "drive.release", "drive " + key));
  TRY(parts_.control.save(document, audit));
  for (const std::string& key : keys) TRY(credentials_.forget(key, caller));
  return file;
}

// None where a stored PIN is another than the one in the bundle: then it is an earlier release's.
Result<std::optional<Bytes>> DriveFleet::Impl::finish_release(const store::Document& document,
                                                              const std::vector<std::string>& keys,
                                                              const SecretBytes& passphrase,
                                                              const Caller& caller) {
  std::map<std::string, OwnerPins> stored;
  bool has_any = false;
  for (const std::string& key : keys) {
    stored[key] = TRY(credentials_.load(key, caller));
    has_any |= stored[key].state() != api::DrivePins::none;
  }
  Bytes file = TRY(from_hex(TRY(api::from_json<ReleasedDocument>(document.json)).bundle));
  const auto bundle = open_bundle(file, passphrase);
  if (!bundle && has_any) return std::optional<Bytes>();
  if (!bundle) return std::unexpected(bundle.error());
  for (const BundledDrive& drive : bundle->drives) {
    const OwnerPins& pins = stored[drive.drive];
    if (pins.pending || (pins.current && !is_same(*pins.current, drive.owner_pin)))
      return std::optional<Bytes>();
  }
  for (const std::string& key : keys) TRY(credentials_.forget(key, caller));
  return std::optional(std::move(file));
}

Result<BundledDrive> DriveFleet::Impl::pack(const api::DriveRow& row, const Caller& caller) {
  const std::string key = key_of(row);
  OwnerPins pins = TRY(credentials_.load(key, caller));
  if (!pins.current || pins.pending)
    return fail(ErrorCode::conflict,
                fmt::format("drive {}: {}", row.serial,
                            pins.pending ? "a change of its PIN has not ended; run: keyward sed "
                                           "drives verify"
                                         : "no PIN of it is stored"));
  BundledDrive drive{key,
                     {.wwn = row.wwn, .serial = row.serial, .model = row.model, .firmware = {}},
                     *std::move(pins.current),
                     {}};
  if (auto psid = credentials_.reveal_psid(key, caller))
    drive.psid = *std::move(psid);
  else if (psid.error().code != ErrorCode::not_found)
    return std::unexpected(psid.error());
  return drive;
}

// As pending: the drive's own marker is another node's until it was seen here.
Result<std::vector<api::DriveResult>> DriveFleet::Impl::adopt(ByteView file,
                                                              const SecretBytes& passphrase,
                                                              const Caller& caller) {
  const std::lock_guard lock(handover_mutex_);
  const DriveBundle bundle = TRY(open_bundle(file, passphrase));
  TRY(roster_.refresh());
  identify({});
  std::vector<store::AuditRecord> audit;
  for (const BundledDrive& drive : bundle.drives)
    audit.push_back(audit_record(caller, "drive.adopt", "drive " + drive.drive));
  TRY(parts_.control.audit_trail().append(audit));
  std::vector<api::DriveResult> results;
  std::vector<std::string> present;
  for (const BundledDrive& drive : bundle.drives) {
    const Result<void> kept = keep(drive, caller);
    if (kept && roster_.find(drive.drive)) {
      present.push_back(drive.drive);
      continue;
    }
    api::DriveResult& result = results.emplace_back();
    result.serial = drive.identity.serial;
    result.wwn = drive.identity.wwn;
    if (kept) continue;
    result.code = error_code_name(kept.error().code);
    result.error = kept.error().message;
  }
  if (present.empty()) return results;
  auto met = TRY(run({DriveAction::unlock, present, nullptr}, caller, {}));
  results.insert(results.end(), std::make_move_iterator(met.begin()),
                 std::make_move_iterator(met.end()));
  return results;
}

Result<void> DriveFleet::Impl::keep(const BundledDrive& drive, const Caller& caller) {
  const OwnerPins pins = TRY(credentials_.load(drive.drive, caller));
  const bool is_kept = (pins.current && is_same(*pins.current, drive.owner_pin)) ||
                       (pins.pending && is_same(*pins.pending, drive.owner_pin));
  if (!is_kept && pins.current)
    return fail(ErrorCode::conflict,
                "another PIN of this drive is stored here already; which one is the drive's, "
                "shows: keyward sed drives verify");
  if (!is_kept) TRY(credentials_.begin(drive.drive, drive.owner_pin, caller));
  if (drive.psid) TRY(credentials_.record_psid(drive.drive, *drive.psid, caller));
  DriveRecord record = TRY(records_.load(drive.drive));
  if (record.last_seen) return {};
  record.serial = drive.identity.serial;
  record.wwn = drive.identity.wwn;
  record.model = drive.identity.model;
  return records_.save(record);
}

std::vector<api::EraseCertificate> DriveFleet::Impl::certificates() const {
  auto certificates = certificates_.list();
  if (certificates) return *std::move(certificates);
  log(LogLevel::error, "the erase certificates: {}", certificates.error().message);
  return {};
}

}  // namespace keyward::engine
