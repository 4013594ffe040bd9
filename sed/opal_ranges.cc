#include "sed/opal_ranges.h"

#include <fmt/format.h>

#include <algorithm>

#include "sed/marker_store.h"
#include "sed/opal_erase.h"
#include "sed/range_cells.h"

namespace keyward::sed {
namespace {

using tcg::List;
using tcg::Session;
namespace column = tcg::column;

constexpr std::uint32_t kUsersMarked = 32;

List admins_or(const tcg::Uid& user) {
  List expression;
  for (const tcg::Uid& uid : {tcg::authority::kAdmins, user})
    expression.push_back(tcg::named(tcg::bytes(tcg::expression::kAuthorityRef), tcg::bytes(uid)));
  expression.push_back(
      tcg::named(tcg::bytes(tcg::expression::kBooleanOperator), tcg::number(tcg::expression::kOr)));
  return expression;
}

}  // namespace

std::uint32_t OpalRanges::ranges_max() const {
  return std::min(link_.known().ranges_max, kRangesMarked);
}

Result<void> OpalRanges::check_number(std::uint32_t number) const {
  if (number <= ranges_max()) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("the drive has ranges 1 to {} beside the global one, 0; there is no {}",
                          ranges_max(), number));
}

Result<OwnerMarker> OpalRanges::settled_marker() {
  const auto marker = TRY(read_marker(link_));
  if (!marker || !marker->settled)
    return fail(ErrorCode::conflict,
                "the drive has no owner, or its owner PIN is being changed; finish that first");
  return *marker;
}

Result<std::vector<Range>> OpalRanges::list(const SecretBytes& owner_pin) {
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::read));
  std::vector<Range> ranges;
  for (std::uint32_t n = 0; n <= ranges_max(); ++n) {
    const tcg::Row row = TRY(session.get(
        tcg::range::opal(n), {column::locking::kRangeStart, column::locking::kWriteLocked}));
    ranges.push_back(range_of(n, row));
  }
  TRY(session.close());
  return ranges;
}

Result<void> OpalRanges::set_range(Session& session, std::uint32_t number, tcg::Row cells) {
  Result<void> placed = session.set(tcg::range::opal(number), cells);
  if (placed || !session.is_open()) return placed;
  return std::unexpected(misplaced(session, tcg::kLockingInfo, placed.error()));
}

Result<void> OpalRanges::place(const SecretBytes& owner_pin, std::uint32_t number,
                               std::uint64_t first_sector, std::uint64_t sectors) {
  if (number == 0)
    return fail(ErrorCode::invalid_argument, "the global range lies where no other range does");
  TRY(check_number(number));
  OwnerMarker marker = TRY(settled_marker());
  const std::uint64_t bit = std::uint64_t{1} << (number - 1);
  marker.ranges = sectors == 0 ? marker.ranges & ~bit : marker.ranges | bit;
  ++marker.generation;
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(session.begin_transaction());
  TRY(set_range(session, number, placed_at(first_sector, sectors)));
  TRY(write_marker(session, marker));
  TRY(session.commit());
  link_.known().ranges = marker.ranges;
  return session.close();
}

Result<void> OpalRanges::set_access(const SecretBytes& owner_pin, std::uint32_t number,
                                    Access access) {
  TRY(check_number(number));
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(session.set(tcg::range::opal(number), locks_of(access)));
  return session.close();
}

Result<void> OpalRanges::erase(const SecretBytes& owner_pin, std::uint32_t number, Destroy) {
  TRY(check_number(number));
  return OpalErase(link_).renew_keys(owner_pin, {number});
}

Result<void> OpalRanges::grant_user(const SecretBytes& owner_pin, std::uint32_t number,
                                    std::uint32_t user) {
  TRY(check_number(number));
  const std::uint32_t users = std::min<std::uint32_t>(link_.known().users, kUsersMarked);
  if (user == 0 || user > users)
    return fail(ErrorCode::invalid_argument, fmt::format("the drive has users 1 to {}", users));
  OwnerMarker marker = TRY(settled_marker());
  marker.users |= 1u << (user - 1);
  ++marker.generation;
  const Authority authority = who::user(user);
  const SecretBytes pin = TRY(authority_pin(owner_pin, authority.name));
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(session.begin_transaction());
  TRY(session.set(authority.uid, {{column::authority::kEnabled, std::uint64_t{1}}}));
  TRY(session.set_pin(authority.credential, pin));
  for (const tcg::Uid& ace : {tcg::ace::range_get(number), tcg::ace::set_read_locked(number),
                              tcg::ace::set_write_locked(number)})
    TRY(session.set(ace, {{column::ace::kExpression, admins_or(authority.uid)}}));
  TRY(write_marker(session, marker));
  TRY(session.commit());
  return session.close();
}

Result<void> OpalRanges::set_access_as_user(const SecretBytes& user_pin, std::uint32_t user,
                                            std::uint32_t number, Access access) {
  Session session = TRY(link_.start(who::user(user), user_pin, Session::Mode::write));
  TRY(session.set(tcg::range::opal(number), locks_of(access)));
  return session.close();
}

}  // namespace keyward::sed
