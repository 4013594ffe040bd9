#include "sed/try_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/file.h"
#include "base/text.h"
#include "crypto/kdf.h"

namespace keyward::sed {
namespace {

constexpr std::uint32_t kTriesKept = 2;
constexpr std::uint32_t kTriesWithUnknownLimit = 2;
constexpr std::size_t kFileBytesMax = 1 << 16;
constexpr std::string_view kNone = "-";

using Records = std::map<std::string, TryRecord, std::less<>>;

std::unexpected<Error> damaged(const std::string& path) {
  return fail(ErrorCode::corrupt,
              fmt::format("try ledger {}: it is damaged, so no PIN is sent; after you have made "
                          "sure how many tries the drive has left, remove the file",
                          path));
}

std::string to_line(const std::string& authority, const TryRecord& record) {
  return fmt::format("{}\t{}\t{}\t{}\t{}\n", authority, record.spent,
                     record.limit ? fmt::to_string(*record.limit) : std::string(kNone),
                     record.locked_out ? 1 : 0,
                     record.intent ? to_hex(*record.intent) : std::string(kNone));
}

std::optional<std::uint32_t> to_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string_view next_field(std::string_view& line) {
  const std::size_t end = line.find('\t');
  const std::string_view field = line.substr(0, end);
  line = end == std::string_view::npos ? std::string_view{} : line.substr(end + 1);
  return field;
}

bool parse_line(std::string_view line, Records& records) {
  const std::string authority(next_field(line));
  TryRecord record;
  const auto spent = to_number(next_field(line));
  const std::string_view limit = next_field(line);
  const auto locked_out = to_number(next_field(line));
  const std::string_view intent = next_field(line);
  if (authority.empty() || !spent || !locked_out || *locked_out > 1 || !line.empty()) return false;
  record.spent = *spent;
  record.locked_out = *locked_out == 1;
  if (limit != kNone && !(record.limit = to_number(limit))) return false;
  if (intent != kNone) {
    const Result<Bytes> tag = from_hex(intent);
    if (!tag || tag->size() != PinTag{}.size()) return false;
    std::ranges::copy(*tag, record.intent.emplace().begin());
  }
  return records.emplace(authority, record).second;
}

// Lines, and a digest of them as the last one.
Result<Records> read_records(const std::string& path) {
  const Result<Bytes> content = read_file(path, kFileBytesMax);
  if (!content && content.error().code == ErrorCode::not_found) return Records{};
  if (!content) return std::unexpected(content.error());
  std::string_view text(reinterpret_cast<const char*>(content->data()), content->size());
  constexpr std::size_t kDigestLine = 65;
  const std::size_t body = text.size() < kDigestLine ? 0 : text.size() - kDigestLine;
  const auto digest = crypto::sha256(as_bytes(text.substr(0, body)));
  if (text.substr(body) != to_hex(digest) + "\n") return damaged(path);
  text = text.substr(0, body);
  Records records;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos || !parse_line(text.substr(0, end), records))
      return damaged(path);
    text = text.substr(end + 1);
  }
  return records;
}

Result<void> write_records(const std::string& path, const Records& records) {
  std::string text;
  for (const auto& [authority, record] : records) text += to_line(authority, record);
  text += to_hex(crypto::sha256(as_bytes(text))) + "\n";
  return write_file_durably(path, as_bytes(text));
}

// How many are ever sent. `limit` is not 0.
std::uint32_t most_tries(std::optional<std::uint32_t> limit) {
  if (!limit) return kTriesWithUnknownLimit;
  return *limit > kTriesKept ? *limit - kTriesKept : 1;
}

// The drive said no before it looked at the PIN.
bool was_not_looked_at(ErrorCode code) {
  return code == ErrorCode::busy || code == ErrorCode::invalid_argument;
}

}  // namespace

std::optional<std::uint32_t> TryRecord::tries_left() const {
  if (locked_out) return 0;
  if (limit == 0) return std::nullopt;
  const std::uint32_t most = most_tries(limit);
  return spent < most ? most - spent : 0;
}

TryRecord TryRecord::forgiven() const {
  TryRecord record = *this;
  record.locked_out = false;
  if (limit != 0) record.spent = std::min(spent, most_tries(limit) - 1);
  return record;
}

std::string FileTryLedger::path_of(const std::string& drive) const {
  return directory_ + "/" + drive + ".tries";
}

Result<TryRecord> FileTryLedger::load(const std::string& drive, std::string_view authority) {
  const std::lock_guard lock(mutex_);
  const Records records = TRY(read_records(path_of(drive)));
  const auto found = records.find(authority);
  return found == records.end() ? TryRecord{} : found->second;
}

Result<void> FileTryLedger::store(const std::string& drive, std::string_view authority,
                                  const TryRecord& record) {
  const std::lock_guard lock(mutex_);
  Records records = TRY(read_records(path_of(drive)));
  records.insert_or_assign(std::string(authority), record);
  return write_records(path_of(drive), records);
}

Result<void> FileTryLedger::forget(const std::string& drive) {
  const std::lock_guard lock(mutex_);
  return write_records(path_of(drive), {});
}

Result<void> FileTryLedger::forgive(const std::string& drive) {
  const std::lock_guard lock(mutex_);
  Records records = TRY(read_records(path_of(drive)));
  for (auto& [authority, record] : records) record = record.forgiven();
  return write_records(path_of(drive), records);
}

std::string drive_key(const DriveIdentity& identity) {
  if (!identity.wwn.empty()) return identity.wwn;
  return to_hex(as_bytes(identity.model + "/" + identity.serial));
}

Result<void> TryGate::attempt(std::string_view authority, const std::function<Result<void>()>& send,
                              const std::function<Result<void>()>& is_there) {
  const TryRecord before = TRY(ledger_.load(drive_, authority));
  if (before.tries_left() == 0)
    return fail(ErrorCode::locked_out,
                fmt::format("{}: no PIN is sent, since {}; power-cycle the drive, make sure of the "
                            "PIN, and order a verify",
                            authority,
                            before.locked_out
                                ? std::string("the drive said that it has no tries left")
                                : fmt::format("{} tries may be spent already", before.spent)));
  if (before.spent > 0) TRY(is_there());
  TryRecord after = before;
  ++after.spent;
  TRY(ledger_.store(drive_, authority, after));
  Result<void> sent = send();
  if (sent) {
    after.spent = 0;
  } else if (sent.error().code == ErrorCode::locked_out) {
    after.locked_out = true;
  } else if (was_not_looked_at(sent.error().code)) {
    after.spent = before.spent;
  } else {
    return sent;
  }
  TRY(ledger_.store(drive_, authority, after));
  return sent;
}

Result<void> TryGate::note_limit(std::string_view authority, std::uint32_t limit) {
  TryRecord record = TRY(ledger_.load(drive_, authority));
  if (record.limit == limit) return {};
  record.limit = limit;
  return ledger_.store(drive_, authority, record);
}

Result<void> TryGate::renew(std::string_view authority) {
  TryRecord record = TRY(ledger_.load(drive_, authority));
  if (record.spent == 0 && !record.locked_out && !record.intent) return {};
  return ledger_.store(drive_, authority, {.limit = record.limit});
}

Result<void> TryGate::note_intent(std::string_view authority, const PinTag& tag) {
  TryRecord record = TRY(ledger_.load(drive_, authority));
  record.intent = tag;
  return ledger_.store(drive_, authority, record);
}

Result<bool> TryGate::intends(std::string_view authority, const PinTag& tag) {
  const TryRecord record = TRY(ledger_.load(drive_, authority));
  return record.intent == tag;
}

}  // namespace keyward::sed
