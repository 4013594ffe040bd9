// attach_drive(): which kind of Drive a transport leads to.
#include "base/check.h"
#include "sed/ata/ata_drive.h"
#include "sed/enterprise_drive.h"
#include "sed/marker_store.h"
#include "sed/opal_drive.h"
#include "sed/opal_owner.h"

namespace keyward::sed {
namespace {

// TCG is silent on a drive that ATA Security has locked.
bool may_be_ata_alone(const Error& error) {
  return error.code == ErrorCode::unsupported || error.code == ErrorCode::conflict ||
         error.code == ErrorCode::invalid_argument;
}

Result<std::unique_ptr<Drive>> ata_drive(std::unique_ptr<SecurityTransport> transport,
                                         const AttachOptions& options, Error otherwise) {
  const Result<ata::AtaStatus> status = ata::read_status(*transport);
  if (!status || !status->supported) return std::unexpected(std::move(otherwise));
  return std::make_unique<AtaDrive>(std::move(transport), options);
}

Result<std::unique_ptr<Drive>> tcg_drive(std::unique_ptr<SecurityTransport> transport, Clock& clock,
                                         const AttachOptions& options, const Knowledge& known,
                                         bool learns) {
  auto link = std::make_unique<TcgLink>(std::move(transport), clock, options, known);
  // What is not learned now is when it is needed.
  if (learns) static_cast<void>(learn_locking_sp(*link));
  if (link->is_enterprise()) return std::make_unique<EnterpriseDrive>(std::move(link));
  return std::make_unique<OpalDrive>(std::move(link));
}

}  // namespace

Result<std::unique_ptr<Drive>> attach_drive(std::unique_ptr<SecurityTransport> transport,
                                            Clock& clock, const AttachOptions& options) {
  CHECK(options.ledger != nullptr, "no PIN is sent without a ledger");
  if (const auto known = Knowledge::parse(options.known, transport->identity()))
    return tcg_drive(std::move(transport), clock, options, *known, false);
  Result<tcg::Discovery> found = tcg::discover(*transport);
  if (!found) {
    if (!may_be_ata_alone(found.error())) return std::unexpected(std::move(found).error());
    return ata_drive(std::move(transport), options, std::move(found).error());
  }
  const Knowledge known = Knowledge::of(*found);
  if (known.ssc == tcg::Ssc::none)
    return ata_drive(std::move(transport), options,
                     {ErrorCode::unsupported, "the drive has no TCG class that we know"});
  return tcg_drive(std::move(transport), clock, options, known, locking_is_active(*found));
}

}  // namespace keyward::sed
