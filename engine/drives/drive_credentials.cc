#include "engine/drives/drive_credentials.h"

#include <fmt/format.h>

#include <map>
#include <string_view>
#include <utility>

namespace keyward::engine {
namespace {

// drive/<key>/owner, drive/<key>/owner.next, drive/<key>/psid.
constexpr std::string_view kPrefix = "drive/";
constexpr std::string_view kOwner = "owner";
constexpr std::string_view kNext = "owner.next";
constexpr std::string_view kPsid = "psid";
constexpr std::size_t kPage = 1000;

const Domain& domain() {
  static const Domain kDomain = Domain::parse("SED").value();
  return kDomain;
}

Result<EntryName> entry_of(const std::string& drive, std::string_view what) {
  return EntryName::parse(fmt::format("{}{}/{}", kPrefix, drive, what));
}

std::unexpected<Error> no_pending(const std::string& drive) {
  return fail(ErrorCode::not_found, fmt::format("drive {}: no PIN is pending", drive));
}

// None where there is no such entry, or no domain yet. A domain that is locked is an error: what it
// holds is not known.
Result<std::optional<SecretBytes>> find(Keyring& keyring, const std::string& drive,
                                        std::string_view what, const Caller& caller,
                                        std::uint64_t* version = nullptr) {
  auto found = keyring.get(domain(), TRY(entry_of(drive, what)), caller, version);
  if (found) return std::optional<SecretBytes>(*std::move(found));
  if (found.error().code == ErrorCode::not_found) return std::optional<SecretBytes>();
  return std::unexpected(std::move(found.error()));
}

api::DrivePins pins_state(bool current, bool pending) {
  if (current) return pending ? api::DrivePins::rotating : api::DrivePins::stored;
  return pending ? api::DrivePins::pending : api::DrivePins::none;
}

}  // namespace

api::DrivePins OwnerPins::state() const {
  return pins_state(current.has_value(), pending.has_value());
}

Result<OwnerPins> DriveCredentials::load(const std::string& drive, const Caller& caller) {
  OwnerPins pins;
  pins.current = TRY(find(keyring_, drive, kOwner, caller));
  pins.pending = TRY(find(keyring_, drive, kNext, caller));
  return pins;
}

Result<void> DriveCredentials::begin(const std::string& drive, const SecretBytes& pin,
                                     const Caller& caller) {
  constexpr std::uint64_t kMustBeNew = 0;
  const auto put = keyring_.put(domain(), TRY(entry_of(drive, kNext)), pin, kMustBeNew, caller);
  if (put) return {};
  if (put.error().code != ErrorCode::conflict) return std::unexpected(put.error());
  return fail(ErrorCode::already_exists,
              fmt::format("drive {}: another PIN is pending, which the drive may have already; "
                          "settle it first: keyward sed drives verify",
                          drive));
}

Result<void> DriveCredentials::promote(const std::string& drive, const Caller& caller) {
  std::uint64_t version = 0;
  const auto pending = TRY(find(keyring_, drive, kNext, caller, &version));
  if (!pending) return no_pending(drive);
  const EntryEdit edits[] = {{TRY(entry_of(drive, kOwner)), &*pending},
                             {TRY(entry_of(drive, kNext)), nullptr, version}};
  return keyring_.edit(domain(), edits, caller);
}

Result<void> DriveCredentials::drop_pending(const std::string& drive, const Caller& caller) {
  const EntryEdit edit{TRY(entry_of(drive, kNext)), nullptr};
  const auto dropped = keyring_.edit(domain(), {&edit, 1}, caller);
  if (!dropped && dropped.error().code == ErrorCode::not_found) return no_pending(drive);
  return dropped;
}

Result<void> DriveCredentials::forget(const std::string& drive, const Caller& caller) {
  std::vector<EntryEdit> edits;
  for (const std::string_view what : {kOwner, kNext})
    if (TRY(find(keyring_, drive, what, caller)))
      edits.push_back({TRY(entry_of(drive, what)), nullptr});
  if (edits.empty()) return {};
  return keyring_.edit(domain(), edits, caller);
}

Result<void> DriveCredentials::record_psid(const std::string& drive, const SecretBytes& psid,
                                           const Caller& caller) {
  TRY(keyring_.put(domain(), TRY(entry_of(drive, kPsid)), psid, std::nullopt, caller));
  return {};
}

Result<SecretBytes> DriveCredentials::reveal_psid(const std::string& drive, const Caller& caller) {
  auto psid = TRY(find(keyring_, drive, kPsid, caller));
  if (!psid)
    return fail(ErrorCode::not_found, fmt::format("drive {}: no PSID was recorded", drive));
  const auto keystore = TRY(keyring_.keystore(domain()));
  const store::AuditRecord record = audit_record(caller, "drive.psid.reveal", "drive " + drive);
  TRY(keystore->audit_trail().append({&record, 1}));
  return *std::move(psid);
}

Result<std::vector<DriveCredentials::Known>> DriveCredentials::list() {
  struct Found {
    bool owner = false;
    bool next = false;
    bool psid = false;
  };
  std::map<std::string, Found> drives;
  std::optional<EntryName> after;
  while (true) {
    const auto page = keyring_.list(domain(), after, kPage);
    if (!page && page.error().code == ErrorCode::not_found) break;  // No domain: no drives.
    for (const store::EntryInfo& entry : TRY(page)) {
      after = entry.name;
      const std::string_view name = entry.name.text();
      const std::size_t slash = name.rfind('/');
      if (!name.starts_with(kPrefix) || slash < kPrefix.size()) continue;
      Found& found = drives[std::string(name.substr(kPrefix.size(), slash - kPrefix.size()))];
      const std::string_view what = name.substr(slash + 1);
      found.owner |= what == kOwner;
      found.next |= what == kNext;
      found.psid |= what == kPsid;
    }
    if (page->size() < kPage) break;
  }
  std::vector<Known> known;
  for (const auto& [drive, found] : drives)
    known.push_back({drive, pins_state(found.owner, found.next), found.psid});
  return known;
}

}  // namespace keyward::engine
