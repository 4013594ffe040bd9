// A CallGate stands before every call that the engine makes to a store or a custodian: it counts
// them, fails them, or lets something else happen first.
//
//   return through(gate_, "keystore.write", [&]() -> Result<void> { … });
//
// For the stores and custodians in memory. One thread at a time.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace keyward::testing {

class CallGate {
 public:
  struct Ruling {
    std::optional<Error> error{};  // None: the call runs and answers for itself.
    bool takes_effect = false;     // With an error: the call runs, and its answer is lost.
  };
  virtual ~CallGate() = default;
  // `call` is "<seam>.<function>", the seam being "keystore", "control" or a custodian's id.
  virtual Ruling enter(std::string_view call) = 0;
  // The call has run; its answer is not yet handed on.
  virtual void leave(std::string_view /*call*/) {}
};

class OpenGate final : public CallGate {
 public:
  Ruling enter(std::string_view /*call*/) override { return {}; }
};

template <typename Call>
auto through(CallGate& gate, std::string_view name, Call&& call) -> decltype(call()) {
  CallGate::Ruling ruling = gate.enter(name);
  if (ruling.error) {
    if (ruling.takes_effect) static_cast<void>(call());
    return std::unexpected(*std::move(ruling.error));
  }
  auto answer = call();
  gate.leave(name);
  return answer;
}

}  // namespace keyward::testing
