#include "daemon/message.h"

#include "api/error_table.h"
#include "api/problem.h"

namespace keyward::daemon {

Response problem_response(const Error& error, unsigned status) {
  Response response{.status = status,
                    .content_type = "application/problem+json",
                    .body = api::to_json(api::make_problem(error, status))};
  if (status == 503) response.extra_headers = "Retry-After: 1\r\n";
  return response;
}

Response problem_response(const Error& error) {
  return problem_response(error, api::http_status(error.code));
}

}  // namespace keyward::daemon
