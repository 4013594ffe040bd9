#include "sed/emulator/drive_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/os_random.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "sed/emulator/single_user.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::string_view kMagic = "keyward emulated drive";
constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kFileBytesMax = 64u << 20;
constexpr std::size_t kDigestBytes = 32;

Bytes pin_or_random(const std::string& chosen) {
  if (!chosen.empty()) {
    const ByteView view = as_bytes(chosen);
    return {view.begin(), view.end()};
  }
  static constexpr std::string_view kAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
  Bytes pin(32);
  os_random_fill(pin);
  for (std::byte& byte : pin)
    byte = static_cast<std::byte>(kAlphabet[std::to_integer<unsigned>(byte) % kAlphabet.size()]);
  return pin;
}

// In this order in the file; load and save share the list.
std::array<std::uint64_t, 14> numbers_of(const EmulatedDriveOptions& options) {
  return {static_cast<std::uint64_t>(options.family),
          static_cast<std::uint64_t>(options.bus),
          options.sectors,
          options.sector_bytes,
          options.ranges,
          options.admins,
          options.users,
          options.alignment_sectors,
          options.data_store_bytes,
          options.shadow_mbr_bytes,
          options.try_limit,
          options.tries_persist ? 1u : 0u,
          options.max_com_packet,
          std::uint64_t{options.max_sessions} << 32 | options.max_authentications};
}

void set_numbers(EmulatedDriveOptions& options, const std::vector<Value>& values) {
  const auto small = [&](std::size_t n) { return static_cast<std::uint32_t>(values[n].number); };
  options.family = static_cast<Family>(values[0].number);
  options.bus = static_cast<Bus>(values[1].number);
  options.sectors = values[2].number;
  options.sector_bytes = small(3);
  options.ranges = small(4);
  options.admins = small(5);
  options.users = small(6);
  options.alignment_sectors = small(7);
  options.data_store_bytes = values[8].number;
  options.shadow_mbr_bytes = values[9].number;
  options.try_limit = small(10);
  options.tries_persist = values[11].number != 0;
  options.max_com_packet = small(12);
  options.max_sessions = static_cast<std::uint32_t>(values[13].number >> 32);
  options.max_authentications = small(13);
}

Value options_value(const EmulatedDriveOptions& options) {
  Value numbers = list({});
  for (const std::uint64_t n : numbers_of(options)) numbers.items.push_back(number(n));
  const DriveIdentity& identity = options.identity;
  return list({std::move(numbers), text(identity.wwn), text(identity.serial), text(identity.model),
               text(identity.firmware)});
}

Value sp_value(const Sp& sp) {
  Value rows = list({});
  for (const auto& [uid, row] : sp.rows) {
    Value cells = list({});
    for (const auto& [column, cell] : row) cells.items.push_back(named(column, cell));
    rows.items.push_back(named(uid_value(uid), std::move(cells)));
  }
  Value keys = list({});
  for (const auto& [uid, key] : sp.media_keys)
    keys.items.push_back(named(uid_value(uid), bytes(key)));
  return list({std::move(rows), std::move(keys)});
}

Value ata_value(const AtaSecurityState& ata) {
  return list({number(ata.enabled ? 1 : 0), number(ata.maximum ? 1 : 0), bytes(ata.user_password),
               bytes(ata.master_password), number(ata.master_id)});
}

Value writes_value(const std::vector<TableWrite>& writes) {
  Value all = list({});
  for (const TableWrite& write : writes)
    all.items.push_back(list({uid_value(write.table), number(write.offset), bytes(write.data)}));
  return all;
}

std::unexpected<Error> corrupt(std::string_view part) {
  return fail(ErrorCode::corrupt,
              fmt::format("the emulated drive's state file is damaged: {}", part));
}

