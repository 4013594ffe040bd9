#include "api/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.h"

namespace keyward::api {
namespace {

// Builds the tree while nlohmann's parser reads; answering false ends the parse.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return add(Json{}); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(number_integer_t value) override {
    return add(Json(static_cast<double>(value)));
  }
  bool number_unsigned(number_unsigned_t value) override { return add(Json(std::uint64_t{value})); }
  bool number_float(number_float_t value, const string_t&) override {
    if (!std::isfinite(value)) return refuse("a number is too large");
    return add(Json(value));
  }
  bool string(string_t& value) override { return add(Json(std::move(value))); }
  bool binary(binary_t&) override { return refuse("binary data is no JSON"); }
  bool start_object(std::size_t) override { return open(Json(Json::Object{})); }
  bool start_array(std::size_t) override { return open(Json(Json::List{})); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    auto& members = open_.back().object;
    const bool twice = std::any_of(members.begin(), members.end(),
                                   [&](const JsonMember& member) { return member.name == name; });
    if (twice) return refuse(fmt::format("the member \"{}\" stands there twice", printable(name)));
    members.push_back({std::move(name), Json{}});
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text quotes its input and its own error numbers; the place is what helps.
    static_cast<void>(error);
    return refuse(fmt::format("it breaks at byte {}", position));
  }

  Result<Json> finish(bool parsed) {
    if (!parsed || !error_.empty())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("The body is no valid JSON: {}.",
                              error_.empty() ? "it ends too early" : error_));
    return std::move(root_);
  }

 private:
  bool refuse(std::string why) {
    if (error_.empty()) error_ = std::move(why);
    return false;
  }

  bool open(Json container) {
    if (open_.size() == kJsonDepthMax)
      return refuse(fmt::format("it is nested deeper than {} levels", kJsonDepthMax));
    open_.push_back(std::move(container));
    return true;
  }

  bool close() {
    Json done = std::move(open_.back());
    open_.pop_back();
    return add(std::move(done));
  }

  bool add(Json value) {
    if (open_.empty())
      root_ = std::move(value);
    else if (open_.back().kind == Json::Kind::list)
      open_.back().list.push_back(std::move(value));
    else
      open_.back().object.back().value = std::move(value);
    return true;
  }

  std::vector<Json> open_;
  Json root_;
  std::string error_;
};

std::string dump_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append(std::string& out, const Json& json);

void append_list(std::string& out, const Json::List& list) {
  out += '[';
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i > 0) out += ',';
    append(out, list[i]);
  }
  out += ']';
}

void append_object(std::string& out, const Json::Object& object) {
  out += '{';
  for (std::size_t i = 0; i < object.size(); ++i) {
    if (i > 0) out += ',';
    out += dump_text(object[i].name);
    out += ':';
    append(out, object[i].value);
  }
  out += '}';
}

void append(std::string& out, const Json& json) {
  switch (json.kind) {
    case Json::Kind::null:
      out += "null";
      break;
    case Json::Kind::boolean:
      out += json.boolean ? "true" : "false";
      break;
    case Json::Kind::whole:
      out += fmt::to_string(json.whole);
      break;
    case Json::Kind::number:
      out += nlohmann::json(json.number).dump();
      break;
    case Json::Kind::text:
      out += dump_text(json.text);
      break;
    case Json::Kind::list:
      append_list(out, json.list);
      break;
    case Json::Kind::object:
      append_object(out, json.object);
      break;
  }
}

}  // namespace

Json::Json() = default;
Json::Json(bool value) : kind(Kind::boolean), boolean(value) {}
Json::Json(std::uint64_t value) : kind(Kind::whole), whole(value) {}
Json::Json(double value) : kind(Kind::number), number(value) {}
Json::Json(std::string value) : kind(Kind::text), text(std::move(value)) {}
Json::Json(List value) : kind(Kind::list), list(std::move(value)) {}
Json::Json(Object value) : kind(Kind::object), object(std::move(value)) {}
Json::Json(const Json&) = default;
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(const Json&) = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

Result<Json> parse_json(std::string_view text) {
  TreeBuilder builder;
  const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.finish(parsed);
}

std::string dump_json(const Json& json) {
  std::string out;
  append(out, json);
  return out;
}

std::string_view json_kind(const Json& json) {
  constexpr std::string_view kKinds[] = {"null", "true or false", "a whole number", "a number",
                                         "text", "a list",        "an object"};
  return kKinds[static_cast<std::size_t>(json.kind)];
}

}  // namespace keyward::api
