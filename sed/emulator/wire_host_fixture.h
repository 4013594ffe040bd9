// WireHost speaks TCG to an emulated drive for the tests. It builds and reads the bytes by itself,
// from the specification and not from the emulator's code, so that one mistake is not made twice.
//
//   WireHost host(*drive);
//   host.start(kAdminSp, {.authority = kSid, .pin = msid});
//   EXPECT_EQ(host.set(kPinSid, 3, tok("new pin")).status, 0x00);
//   host.end();
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sed/emulator/emulated_drive.h"

namespace keyward::sed::wire {

// Tokens, as a string of bytes: they are joined with +.
using Tokens = std::string;

Tokens num(std::uint64_t value);
Tokens tok(std::string_view bytes);  // A byte string.
Tokens uid(std::uint64_t value);
Tokens lst(const Tokens& items);
Tokens nam(const Tokens& name, const Tokens& value);
inline Tokens nam(std::uint64_t name, const Tokens& value) { return nam(num(name), value); }
Tokens call(std::uint64_t invoking, std::uint64_t method, const Tokens& parameters);

// A token of an answer, flat: control tokens have only their kind.
struct Token {
  int control = 0;  // 0xF0 …, 0 for an atom.
  bool is_bytes = false;
  std::uint64_t number = 0;
  std::string bytes{};
};

struct Reply {
  bool empty = true;  // Length 0: "all responses returned, no further data".
  std::uint32_t outstanding = 0;
  std::uint32_t min_transfer = 0;
  std::uint32_t tper_session = 0;
  std::uint32_t host_session = 0;
  std::string payload{};
  std::vector<Token> tokens{};
  int status = -1;  // Of the method, or -1 when the answer has none.

  // The value under a number in the first list of pairs, or none.
  std::optional<Token> cell(std::uint64_t column) const;
  std::optional<Token> cell(std::string_view column) const;
  std::size_t atoms() const;
  // A call of a session manager's method, such as CloseSession (FF06h).
  bool is_call_of(std::uint64_t method) const;
};

struct StartOptions {
  std::uint64_t authority = 0;  // 0: Anybody.
  std::string pin{};
  bool write = true;
  Tokens more{};
};

class WireHost final {
 public:
  explicit WireHost(EmulatedDrive& drive);

  // The envelopes around `tokens`, for the control session.
  std::string envelope(const Tokens& tokens, std::uint32_t tsn, std::uint32_t hsn) const;
  BusStatus send_raw(const std::string& com_packet);
  Reply fetch(std::size_t buffer = 65536);

  Reply control(const Tokens& tokens);
  Reply stream(const Tokens& tokens);  // In the session that is open.

  Reply start(std::uint64_t sp, const StartOptions& options = {});
  Reply end();
  Reply invoke(std::uint64_t object, std::uint64_t method, const Tokens& parameters = {});
  Reply get(std::uint64_t object, std::uint64_t first, std::uint64_t last);
  Reply set(std::uint64_t object, std::uint64_t column, const Tokens& value);
  Reply set_row(std::uint64_t object, const Tokens& pairs);

  std::string msid();
  std::uint32_t tsn() const { return tsn_; }
  std::uint16_t com_id() const { return com_id_; }

 private:
  EmulatedDrive& drive_;
  std::uint16_t com_id_;
  std::uint32_t tsn_ = 0;
  std::uint32_t hsn_ = 0x69;
};

}  // namespace keyward::sed::wire
