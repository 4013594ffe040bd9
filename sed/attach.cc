// attach_drive(): which kind of Drive a transport leads to.
#include "base/check.h"
#include "sed/marker_store.h"
#include "sed/opal_drive.h"
#include "sed/opal_owner.h"

namespace keyward::sed {
namespace {

std::unique_ptr<Drive> tcg_drive(std::unique_ptr<SecurityTransport> transport, Clock& clock,
                                 const AttachOptions& options, const Knowledge& known,
                                 bool is_new) {
  auto link = std::make_unique<TcgLink>(std::move(transport), clock, options, known);
  // What is not learned now is when it is needed.
  if (is_new) static_cast<void>(learn_locking_sp(*link));
  return std::make_unique<OpalDrive>(std::move(link));
}

}  // namespace

Result<std::unique_ptr<Drive>> attach_drive(std::unique_ptr<SecurityTransport> transport,
                                            Clock& clock, const AttachOptions& options) {
  CHECK(options.ledger != nullptr, "no PIN is sent without a ledger");
  if (const auto known = Knowledge::parse(options.known, transport->identity()))
    return tcg_drive(std::move(transport), clock, options, *known, false);
  Result<tcg::Discovery> found = tcg::discover(*transport);
  if (!found) return std::unexpected(found.error());
  const Knowledge known = Knowledge::of(*found);
  return tcg_drive(std::move(transport), clock, options, known, locking_is_active(*found));
}

}  // namespace keyward::sed
