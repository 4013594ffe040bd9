#include "sed/tcg/method_status.h"

#include <fmt/format.h>

namespace keyward::sed::tcg {
namespace {

struct Meaning {
  std::uint64_t status;
  std::string_view name;
  ErrorCode code;
  std::string_view advice;  // What it means, and what to do next.
};

using enum ErrorCode;

constexpr Meaning kMeanings[] = {
    {status::kSuccess, "SUCCESS", protocol, "it was done, and the drive's answer has no result"},
    {status::kNotAuthorized, "NOT_AUTHORIZED", auth_failed,
     "the PIN is not the right one, or its authority may not do this. A try may be spent: do not "
     "send the same PIN again. With a PSID, compare it with the label (no dashes, capitals). With "
     "the SID, the firmware of the machine may have blocked it (Block SID) until the drive's power "
     "is off and on; or somebody else owns the drive"},
    {status::kSpBusy, "SP_BUSY", busy,
     "another program has a session with the drive; try again when it has ended. A power cycle of "
     "the drive ends it too"},
    {status::kSpFailed, "SP_FAILED", io,
     "the drive's security provider does not work any more; a PSID revert, which destroys all "
     "data, may bring it back"},
    {status::kSpDisabled, "SP_DISABLED", conflict, "the drive's security provider is disabled"},
    {status::kSpFrozen, "SP_FROZEN", conflict,
     "the drive's security provider is frozen; a power cycle of the drive ends that"},
    {status::kNoSessionsAvailable, "NO_SESSIONS_AVAILABLE", busy,
     "all of the drive's sessions are taken by other programs; try again when one has ended. A "
     "power cycle of the drive ends them too"},
    {status::kUniquenessConflict, "UNIQUENESS_CONFLICT", conflict,
     "the drive has another row with this value"},
    {status::kInsufficientSpace, "INSUFFICIENT_SPACE", exhausted, "the drive's table is full"},
    {status::kInsufficientRows, "INSUFFICIENT_ROWS", exhausted, "the drive's table is full"},
    {status::kInvalidFunction, "INVALID_FUNCTION", unsupported,
     "the drive does not have this method: an Enterprise drive need not have Revert"},
    {status::kInvalidParameter, "INVALID_PARAMETER", invalid_argument,
     "the drive does not take an argument: a range that is misaligned or overlaps another, a "
     "column that cannot be set, or a security provider that is not active (take ownership first)"},
    {status::kInvalidReference, "INVALID_REFERENCE", unsupported,
     "the drive does not know the object, such as a PSID authority that it lacks"},
    {status::kTPerMalfunction, "TPER_MALFUNCTION", io,
     "the drive's firmware has failed. Switch the drive's power off and on, then look at its state "
     "before trying again; a firmware update may be needed"},
    {status::kTransactionFailure, "TRANSACTION_FAILURE", conflict,
     "the drive has rolled the transaction back; nothing was changed"},
    {status::kResponseOverflow, "RESPONSE_OVERFLOW", invalid_argument,
     "the answer does not fit into the packets that were agreed on"},
    {status::kAuthorityLockedOut, "AUTHORITY_LOCKED_OUT", locked_out,
     "too many wrong PINs were given. The drive listens again after its power was off and on, "
     "unless its tries persist: then another authority, or a PSID revert, which destroys all data"},
    {status::kFail, "FAIL", conflict,
     "the drive refuses in its present state: an ATA password may be set, a range may be locked, "
     "or what was asked for cannot be part of a transaction"},
};

const Meaning* meaning_of(std::uint64_t status) {
  for (const Meaning& meaning : kMeanings)
    if (meaning.status == status) return &meaning;
  return nullptr;
}

}  // namespace

std::string_view status_name(std::uint64_t status) {
  const Meaning* meaning = meaning_of(status);
  return meaning == nullptr ? "an unknown status" : meaning->name;
}

Error method_error(std::uint64_t status, std::string_view what) {
  const Meaning* meaning = meaning_of(status);
  if (meaning == nullptr)
    return {ErrorCode::protocol,
            fmt::format("{}: the drive answers with the unknown status {:02X}h", what, status),
            {},
            status};
  return {meaning->code, fmt::format("{}: {}: {}", what, meaning->name, meaning->advice),
          meaning->name, status};
}

}  // namespace keyward::sed::tcg
