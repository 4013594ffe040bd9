// GET /api/v1/version: what runs, and since when.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

inline constexpr std::string_view kProductVersion = "0.1.0";

struct Version {
  std::string product;  // "keyward".
  std::string version;
  std::uint64_t api = 1;
  std::string aead_engine;  // "ipsec-mb/vaes512", "openssl".
  UtcTime started{};
  std::uint64_t pid = 0;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("product", &Version::product);
    visit("version", &Version::version);
    visit("api", &Version::api);
    visit("aead_engine", &Version::aead_engine);
    visit("started", &Version::started);
    visit("pid", &Version::pid);
  }
};

}  // namespace keyward::api
