#include "sed/opal_data_store.h"

#include <fmt/format.h>

#include "sed/marker_store.h"

namespace keyward::sed {

using tcg::Session;

Result<std::uint64_t> OpalDataStore::size() {
  if (link_.known().data_store_bytes == 0) TRY(learn_locking_sp(link_));
  const std::uint64_t whole = link_.known().data_store_bytes;
  if (whole == 0)
    return fail(ErrorCode::conflict, "the drive has no owner yet, and tells no size before that");
  if (whole <= OwnerMarker::kReservedBytes)
    return fail(ErrorCode::unsupported, "the drive's DataStore holds our marker and no more");
  return whole - OwnerMarker::kReservedBytes;
}

Result<void> OpalDataStore::check(std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t space = TRY(this->size());
  if (offset <= space && size <= space - offset) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("the DataStore has {} bytes for us; {} from {} on reach beyond them",
                          space, size, offset));
}

Result<Bytes> OpalDataStore::read(std::uint64_t offset, std::size_t size) {
  TRY(check(offset, size));
  if (size > TRY(link_.channel())->answer_bytes_max()) TRY(link_.negotiate());
  Session session = TRY(link_.start_as_anybody(link_.locking_sp()));
  Bytes bytes =
      TRY(session.read_table(tcg::kDataStore, OwnerMarker::kReservedBytes + offset, size));
  TRY(session.close());
  return bytes;
}

Result<void> OpalDataStore::write(const SecretBytes& owner_pin, std::uint64_t offset,
                                  ByteView bytes) {
  TRY(check(offset, bytes.size()));
  if (bytes.size() > TRY(link_.channel())->request_bytes_max()) TRY(link_.negotiate());
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(session.write_table(tcg::kDataStore, OwnerMarker::kReservedBytes + offset, bytes));
  return session.close();
}

}  // namespace keyward::sed
