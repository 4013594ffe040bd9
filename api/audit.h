// `keyward audit list` and `keyward audit verify`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

struct AuditRow {
  UtcTime time{};
  std::string trail;           // "control", or the domain whose keystore keeps it.
  std::uint64_t sequence = 0;  // From 1, without gaps, in the chain of its database.
  std::string action;          // "entry.put": a route's or a job's name.
  std::string actor;           // "uid:0", "scheduler".
  std::string origin;          // "unix", "daemon".
  std::string subject;
  std::string outcome;  // "ok", or an ErrorCode's name.
  std::string detail;   // JSON text.
  std::string chain;    // The link's SHA-256, hexadecimal.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("time", &AuditRow::time, "Time");
    visit("trail", &AuditRow::trail, "Trail");
    visit("sequence", &AuditRow::sequence, "Seq");
    visit("action", &AuditRow::action, "Action");
    visit("actor", &AuditRow::actor, "Actor");
    visit("origin", &AuditRow::origin);
    visit("subject", &AuditRow::subject, "Subject");
    visit("outcome", &AuditRow::outcome, "Outcome");
    visit("detail", &AuditRow::detail);
    visit("chain", &AuditRow::chain);
  }
};

struct AuditVerdict {
  bool intact = false;
  std::uint64_t records = 0;
  std::uint64_t trails = 0;
  std::uint64_t checkpoints = 0;
  std::vector<std::string> notes;  // What could not be looked at, and why.
  // Empty when all is well; else each names the chain, the sequence and what is wrong.
  std::vector<std::string> defects;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("intact", &AuditVerdict::intact);
    visit("records", &AuditVerdict::records);
    visit("trails", &AuditVerdict::trails);
    visit("checkpoints", &AuditVerdict::checkpoints);
    visit("notes", &AuditVerdict::notes);
    visit("defects", &AuditVerdict::defects);
  }
};

}  // namespace keyward::api
