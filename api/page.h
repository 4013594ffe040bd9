// A list in JSON: {"items": […], "next": "…"}. `next` goes into ?after= for the next page; absent
// on the last.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"

namespace keyward::api {

template <typename T>
struct Page {
  std::vector<T> items;
  std::optional<std::string> next{};

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("items", &Page::items);
    visit("next", &Page::next);
  }
};

}  // namespace keyward::api