std::string text_of(const Value& value) {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

bool is_list_of(const Value& value, std::size_t size) {
  return value.is_list() && value.items.size() == size;
}

Result<void> read_options(const Value& value, EmulatedDriveOptions& options) {
  if (!is_list_of(value, 5) || !is_list_of(value.items[0], numbers_of(options).size()))
    return corrupt("options");
  set_numbers(options, value.items[0].items);
  options.identity = {text_of(value.items[1]), text_of(value.items[2]), text_of(value.items[3]),
                      text_of(value.items[4])};
  return {};
}

// Into an SP that already has its access control list.
Result<void> read_sp(const Value& value, Sp& sp) {
  if (!is_list_of(value, 2)) return corrupt("an SP");
  sp.rows.clear();
  sp.media_keys.clear();
  for (const Value& item : value.items[0].items) {
    if (!item.is_named() || !item.name().uid()) return corrupt("a table's row");
    Row& row = sp.rows[*item.name().uid()];
    for (const Value& cell : item.value().items) {
      if (!cell.is_named()) return corrupt("a table's cell");
      row[static_cast<std::uint32_t>(cell.name().number)] = cell.value();
    }
  }
  for (const Value& item : value.items[1].items) {
    if (!item.is_named() || !item.name().uid() || item.value().bytes.size() != 64)
      return corrupt("a media key");
    sp.media_keys[*item.name().uid()] = item.value().bytes;
  }
  return {};
}

Result<void> read_ata(const Value& value, AtaSecurityState& ata) {
  if (!is_list_of(value, 5)) return corrupt("ATA Security");
  ata = {.enabled = value.items[0].number != 0,
         .maximum = value.items[1].number != 0,
         .user_password = value.items[2].bytes,
         .master_password = value.items[3].bytes,
         .master_id = static_cast<std::uint16_t>(value.items[4].number)};
  return {};
}

Result<void> read_writes(const Value& value, std::vector<TableWrite>& writes) {
  writes.clear();
  for (const Value& item : value.items) {
    if (!is_list_of(item, 3) || !item.items[0].uid()) return corrupt("a table's pending write");
    writes.push_back({*item.items[0].uid(), item.items[1].number, item.items[2].bytes});
  }
  return {};
}

// The content without its digest; an error when they do not agree.
Result<Value> checked_content(const std::string& path) {
  const Bytes file = TRY(read_file(path, kFileBytesMax));
  if (file.size() < kDigestBytes) return corrupt("too short");
  const ByteView content = ByteView(file).first(file.size() - kDigestBytes);
  if (!std::ranges::equal(crypto::sha256(content), ByteView(file).last(kDigestBytes)))
    return corrupt("its digest");
  TokenReader reader(content);
  std::optional<Value> all = reader.value();
  if (!all || !reader.at_end() || !is_list_of(*all, 8) || !all->items[0].is_text(kMagic))
    return corrupt("it is none");
  if (all->items[1].number != kVersion)
    return fail(ErrorCode::unsupported,
                fmt::format("the emulated drive's state file has format {}, this program knows {}",
                            all->items[1].number, kVersion));
  return std::move(*all);
}

}  // namespace

DriveState new_state(const EmulatedDriveOptions& options) {
  DriveState state;
  state.pins.msid = pin_or_random(options.msid);
  state.pins.psid = pin_or_random(options.psid);
  state.pins.sid = options.sid_is_msid ? state.pins.msid : pin_or_random("");
  state.admin = make_admin_sp(options, state.pins);
  state.locking = make_locking_sp(options, state.pins);
  return state;
}

Result<void> save_state(const std::string& path, const EmulatedDriveOptions& options,
                        const DriveState& state) {
  const Value all =
      list({text(kMagic), number(kVersion), options_value(options),
            list({bytes(state.pins.msid), bytes(state.pins.psid), bytes(state.pins.sid)}),
            sp_value(state.admin), sp_value(state.locking), ata_value(state.ata),
            writes_value(state.table_writes)});
  Bytes content;
  append_tokens(all, content);
  const auto digest = crypto::sha256(content);
  content.insert(content.end(), digest.begin(), digest.end());
  return write_file_durably(path, content);
}

Result<void> load_state(const std::string& path, EmulatedDriveOptions& options, DriveState& state) {
  const Value all = TRY(checked_content(path));
  TRY(read_options(all.items[2], options));
  if (!is_list_of(all.items[3], 3)) return corrupt("the factory PINs");
  const std::vector<Value>& pins = all.items[3].items;
  state.pins = {pins[0].bytes, pins[1].bytes, pins[2].bytes};
  options.sid_is_msid = state.pins.sid == state.pins.msid;
  state.admin = make_admin_sp(options, state.pins);
  state.locking = make_locking_sp(options, state.pins);
  TRY(read_sp(all.items[4], state.admin));
  TRY(read_sp(all.items[5], state.locking));
  SingleUserMode::restore(state.locking, options);
  TRY(read_ata(all.items[6], state.ata));
  return read_writes(all.items[7], state.table_writes);
}

}  // namespace keyward::sed::emulator
