#include "engine/caller.h"

#include <utility>

namespace keyward::engine {

store::AuditRecord audit_record(const Caller& caller, std::string_view action,
                                std::string_view subject) {
  return audit_record(caller, action, subject, api::Json::Object{});
}

store::AuditRecord audit_record(const Caller& caller, std::string_view action,
                                std::string_view subject, api::Json::Object detail) {
  return {.action = std::string(action),
          .actor = caller.actor,
          .origin = caller.origin,
          .subject = std::string(subject),
          .outcome = "ok",
          .detail = api::dump_json(api::Json(std::move(detail)))};
}

}  // namespace keyward::engine
