// What the tests of the SQLite back end share. For tests only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/audit_trail.h"

namespace keyward::store::sqlite_testing {

// A private directory that goes with the test: in memory where that can be, since the loops over
// every change of a file sync thousands of times.
class TestDirectory final {
 public:
  TestDirectory() {
    for (const std::filesystem::path base : {"/dev/shm", "/tmp"}) {
      std::string name = (base / "keyward-store-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr) continue;
      path_ = name;
      return;
    }
    ADD_FAILURE() << "no directory can be made for the test";
  }
  ~TestDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

MATCHER(Succeeds, "") {
  if (arg.has_value()) return true;
  *result_listener << arg.error().message;
  return false;
}

MATCHER_P(FailsWith, code, std::string("fails with ") + std::string(error_code_name(code))) {
  if (arg.has_value()) {
    *result_listener << "it succeeded";
    return false;
  }
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code;
}

MATCHER_P2(FailsNaming, code, text, "fails and names it") {
  if (arg.has_value()) return false;
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code && arg.error().message.find(text) != std::string::npos;
}

inline AuditRecord record_of(std::string action) {
  return {.action = std::move(action),
          .actor = "uid:0",
          .origin = "unix",
          .subject = "S3",
          .outcome = "ok",
          .detail = "{}"};
}

}  // namespace keyward::store::sqlite_testing
