#include "tests/model/promises.h"

#include <algorithm>

namespace keyward::model {
namespace {

using store::KeyRow;
using store::KeyState;
using store::RekeyPhase;

bool is_live(const KeyRow& row) {
  return row.state == KeyState::pending || row.state == KeyState::current;
}

const testing::MemoryHardware& hardware_of(const World& world, const CustodianId& custodian) {
  return world.hardware[custodian == kCustodians[0] ? 0 : 1];
}

bool copy_opens(const World& world, const KeyRow& row, const SealedKey& copy) {
  return testing::opens(hardware_of(world, copy.custodian), copy, world.table().context(row.id));
}

// 'c' for the current key, 'o' for the other one, '?' for one that the table does not have.
char part_of(const World& world, const KeyId& key) {
  if (world.table().find(key) == nullptr) return '?';
  return key == world.table().current().id ? 'c' : 'o';
}

char digit(std::size_t number) { return static_cast<char>('0' + number); }

void add_row(const World& world, const KeyRow& row, std::string& name) {
  name += part_of(world, row.id);
  name += digit(static_cast<std::size_t>(row.state));
  name += row.commitment == KeyCommitment{} ? '-' : '+';
  for (const CustodianId& custodian : kCustodians) {
    const auto holds = [&](const auto& list) {
      return std::ranges::find(list, custodian) != list.end();
    };
    const SealedKey* copy = row.copy_of(custodian);
    name += holds(row.holders) ? 'h' : '.';
    name += holds(row.except) ? 'e' : '.';
    name += copy == nullptr ? '.' : copy_opens(world, row, *copy) ? 'k' : 'x';
    const auto& objects = hardware_of(world, custodian).objects;
    const auto object = objects.find(world.table().context(row.id));
    name += object == objects.end() ? '.' : object->second.confirmed ? 'C' : 'O';
  }
  const auto held = world.held.find(row.id);
  const bool is_right = held != world.held.end() && !row.copies.empty() &&
                        held->second == testing::count_in(row.copies.front());
  name += held == world.held.end() ? '.' : is_right ? 'm' : 'w';
}

void add_image(const World& world, const testing::StoreImage& image, std::string& name) {
  for (const auto& [entry_name, entry] : image.entries) name += part_of(world, entry.key);
  name += image.cursor ? image.cursor->text().back() : '-';
  name += digit(image.rekey_entries);
  for (const char part : {'c', 'o'})  // Not in the order of the ids, which are random.
    for (const KeyId& key : image.stale)
      if (part_of(world, key) == part) name += part;
  name += '/';
}

// Whether the history has the rekey that is under way: not, begun, or finished.
char history_of(const World& world, const JobId& job) {
  for (const auto& [name, document] : world.disk.documents) {
    if (!name.ends_with(job.to_text())) continue;
    return document.json.find("\"finished\":\"") == std::string::npos ? 'b' : 'f';
  }
  return '-';
}

std::string check_entries(const World& world) {
  for (const auto& [name, entry] : world.store().entries) {
    const KeyRow* row = world.table().find(entry.key);
    if (row == nullptr) return "an entry under a key that is forgotten";
    if (!is_live(*row)) return "an entry under a key on its way out";
    if (!entry_opens(*row, name, entry)) return "an entry that does not open under its key";
  }
  return {};
}

std::string check_hardware(const World& world) {
  for (const CustodianId& custodian : kCustodians) {
    const auto& hardware = hardware_of(world, custodian);
    for (const auto& [context, object] : hardware.objects) {
      if (context == hardware.doomed) continue;
      const KeyRow* row = world.table().find(context.key);
      if (row == nullptr) return "an object was left in the hardware";
      if (std::ranges::find(row->holders, custodian) == row->holders.end())
        return "an object in the hardware that no intent names";
    }
  }
  for (const KeyRow& row : world.table().keys)
    for (const SealedKey& copy : row.copies)
      if (is_live(row) && !copy_opens(world, row, copy)) return "a copy of a live key is gone";
  return {};
}

bool all_confirmed(const World& world, const KeyRow& row) {
  return std::ranges::all_of(row.copies, [&](const SealedKey& copy) {
    const auto& objects = hardware_of(world, copy.custodian).objects;
    const auto object = objects.find(world.table().context(row.id));
    return object != objects.end() && object->second.confirmed;
  });
}

std::string check_batches(const World& world) {
  const auto& rekey = world.table().rekey;
  const bool is_moved =
      rekey && rekey->phase == RekeyPhase::reencrypt && world.store().cursor.has_value();
  if (!is_moved || all_confirmed(world, *world.table().find(rekey->to))) return {};
  return "entries are moved to a key that the hardware may destroy";
}

std::string check_held(const World& world) {
  if (!world.is_up) return {};
  for (const auto& [key, count] : world.held)
    if (world.table().find(key) == nullptr) return "a forgotten key is still open in memory";
  for (const KeyRow& row : world.table().keys) {
    if (!is_live(row)) continue;
    const auto held = world.held.find(row.id);
    if (held == world.held.end()) return "a key in use is not open";
    if (held->second != testing::count_in(row.copies.front()))
      return "another key is open than the one whose copies are stored";
  }
  return {};
}

}  // namespace

std::string name_of(const World& world) {
  std::string name(1, world.is_up ? 'u' : 'd');
  const store::KeyTable& table = world.table();
  add_row(world, table.current(), name);
  for (const KeyRow& row : table.keys)
    if (row.id != table.current().id) add_row(world, row, name);
  for (const auto& hardware : world.hardware) name += hardware.doomed ? 'D' : '.';
  for (const WantedCustodian& wanted : table.wanted) name += wanted.id.text.back();
  if (const auto& rekey = table.rekey) {
    name += part_of(world, rekey->to);
    name += digit(static_cast<std::size_t>(rekey->phase));
    name += rekey->paused ? 'p' : '.';
    name += rekey->cancelled ? 'c' : '.';
    name += digit(rekey->without.size());
    name += history_of(world, rekey->job);
  }
  const testing::StoredStore& stored = world.disk.stores.at(the_domain());
  add_image(world, stored.now, name);
  if (stored.durable) {
    add_image(world, *stored.durable, name);
    if (stored.durable->table.generation != table.generation) name += 't';
  }
  return name;
}

std::string broken_promise(const World& world) {
  if (!world.broken.empty()) return world.broken;
  if (const auto checked = world.table().check(); !checked) return checked.error().message;
  for (const auto check : {check_entries, check_hardware, check_batches, check_held})
    if (std::string broken = check(world); !broken.empty()) return broken;
  return {};
}

std::string broken_by_change(const World& before, const World& next) {
  const KeyRow& row = next.table().current();
  if (before.table().rekey && !next.table().rekey) {
    const store::RekeyRow& ended = *before.table().rekey;
    if (history_of(next, ended.job) != 'f') return "a rekey is gone that the history does not know";
    if (row.id == ended.to && !ended.cancelled && !all_confirmed(next, row))
      return "the hardware may destroy the current key";
  }
  if (!next.is_at_rest()) return {};
  for (const CustodianId& custodian : kCustodians) {
    const bool is_wanted = next.table().find_wanted(custodian) != nullptr;
    if (is_wanted != (row.copy_of(custodian) != nullptr)) return "a copy is not where it is wanted";
    if (is_wanted == hardware_of(next, custodian).objects.empty())
      return "the hardware holds what it should not, or not what it should";
  }
  return {};
}

std::string broken_by_start(const World& started) {
  for (const KeyRow& row : started.table().keys)
    if (is_live(row) && !all_confirmed(started, row))
      return "the hardware was not told at the start which keys are in use";
  return {};
}

}  // namespace keyward::model
