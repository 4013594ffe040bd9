// TpmConnection is one conversation with a TPM: an ESYS context over a TCTI, for the length of one
// call.
//
//   auto tpm = TRY(TpmConnection::open(settings.tcti, settings.is_bare(), clock, stop));
//   TPM2B_DIGEST* raw = nullptr;
//   TRY(tpm->command("Esys_GetRandom",
//                    [&] { return Esys_GetRandom(tpm->esys(), …, 32, &raw); }));
//   const EsysPtr<TPM2B_DIGEST> random(raw);      // wiped and freed
//
// A bare TPM (no resource manager) is started up, and what a process that died left in it is
// flushed: it holds only 3 objects and 3 sessions. Opening takes some 10 ms with swtpm; nothing is
// kept between calls, so a TPM that was restarted needs no repair here, and a software TPM, which
// serves one client at a time, is free for others between calls.
//
// Not safe from threads; lives on the worker's.
#pragma once

#include <string.h>  // explicit_bzero
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tcti.h>

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::hsm::tpm2 {

class TpmConnection final {
 public:
  static Result<std::unique_ptr<TpmConnection>> open(const std::string& tcti, bool bare,
                                                     Clock& clock, std::stop_token stop);
  TpmConnection(const TpmConnection&) = delete;
  TpmConnection& operator=(const TpmConnection&) = delete;
  // Wipes ESYS's buffers, where answers were decrypted.
  ~TpmConnection();

  ESYS_CONTEXT* esys() const { return esys_; }

  // Runs one command; sends it again, after pauses, while the TPM says that it is busy. `cancelled`
  // before it is sent when the caller has gone: nothing takes effect after that.
  Result<void> command(std::string_view name, const std::function<TSS2_RC()>& send);

 private:
  TpmConnection(Clock& clock, std::stop_token stop) : clock_(clock), stop_(std::move(stop)) {}
  Result<void> start_up();
  Result<void> flush_all(TPM2_HANDLE first);

  Clock& clock_;
  std::stop_token stop_;
  TSS2_TCTI_CONTEXT* tcti_ = nullptr;
  ESYS_CONTEXT* esys_ = nullptr;
};

// TpmConnection::command without the connection: the pauses grow from 10 ms to 500 ms, 5 s in all.
Result<void> send_until_accepted(std::string_view name, const std::function<TSS2_RC()>& send,
                                 Clock& clock, const std::stop_token& stop);

// What ESYS hands out is the caller's to free; Esys_Free does not wipe.
struct WipeAndFree {
  template <typename T>
  void operator()(T* object) const noexcept {
    explicit_bzero(object, sizeof(T));
    Esys_Free(object);
  }
};
template <typename T>
using EsysPtr = std::unique_ptr<T, WipeAndFree>;

// An ESYS_TR and its end: what is in the TPM's memory only for us is flushed, what is stored in the
// TPM is let go. The connection outlives it.
class TpmHandle final {
 public:
  enum class AtEnd : bool { flush, let_go };

  TpmHandle(TpmConnection& connection, ESYS_TR handle, AtEnd at_end)
      : connection_(&connection), handle_(handle), at_end_(at_end) {}
  TpmHandle(TpmHandle&& other) noexcept
      : connection_(other.connection_),
        handle_(std::exchange(other.handle_, ESYS_TR_NONE)),
        at_end_(other.at_end_) {}
  TpmHandle& operator=(TpmHandle&&) = delete;
  ~TpmHandle();

  ESYS_TR get() const { return handle_; }
  // Sets the authorization value, which its destructor overwrites in ESYS's memory again.
  Result<void> set_auth(ByteView auth);

 private:
  TpmConnection* connection_;
  ESYS_TR handle_;
  AtEnd at_end_;
};

// Sets the authorization value of any handle, also of a hierarchy. `invalid_argument` when it is
// longer than 64 bytes.
Result<void> set_auth_value(TpmConnection& connection, ESYS_TR handle, ByteView auth);

}  // namespace keyward::hsm::tpm2
