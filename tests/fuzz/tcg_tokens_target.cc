#include <algorithm>

#include "base/check.h"
#include "base/text.h"
#include "sed/tcg/method_answer.h"
#include "sed/tcg/method_status.h"
#include "sed/tcg/properties.h"
#include "sed/tcg/token.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace sed::tcg;

void check_refusal(const Error& error) {
  CHECK(error.code == ErrorCode::protocol, "a malformed answer is a protocol error");
  CHECK(is_printable_utf8(error.message), "a text for no terminal");
}

Bytes written(const Value& value) {
  TokenWriter writer;
  writer.value(value);
  Bytes out(writer.size());
  writer.copy_to(out);
  return out;
}

void check_round_trip(const Value& value, std::size_t size) {
  const Bytes stream = written(value);
  CHECK(stream.size() <= size, "the shortest form is longer than what was read");
  TokenReader reader(stream);
  const Result<Value> again = reader.value();
  CHECK(again && reader.at_end(), "what was written does not read back");
  CHECK(*again == value, "what was written reads back as another value");
}

void check_values(ByteView input) {
  TokenReader reader(input);
  while (!reader.at_end()) {
    const Result<Value> value = reader.value();
    if (!value) return check_refusal(value.error());
    check_round_trip(*value, input.size());
  }
}

void check_answer(ByteView input) {
  const Result<MethodAnswer> answer = parse_method_answer(input);
  if (!answer) return check_refusal(answer.error());
  const Error error = method_error(answer->status, "fuzz");
  CHECK(error.native == answer->status, "an error of another status");
  for (const Dialect dialect : {Dialect::opal, Dialect::enterprise}) {
    if (const auto row = Words(dialect).row({}, answer->results); !row) check_refusal(row.error());
  }
}

void check_properties(ByteView input) {
  for (const Dialect dialect : {Dialect::opal, Dialect::enterprise}) {
    const auto told = parse_properties(dialect, input);
    if (!told) continue;
    CHECK(Properties::parse(told->tper.render()) == told->tper, "properties read back as others");
    CHECK(told->host_com_packet_bytes_max >= 512, "packets too small for any answer");
    CHECK(told->host_com_packet_bytes_max <= kComPacketBytesMax, "packets larger than we take");
  }
}

}  // namespace

void fuzz_tcg_tokens(ByteView input) {
  check_values(input);
  check_answer(input);
  check_properties(input);
  if (const auto known = Properties::parse(input))
    CHECK(std::ranges::equal(known->render(), input), "properties are written as other bytes");
}

}  // namespace keyward::fuzz
