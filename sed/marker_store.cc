#include "sed/marker_store.h"

#include "sed/range_cells.h"

namespace keyward::sed {
namespace {

using tcg::Session;

// A marker lies in one of two places, by the last bit of its generation: the one before it is whole
// when the power goes while it is written.
constexpr std::uint64_t kSlotBytes = 512;

std::optional<OwnerMarker> newest(ByteView slots) {
  const auto first = OwnerMarker::parse(slots);
  const auto second = OwnerMarker::parse(slots.subspan(kSlotBytes));
  if (!first || (second && second->generation > first->generation)) return second;
  return first;
}

// What a drive says that keeps the marker, or all of the Locking SP, from anybody.
bool is_kept_from_anybody(const Error& error) {
  return error.code == ErrorCode::auth_failed || error.code == ErrorCode::invalid_argument ||
         error.code == ErrorCode::unsupported;
}

Result<std::optional<OwnerMarker>> read_in(Session& session, TcgLink& link) {
  const Result<Bytes> bytes =
      session.read_table(tcg::kDataStore, 0, kSlotBytes + OwnerMarker::kBytes);
  if (!bytes && is_kept_from_anybody(bytes.error())) return std::nullopt;
  if (!bytes) return std::unexpected(bytes.error());
  std::optional<OwnerMarker> marker = newest(*bytes);
  if (marker) link.known().ranges = marker->ranges;
  return marker;
}

// 0 when the drive does not say.
Result<std::uint64_t> read_number(Session& session, const tcg::Uid& object, std::uint32_t column) {
  const Result<tcg::Row> row = session.get(object, {column, column});
  if (row) return tcg::number_in(*row, column).value_or(0);
  if (session.is_open()) return 0;
  return std::unexpected(row.error());
}

Result<std::optional<Session>> start_where_active(TcgLink& link) {
  Result<Session> session = link.start_as_anybody(link.locking_sp());
  if (session) return std::optional<Session>(std::move(*session));
  const ErrorCode code = session.error().code;
  if (code == ErrorCode::conflict || code == ErrorCode::invalid_argument) return std::nullopt;
  return std::unexpected(session.error());
}

}  // namespace

Result<std::optional<OwnerMarker>> read_marker(TcgLink& link) {
  std::optional<Session> session = TRY(start_where_active(link));
  if (!session) return std::nullopt;
  std::optional<OwnerMarker> marker = TRY(read_in(*session, link));
  TRY(session->close());
  return marker;
}

Result<std::optional<OwnerMarker>> learn_locking_sp(TcgLink& link) {
  std::optional<Session> session = TRY(start_where_active(link));
  if (!session) return std::nullopt;
  std::optional<OwnerMarker> marker = TRY(read_in(*session, link));
  Knowledge& known = link.known();
  // What does not change is asked once.
  if (known.ranges_max == 0)
    known.ranges_max = static_cast<std::uint32_t>(TRY(read_number(
        *session, link.is_enterprise() ? tcg::kEnterpriseLockingInfo : tcg::kLockingInfo,
        tcg::column::locking_info::kMaxRanges)));
  if (!link.is_enterprise()) {
    if (known.data_store_bytes == 0)
      known.data_store_bytes = TRY(
          read_number(*session, tcg::descriptor_of(tcg::kDataStore), tcg::column::table::kRows));
    if (known.has_shadow_mbr && known.shadow_mbr_bytes == 0)
      known.shadow_mbr_bytes =
          TRY(read_number(*session, tcg::descriptor_of(tcg::kMbr), tcg::column::table::kRows));
  }
  TRY(session->close());
  return marker;
}

Result<void> write_marker(Session& session, const OwnerMarker& marker) {
  return session.write_table(tcg::kDataStore, marker.generation % 2 * kSlotBytes, marker.render());
}

Result<std::vector<std::uint32_t>> ranges_in_use(TcgLink& link) {
  if (!link.known().ranges) TRY(read_marker(link));
  const std::uint64_t bits = link.known().ranges.value_or(0);
  std::vector<std::uint32_t> ranges{0};
  for (std::uint32_t n = 1; n <= kRangesMarked; ++n)
    if ((bits >> (n - 1) & 1) != 0) ranges.push_back(n);
  return ranges;
}

}  // namespace keyward::sed
