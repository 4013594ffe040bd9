// Tokens are what travels in packets: atoms, lists, named values and control tokens (Core 3.2.2).
//
//   TokenWriter request;
//   request.control(Control::call).uid(kThisSp).uid(method::kRandom);
//   request.value(list({number(32)}));
//   TokenReader reader(answer);
//   Value results = TRY(reader.value());
//
// The writer takes the shortest form of everything. It borrows secrets and splices them in at the
// very end, into the buffer that is sent, so that no PIN is ever in ordinary memory. The reader
// takes longer forms than needed, and passes empty atoms over; what is cut off, reserved, out of
// place, or deeper or longer than any answer is, gives `protocol`. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "sed/tcg/value.h"

namespace keyward::sed::tcg {

enum class Control : std::uint8_t {
  start_list = 0xF0,
  end_list = 0xF1,
  start_name = 0xF2,
  end_name = 0xF3,
  call = 0xF8,
  end_of_data = 0xF9,
  end_of_session = 0xFA,
  start_transaction = 0xFB,
  end_transaction = 0xFC,
  empty_atom = 0xFF,
};

// What one byte string token can hold (Core 3.2.2.3.1.4).
inline constexpr std::size_t kTokenBytesMax = (1u << 24) - 1;

class TokenWriter final {
 public:
  TokenWriter& control(Control control);
  TokenWriter& number(std::uint64_t value);
  // At most kTokenBytesMax.
  TokenWriter& bytes(ByteView value);
  TokenWriter& uid(const Uid& uid) { return bytes(uid); }
  TokenWriter& value(const Value& value);
  // A byte string that is not copied before copy_to(): `secret` must live until then, unmoved.
  TokenWriter& secret(const SecretBytes& secret);

  std::size_t size() const { return tokens_.size() + secret_bytes_; }
  bool holds_secret() const { return !secrets_.empty(); }
  // Fills the front of `out`, which has at least size() bytes.
  void copy_to(MutableByteView out) const;

 private:
  struct Splice {
    std::size_t at;  // In tokens_.
    const SecretBytes* secret;
  };

  void negative(std::int64_t value);
  void byte_string_header(std::size_t size);

  Bytes tokens_;
  std::vector<Splice> secrets_;
  std::size_t secret_bytes_ = 0;
};

class TokenReader final {
 public:
  explicit TokenReader(ByteView stream) : all_(stream), rest_(stream) {}

  bool at_end();
  // True when it is next; takes it then.
  bool take(Control control);
  // One atom, list or named value.
  Result<Value> value() { return value(0); }

 private:
  struct Atom;

  Result<Value> value(int depth);
  Result<List> sequence(Control end, int depth);
  Result<Value> atom();
  Result<Atom> one_atom();
  Result<Value> byte_string(Atom first);
  Result<Value> integer(const Atom& atom) const;
  void skip_empty();
  std::unexpected<Error> malformed(const char* what) const;

  ByteView all_;
  ByteView rest_;
  std::size_t values_ = 0;
};

}  // namespace keyward::sed::tcg
