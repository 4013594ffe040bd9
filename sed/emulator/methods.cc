#include "sed/emulator/methods.h"

#include <algorithm>

#include "base/os_random.h"
#include "sed/emulator/arguments.h"
#include "sed/emulator/authentication.h"
#include "sed/emulator/life_cycle.h"
#include "sed/emulator/single_user.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::uint64_t kRandomBytesMax = 32;
constexpr Uid kAccessControlTable = make_uid(table::kAccessControl, 0);
// SSC methods' named parameters start here (Opal 5.1.3.2).
constexpr std::uint64_t kSscParameters = 0x060000;

MethodResult failed(Status status) { return {.status = status}; }

// Methods that change nothing, and so may run in a read-only session.
bool only_reads(Uid method) {
  return method == method::kGet || method == method::kEnterpriseGet || method == method::kNext ||
         method == method::kGetAcl || method == method::kRandom ||
         method == method::kAuthenticate || method == method::kEnterpriseAuthenticate;
}

// Enterprise hosts name a table of one row by the table itself.
Uid row_of_single_row_table(const Sp& sp, Family family, Uid invoking) {
  if (family != Family::enterprise || static_cast<std::uint32_t>(invoking) != 0) return invoking;
  const Uid first = invoking | 1;
  return table_of(invoking) == table::kLockingInfo && sp.rows.contains(first) ? first : invoking;
}

}  // namespace

Methods::Methods(Surroundings& drive, Session& session) : drive_(drive), session_(session) {}

struct Methods::Entry {
  Uid method;
  Handler handler;
};

Methods::Handler Methods::handler_of(Uid method) {
  static constexpr Entry kEntries[] = {
      {method::kGet, &Methods::get},
      {method::kSet, &Methods::set},
      {method::kEnterpriseGet, &Methods::get},
      {method::kEnterpriseSet, &Methods::set},
      {method::kNext, &Methods::next},
      {method::kAuthenticate, &Methods::authenticate},
      {method::kEnterpriseAuthenticate, &Methods::authenticate},
      {method::kRandom, &Methods::random},
      {method::kGenKey, &Methods::gen_key},
      {method::kActivate, &Methods::activate},
      {method::kRevert, &Methods::revert},
      {method::kRevertSp, &Methods::revert_sp},
      {method::kErase, &Methods::erase},
  };
  for (const Entry& entry : kEntries)
    if (entry.method == method) return entry.handler;
  return nullptr;
}

MethodResult Methods::run(const Call& original) {
  if (drive_.faults.next_method_status) {
    const auto status = static_cast<Status>(*drive_.faults.next_method_status);
    drive_.faults.next_method_status.reset();
    return failed(status);
  }
  Call call = original;
  call.invoking = row_of_single_row_table(sp(), drive_.options.family, call.invoking);
  if (call.method == method::kGetAcl) return get_acl(call);
  const Handler handler = handler_of(call.method);
  const Grant grant = sp().grant(session_.authenticated, call.invoking, call.method);
  if (handler == nullptr || !grant.any) return failed(Status::not_authorized);
  if (!session_.write && !only_reads(call.method)) return failed(Status::not_authorized);
  return (this->*handler)(call, grant);
}

MethodResult Methods::get(const Call& call, const Grant& grant) {
  if (sp().access->byte_tables.contains(call.invoking)) return get_table(drive_, state(), call);
  return get_cells(drive_, sp(), call, grant);
}

MethodResult Methods::set(const Call& call, const Grant& grant) {
  if (sp().access->byte_tables.contains(call.invoking)) return set_table(drive_, session_, call);
  MethodResult result = set_cells(drive_, sp(), call, grant);
  if (result.status == Status::success) changed();
  return result;
}

// Core 5.3.3.10: the UIDs of a table's rows, from the one after Where on.
MethodResult Methods::next(const Call& call, const Grant&) {
  static constexpr std::string_view kNames[] = {"Where", "Count"};
  const auto arguments = Arguments::parse(call.parameters, 0, drive_.options.family, kNames);
  if (!arguments) return failed(Status::invalid_parameter);
  const Value* where = arguments->optional(0);
  const Value* count = arguments->optional(1);
  if (count != nullptr && !count->is_number()) return failed(Status::invalid_parameter);
  const std::uint32_t table = table_of(call.invoking);
  Uid after = make_uid(table, 0);
  if (where != nullptr) {
    if (!where->uid() || table_of(*where->uid()) != table || !sp().rows.contains(*where->uid()))
      return failed(Status::invalid_parameter);
    after = *where->uid();
  }
  Value uids = list({});
  for (auto row = sp().rows.upper_bound(after);
       row != sp().rows.end() && table_of(row->first) == table &&
       (count == nullptr || uids.items.size() < count->number);
       ++row)
    uids.items.push_back(uid_value(row->first));
  return {.results = {std::move(uids)}};
}

MethodResult Methods::authenticate(const Call& call, const Grant&) {
  static constexpr std::string_view kOpalNames[] = {"Proof"};
  static constexpr std::string_view kEnterpriseNames[] = {"Challenge"};
  const Family family = drive_.options.family;
  const bool enterprise = family == Family::enterprise;
  if (drive_.faults.no_authenticate_method) return failed(Status::not_authorized);
  const auto arguments =
      Arguments::parse(call.parameters, 1, family, enterprise ? kEnterpriseNames : kOpalNames);
  if (!arguments || !arguments->required(0).uid()) return failed(Status::invalid_parameter);
  const Value* pin = arguments->optional(0);
  if (pin != nullptr && !pin->is_bytes()) return failed(Status::invalid_parameter);
  const Uid authority = *arguments->required(0).uid();
  const auto held = session_.authenticated.size();
  if (held >= drive_.options.max_authentications && !session_.authenticated.contains(authority))
    return failed(Status::invalid_parameter);
  switch (prove(drive_, session_, authority, pin == nullptr ? ByteView{} : ByteView(pin->bytes))) {
    case Proof::accepted:
      return {.results = {number(1)}};
    case Proof::refused:
      return {.results = {number(0)}};
    case Proof::locked_out:
      if (drive_.faults.lock_out_says_not_authorized) return {.results = {number(0)}};
      return failed(Status::authority_locked_out);
    case Proof::power_lost:
      return {.power_lost = true};
    case Proof::invalid:
      break;
  }
  return failed(Status::invalid_parameter);
}

