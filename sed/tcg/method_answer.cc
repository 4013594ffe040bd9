#include "sed/tcg/method_answer.h"

#include <algorithm>

#include "sed/tcg/token.h"

namespace keyward::sed::tcg {
namespace {

std::unexpected<Error> malformed(const char* what) {
  return fail(ErrorCode::protocol, std::string("the drive's answer is malformed: ") + what);
}

Result<Uid> parse_uid(TokenReader& reader) {
  const Value value = TRY(reader.value());
  const Bytes* content = value.as_bytes();
  Uid uid{};
  if (content == nullptr || content->size() != uid.size()) return malformed("a UID is missing");
  std::ranges::copy(*content, uid.begin());
  return uid;
}

Result<List> parse_list(TokenReader& reader) {
  Value value = TRY(reader.value());
  if (value.as_list() == nullptr) return malformed("a list is missing");
  return std::get<List>(std::move(value.data));
}

}  // namespace

Result<MethodAnswer> parse_method_answer(ByteView tokens) {
  TokenReader reader(tokens);
  MethodAnswer answer;
  if (reader.take(Control::call)) {
    TRY(parse_uid(reader));  // The session manager.
    answer.called = TRY(parse_uid(reader));
  }
  answer.results = TRY(parse_list(reader));
  if (!reader.take(Control::end_of_data)) return malformed("there is no status");
  const List status = TRY(parse_list(reader));
  // Two reserved numbers follow it.
  const std::uint64_t* code = status.empty() ? nullptr : status[0].as_number();
  if (code == nullptr) return malformed("its status is no number");
  if (!reader.at_end()) return malformed("something follows its status");
  answer.status = *code;
  return answer;
}

}  // namespace keyward::sed::tcg
