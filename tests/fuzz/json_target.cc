#include "api/custodian_row.h"
#include "api/doctor.h"
#include "api/domain_status.h"
#include "api/event.h"
#include "api/json.h"
#include "api/problem.h"
#include "api/rekey_requests.h"
#include "api/rekey_status.h"
#include "base/check.h"
#include "base/text.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

template <typename Body>
void check_body(std::string_view text) {
  const Result<Body> body = api::from_json<Body>(text);
  if (!body) {
    CHECK(body.error().code == ErrorCode::invalid_argument, "a bad body is invalid_argument");
    CHECK(is_printable_utf8(body.error().message), "a text for no terminal");
    return;
  }
  const std::string written = api::to_json(*body);
  const Result<Body> again = api::from_json<Body>(written);
  CHECK(again && api::to_json(*again) == written, "a body reads back as another");
}

template <typename... Bodies>
void check_bodies(std::string_view text) {
  (check_body<Bodies>(text), ...);
}

}  // namespace

void fuzz_json(ByteView input) {
  const std::string_view text = text_of(input);
  if (const Result<api::Json> json = api::parse_json(text)) {
    const std::string written = api::dump_json(*json);
    const Result<api::Json> again = api::parse_json(written);
    CHECK(again && api::dump_json(*again) == written, "JSON reads back as another");
  }
  check_bodies<api::RekeyStart, api::RekeySelection, api::RekeySchedule, api::RekeyScheduleChange,
               api::RekeyLimit, api::RekeyStatus, api::CustodianAdd, api::CustodianRow,
               api::DomainCreate, api::DomainStatus, api::DoctorFinding, api::DoctorRemove,
               api::Event, api::Problem>(text);
}

}  // namespace keyward::fuzz
