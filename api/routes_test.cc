#include "api/routes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "api/openapi.h"

namespace keyward::api {
namespace {

TEST(RoutesTest, NamesAndPathsAreEachUsedOnce) {
  std::set<std::string_view> names;
  std::set<std::pair<std::string_view, Method>> paths;
  for (const Route& route : routes()) {
    EXPECT_TRUE(names.insert(route.name).second) << route.name;
    EXPECT_TRUE(paths.insert({route.path, route.method}).second) << route.path;
  }
}

TEST(RoutesTest, EveryRouteIsFoundByItsOwnPath) {
  for (const Route& route : routes()) {
    std::string path(route.path);
    while (path.find('{') != std::string::npos)
      path.replace(path.find('{'), path.find('}') - path.find('{') + 1, "x");
    const auto match = match_route(path, route.method);
    ASSERT_TRUE(match) << path;
    EXPECT_EQ(match->route->name, route.name);
  }
}

TEST(RoutesTest, ParametersKeepTheirEncodingAndTheirColons) {
  const auto entry = match_route("/api/v1/domains/S3/entries/a%2Fb", Method::get);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->parameters, (std::vector<std::string_view>{"S3", "a%2Fb"}));
  const auto test = match_route("/api/v1/custodians/pkcs11:hsm1:test", Method::post);
  ASSERT_TRUE(test);
  EXPECT_EQ(test->route->name, "custodian.test");
  EXPECT_EQ(test->parameters, (std::vector<std::string_view>{"pkcs11:hsm1"}));
}

TEST(RoutesTest, ACustodianNamedTestIsRemovedAndNotTested) {
  const auto match = match_route("/api/v1/custodians/pkcs11:test", Method::remove);
  ASSERT_TRUE(match);
  EXPECT_EQ(match->route->name, "custodian.remove");
  EXPECT_EQ(match->parameters, (std::vector<std::string_view>{"pkcs11:test"}));
}

TEST(RoutesTest, WhatIsAlmostAPathIsNone) {
  for (const char* path :
       {"", "/", "/api/v1", "/api/v1/domains/", "/api/v1/domains//entries/x",
        "/api/v1/domains/S3/entries/", "/api/v1/domains/S3/entries/a/b", "/api/v1/custodians/:test",
        "/api/v1/domains/S3/entries/../x", "api/v1/version", "/api/v1/version/"})
    EXPECT_FALSE(match_route(path, Method::get) || match_route(path, Method::post)) << path;
}

TEST(RoutesTest, APathTellsItsMethods) {
  EXPECT_EQ(methods_of("/api/v1/domains/S3/entries/x"),
            (std::vector<Method>{Method::get, Method::put, Method::remove}));
  EXPECT_TRUE(methods_of("/api/v2/version").empty());
}

TEST(OpenapiTest, EveryStructThatARouteNamesIsDescribed) {
  const auto names = schema_names();
  const std::set<std::string_view> special{"", "secret", "records", "text", "html", "events"};
  for (const Route& route : routes())
    for (std::string_view name : {route.request, route.answer})
      EXPECT_TRUE(special.contains(name) ||
                  std::find(names.begin(), names.end(), name) != names.end())
          << route.name << " names " << name;
}

TEST(OpenapiTest, TheTextHasEveryRouteAndNeverASecretAsAField) {
  const std::string text = render_openapi();
  for (const Route& route : routes()) {
    EXPECT_NE(text.find("'" + std::string(route.path) + "':"), std::string::npos) << route.path;
    EXPECT_NE(text.find("operationId: " + std::string(route.name)), std::string::npos);
  }
  EXPECT_EQ(text.find("        secret:"), std::string::npos);
  EXPECT_NE(text.find("key_created: {type: [string, \"null\"], format: date-time}"),
            std::string::npos);
}

TEST(OpenapiTest, TheCommittedFileIsWhatTheTablesSay) {
  const std::filesystem::path file =
      std::filesystem::path(__FILE__).parent_path() / "../docs/openapi.yaml";
  std::ostringstream committed;
  committed << std::ifstream(file).rdbuf();
  EXPECT_EQ(committed.str(), render_openapi())
      << "Make it anew: keywardd --openapi > docs/openapi.yaml";
}

}  // namespace
}  // namespace keyward::api
