#include "daemon/entry_importer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "store/entry_cipher.h"

namespace keyward::daemon {
namespace {

// As EntryName allows; known here so that a wrong length is refused before it is read.
constexpr std::size_t kNameBytesMax = 512;

std::size_t copy_some(ByteView& from, std::byte* to, std::size_t wanted) {
  const std::size_t count = std::min(from.size(), wanted);
  if (count > 0) std::memcpy(to, from.data(), count);
  from = from.subspan(count);
  return count;
}

std::uint32_t read_big_endian(const std::array<std::byte, 4>& bytes) {
  std::uint32_t value = 0;
  for (std::byte byte : bytes) value = value << 8 | std::to_integer<std::uint32_t>(byte);
  return value;
}

}  // namespace

EntryImporter::EntryImporter(engine::Keyring& keyring, Domain domain, engine::Caller caller)
    : keyring_(keyring), domain_(std::move(domain)), caller_(std::move(caller)) {}

Result<void> EntryImporter::feed(ByteView bytes) {
  while (!bytes.empty()) TRY(take(bytes));
  return {};
}

Result<void> EntryImporter::take(ByteView& bytes) {
  switch (part_) {
    case Part::name_length:
    case Part::secret_length:
      filled_ += copy_some(bytes, length_.data() + filled_, length_.size() - filled_);
      if (filled_ == length_.size()) return begin_part(read_big_endian(length_));
      return {};
    case Part::name:
      filled_ += copy_some(bytes, reinterpret_cast<std::byte*>(name_.data()) + filled_,
                           name_.size() - filled_);
      if (filled_ < name_.size()) return {};
      if (Result<EntryName> name = EntryName::parse(name_); name)
        parsed_name_ = std::move(*name);
      else
        return refuse(name.error().message);
      part_ = Part::secret_length;
      filled_ = 0;
      return {};
    case Part::secret:
      filled_ +=
          copy_some(bytes, secret_->reveal_mutable().data() + filled_, secret_->size() - filled_);
      if (filled_ == secret_->size()) return end_record();
      return {};
  }
  return {};
}

Result<void> EntryImporter::begin_part(std::uint32_t length) {
  filled_ = 0;
  if (part_ == Part::name_length) {
    if (length == 0 || length > kNameBytesMax)
      return refuse(
          fmt::format("the name's length is {}, a name has 1 to {} bytes", length, kNameBytesMax));
    name_.resize(length);
    part_ = Part::name;
    return {};
  }
  if (length == 0 || length > store::kSecretBytesMax)
    return refuse(fmt::format("the secret's length is {}, a secret has 1 to {} bytes", length,
                              store::kSecretBytesMax));
  if (batch_bytes_ + length > kBatchBytesMax) TRY(commit());
  secret_ = TRY(SecretBytes::allocate(length));
  part_ = Part::secret;
  return {};
}

Result<void> EntryImporter::end_record() {
  // One transaction changes an entry once.
  if (batch_names_.contains(parsed_name_->text())) TRY(commit());
  batch_names_.insert(parsed_name_->text());
  batch_bytes_ += secret_->size();
  batch_.push_back({*std::exchange(parsed_name_, {}), *std::exchange(secret_, {})});
  part_ = Part::name_length;
  filled_ = 0;
  if (batch_.size() == kBatchEntriesMax) return commit();
  return {};
}

Result<void> EntryImporter::commit() {
  if (batch_.empty()) return {};
  std::vector<engine::EntryEdit> edits;
  for (const Record& record : batch_) edits.push_back({record.name, &record.secret, std::nullopt});
  if (Result<void> done = keyring_.edit(domain_, edits, caller_); !done)
    return std::unexpected(
        with_context(std::move(done.error()),
                     fmt::format("records {} to {}", committed_ + 1, committed_ + batch_.size())));
  committed_ += batch_.size();
  committed_bytes_ += batch_bytes_;
  batch_.clear();
  batch_names_.clear();
  batch_bytes_ = 0;
  return {};
}

Result<void> EntryImporter::finish() {
  TRY(commit());
  if (part_ == Part::name_length && filled_ == 0) return {};
  return refuse("it is cut short");
}

// What came before the bad record is written first.
Result<void> EntryImporter::refuse(std::string_view what) {
  const std::uint64_t number = record_number();
  TRY(commit());
  return fail(ErrorCode::invalid_argument, fmt::format("record {}: {}", number, what));
}

}  // namespace keyward::daemon
