// What the key table's transitions and its check share. Inside these two sources only.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "store/key_table.h"

namespace keyward::store::detail {

std::string_view state_name(KeyState state);
std::string_view phase_name(RekeyPhase phase);

template <typename T>
bool contains(const std::vector<T>& list, const T& value) {
  return std::ranges::find(list, value) != list.end();
}

template <std::size_t N>
bool all_zero(const std::array<std::byte, N>& bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// Entries may be under it.
inline bool is_live(const KeyRow& row) {
  return row.state == KeyState::pending || row.state == KeyState::current;
}

// At least one custodian is wanted, and none twice.
Result<void> check_wanted(const KeyTable& table);

}  // namespace keyward::store::detail
