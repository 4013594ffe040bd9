// The EntryImporter turns the import's stream of records into bulk transactions.
//
//   EntryImporter importer(keyring, domain, caller);
//   TRY(importer.feed(bytes));        // as they come, cut anywhere
//   TRY(importer.finish());
//   report(importer.committed());     // also after an error: what was written stays
//
// A record is: name length (32 bits, big endian), name, secret length (32 bits, big endian),
// secret. Keeps at most one transaction in memory, secrets in SecretBytes. feed() and finish()
// block while a transaction is written. One thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"
#include "engine/keyring.h"

namespace keyward::daemon {

class EntryImporter final {
 public:
  static constexpr std::size_t kBatchEntriesMax = 1'000;
  static constexpr std::size_t kBatchBytesMax = 4 * 1024 * 1024;

  EntryImporter(engine::Keyring& keyring, Domain domain, engine::Caller caller);

  // The error names the record by its number, from 1. After an error nothing more may be fed.
  Result<void> feed(ByteView bytes);
  // `invalid_argument` when the last record is cut short.
  Result<void> finish();

  std::uint64_t committed() const { return committed_; }
  std::uint64_t committed_bytes() const { return committed_bytes_; }

 private:
  enum class Part : std::uint8_t { name_length, name, secret_length, secret };
  struct Record {
    EntryName name;
    SecretBytes secret;
  };

  Result<void> take(ByteView& bytes);
  Result<void> begin_part(std::uint32_t length);
  Result<void> end_record();
  Result<void> commit();
  std::uint64_t record_number() const { return committed_ + batch_.size() + 1; }
  Result<void> refuse(std::string_view what);

  engine::Keyring& keyring_;
  Domain domain_;
  engine::Caller caller_;

  Part part_ = Part::name_length;
  std::size_t filled_ = 0;  // Of the part that is being read.
  std::array<std::byte, 4> length_{};
  std::string name_;
  std::optional<EntryName> parsed_name_;
  std::optional<SecretBytes> secret_;

  std::vector<Record> batch_;
  std::set<std::string, std::less<>> batch_names_;
  std::size_t batch_bytes_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t committed_bytes_ = 0;
};

}  // namespace keyward::daemon