MethodResult Methods::random(const Call& call, const Grant&) {
  const auto arguments = Arguments::parse(call.parameters, 1, drive_.options.family, {});
  if (!arguments || !arguments->required(0).is_number() ||
      arguments->required(0).number > kRandomBytesMax)
    return failed(Status::invalid_parameter);
  Value value = bytes(Bytes(static_cast<std::size_t>(arguments->required(0).number)));
  os_random_fill(value.bytes);
  return {.results = {std::move(value)}};
}

MethodResult Methods::gen_key(const Call& call, const Grant&) {
  if (!call.parameters.empty()) return failed(Status::invalid_parameter);
  sp().media_keys[call.invoking] = new_media_key();
  changed();
  return {};
}

// Reverts and their like cannot be rolled back, and are refused in a transaction.
MethodResult Methods::activate(const Call& call, const Grant&) {
  static constexpr std::string_view kNames[] = {"SingleUserModeSelectionList",
                                                "RangeStartRangeLengthPolicy"};
  const auto arguments =
      Arguments::parse(call.parameters, 0, drive_.options.family, kNames, kSscParameters);
  if (drive_.options.family != Family::opal2 && !call.parameters.empty())
    return failed(Status::invalid_parameter);
  const auto mode = arguments ? SingleUserMode::parse(arguments->optional(0),
                                                      arguments->optional(1), drive_.options)
                              : std::nullopt;
  if (!mode) return failed(Status::invalid_parameter);
  if (session_.transaction || drive_.state.ata.enabled) return failed(Status::fail);
  if (drive_.state.locking_is_active()) return {};
  activate_locking(drive_.state);
  mode->enter(drive_.state.locking);
  changed();
  return {};
}

MethodResult Methods::revert(const Call& call, const Grant&) {
  if (!call.parameters.empty()) return failed(Status::invalid_parameter);
  if (session_.transaction) return failed(Status::fail);
  if (call.invoking == uid::kAdminSp) {
    changed();
    if (drive_.cut_halfway) {
      renew_media_keys(drive_.state);
      return {.power_lost = true};
    }
    revert_all(drive_.state, drive_.options);
    drive_.power.sid_blocked = false;
    return {.ends_session = true};
  }
  if (!drive_.state.locking_is_active()) return {};
  revert_locking(drive_.state, drive_.options, GlobalKey::renew);
  changed();
  return {};
}

MethodResult Methods::revert_sp(const Call& call, const Grant&) {
  static constexpr std::string_view kNames[] = {"KeepGlobalRangeKey"};
  const auto arguments =
      Arguments::parse(call.parameters, 0, drive_.options.family, kNames, kSscParameters);
  if (!arguments) return failed(Status::invalid_parameter);
  const Value* keep = arguments->optional(0);
  if (keep != nullptr && !keep->boolean()) return failed(Status::invalid_parameter);
  if (session_.transaction) return failed(Status::fail);
  const bool keeps = keep != nullptr && *keep->boolean();
  const auto both = [&](std::uint32_t enabled, std::uint32_t locked) {
    return sp().number_at(uid::kGlobalRange, enabled) != 0 &&
           sp().number_at(uid::kGlobalRange, locked) != 0;
  };
  if (keeps && both(column::kReadLockEnabled, column::kReadLocked) &&
      both(column::kWriteLockEnabled, column::kWriteLocked))
    return failed(Status::fail);
  changed();
  if (drive_.cut_halfway) {
    if (!keeps) renew_media_keys(drive_.state);
    return {.power_lost = true};
  }
  revert_locking(drive_.state, drive_.options, keeps ? GlobalKey::keep : GlobalKey::renew);
  return {.ends_session = true};
}

MethodResult Methods::erase(const Call& call, const Grant&) {
  if (!call.parameters.empty()) return failed(Status::invalid_parameter);
  if (session_.transaction) return failed(Status::fail);
  erase_range(drive_.state, drive_.options, call.invoking);
  changed();
  return {};
}

// Core 5.3.3.13. Every association of these SSCs lets Anybody ask for its ACL.
MethodResult Methods::get_acl(const Call& call) const {
  const Sp& sp = drive_.state.sp(session_.sp);
  if (call.invoking != kAccessControlTable || drive_.options.family == Family::enterprise)
    return failed(Status::not_authorized);
  const auto arguments = Arguments::parse(call.parameters, 2, drive_.options.family, {});
  if (!arguments || !arguments->required(0).uid() || !arguments->required(1).uid())
    return failed(Status::invalid_parameter);
  const auto found =
      sp.access->aces.find({*arguments->required(0).uid(), *arguments->required(1).uid()});
  if (found == sp.access->aces.end()) return failed(Status::not_authorized);
  Value aces = list({});
  for (const Uid ace : found->second) aces.items.push_back(uid_value(ace));
  return {.results = {std::move(aces)}};
}

}  // namespace keyward::sed::emulator
