// The body of every error answer: application/problem+json (RFC 9457).
//
//   Problem problem = make_problem(error);
//   client: exit with exit_code(problem.code), print problem.detail
#pragma once

#include <cstdint>
#include <string>

#include "api/fields.h"
#include "base/result.h"

namespace keyward::api {

struct Problem {
  std::string type;   // "urn:keyward:problem:not_found".
  std::string title;  // The same for all problems of this type.
  std::uint64_t status = 0;
  std::string detail;  // What happened, what it means, and what to do next.
  std::string code;    // The ErrorCode's name.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("type", &Problem::type);
    visit("title", &Problem::title);
    visit("status", &Problem::status);
    visit("detail", &Problem::detail);
    visit("code", &Problem::code);
  }
};

Problem make_problem(const Error& error);
// With another HTTP status than the table's: 413, 411, 405, 408.
Problem make_problem(const Error& error, unsigned status);
// What a client makes of an answer; the code is `protocol` when it names none that is known.
Error to_error(const Problem& problem);

}  // namespace keyward::api
