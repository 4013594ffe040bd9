// `keyward doctor`: what lies in the hardware or in the stores and does not fit together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/fields.h"

namespace keyward::api {

struct DoctorFinding {
  std::string kind{};       // "unknown_object", "missing_object", "unhealthy_custodian", ….
  std::string custodian{};  // Empty where none is concerned.
  std::string domain{};
  std::string key{};    // The master key's id; what doctor:remove takes.
  std::string store{};  // The keystore's own id, as the object names it.
  std::string where{};  // Where it lies in the hardware.
  std::string text{};
  std::string next_step{};

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("kind", &DoctorFinding::kind, "Finding");
    visit("custodian", &DoctorFinding::custodian, "Custodian");
    visit("domain", &DoctorFinding::domain, "Domain");
    visit("key", &DoctorFinding::key, "Key ID");
    visit("store", &DoctorFinding::store);
    visit("where", &DoctorFinding::where);
    visit("text", &DoctorFinding::text, "Text");
    visit("next_step", &DoctorFinding::next_step);
  }
};

// POST /api/v1/doctor:remove. A person names the object; nothing is ever removed by itself.
struct DoctorRemove {
  std::string custodian;
  std::string key;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("custodian", &DoctorRemove::custodian);
    visit("key", &DoctorRemove::key);
  }
};

}  // namespace keyward::api
