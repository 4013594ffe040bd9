#include "hsm/tpm2/tpm_connection.h"

#include <fmt/format.h>
#include <malloc.h>
#include <string.h>
#include <tss2/tss2_tctildr.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>

#include "hsm/tpm2/tpm_error.h"

namespace keyward::hsm::tpm2 {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPauseMin{10};
constexpr milliseconds kPauseMax{500};
constexpr milliseconds kPausesMax{5000};  // All pauses of one command together.

Error name_tcti(Error error, const std::string& tcti) {
  error.message += fmt::format(" (tcti = \"{}\")", tcti);
  if (tcti.starts_with("swtpm:path=")) {
    error.message += "; swtpm's control socket must be that path with \".ctrl\" after it";
  }
  return error;
}

}  // namespace

Result<void> send_until_accepted(std::string_view name, const std::function<TSS2_RC()>& send,
                                 Clock& clock, const std::stop_token& stop) {
  milliseconds waited{0};
  for (milliseconds pause = kPauseMin;; pause = std::min(2 * pause, kPauseMax)) {
    if (stop.stop_requested()) {
      return fail(ErrorCode::cancelled, fmt::format("{}: not sent: the caller has gone", name));
    }
    const TSS2_RC rc = send();
    if (rc == TSS2_RC_SUCCESS) return {};
    if (!is_passing(rc) || waited >= kPausesMax) return std::unexpected(tpm_error(rc, name));
    // The clock may be gone once the caller is; a stop is checked first for that reason too.
    if (!stop.stop_requested()) clock.sleep_until(stop, clock.monotonic() + pause);
    waited += pause;
  }
}

Result<std::unique_ptr<TpmConnection>> TpmConnection::open(const std::string& tcti, bool bare,
                                                           Clock& clock, std::stop_token stop) {
  // No make_unique: the constructor is private.
  std::unique_ptr<TpmConnection> tpm(new TpmConnection(clock, std::move(stop)));
  Result<void> opened = tpm->command("Tss2_TctiLdr_Initialize", [&] {
    return Tss2_TctiLdr_Initialize(tcti.c_str(), &tpm->tcti_);
  });
  if (!opened) return std::unexpected(name_tcti(opened.error(), tcti));
  TRY(tpm->command("Esys_Initialize",
                   [&] { return Esys_Initialize(&tpm->esys_, tpm->tcti_, nullptr); }));
  if (bare) TRY(tpm->start_up());
  return tpm;
}

TpmConnection::~TpmConnection() {
  TSS2_SYS_CONTEXT* sys = nullptr;
  if (esys_ != nullptr && Esys_GetSysContext(esys_, &sys) == TSS2_RC_SUCCESS && sys != nullptr) {
    // The SYS layer's one buffer holds the last answers decrypted, and nothing owns memory in it;
    // Esys_Finalize frees it as it is.
    explicit_bzero(sys, malloc_usable_size(sys));
  }
  if (esys_ != nullptr) Esys_Finalize(&esys_);
  if (tcti_ != nullptr) Tss2_TctiLdr_Finalize(&tcti_);
}

Result<void> TpmConnection::command(std::string_view name, const std::function<TSS2_RC()>& send) {
  return send_until_accepted(name, send, clock_, stop_);
}

Result<void> TpmConnection::start_up() {
  TRY(command("Esys_Startup", [&] {
    const TSS2_RC rc = Esys_Startup(esys_, TPM2_SU_CLEAR);
    return is_tpm_code(rc, TpmCode::initialize) ? TSS2_RC_SUCCESS : rc;  // It was started already.
  }));
  TRY(flush_all(TPM2_TRANSIENT_FIRST));
  return flush_all(TPM2_LOADED_SESSION_FIRST);
}

Result<void> TpmConnection::flush_all(TPM2_HANDLE first) {
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* raw = nullptr;
  TRY(command("Esys_GetCapability", [&] {
    return Esys_GetCapability(esys_, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES,
                              first, TPM2_MAX_CAP_HANDLES, &more, &raw);
  }));
  const EsysPtr<TPMS_CAPABILITY_DATA> data(raw);
  for (UINT32 i = 0; i < data->data.handles.count; ++i) {
    ESYS_TR handle = ESYS_TR_NONE;
    TRY(command("Esys_TR_FromTPMPublic", [&] {
      return Esys_TR_FromTPMPublic(esys_, data->data.handles.handle[i], ESYS_TR_NONE, ESYS_TR_NONE,
                                   ESYS_TR_NONE, &handle);
    }));
    TRY(command("Esys_FlushContext", [&] { return Esys_FlushContext(esys_, handle); }));
  }
  return {};
}

Result<void> set_auth_value(TpmConnection& connection, ESYS_TR handle, ByteView auth) {
  TPM2B_AUTH value = {};
  if (auth.size() > sizeof(value.buffer)) {
    return fail(ErrorCode::invalid_argument, "a TPM's password has at most 64 bytes");
  }
  value.size = static_cast<UINT16>(auth.size());
  std::memcpy(value.buffer, auth.data(), auth.size());
  const TSS2_RC rc = Esys_TR_SetAuth(connection.esys(), handle, &value);
  explicit_bzero(&value, sizeof(value));
  if (rc != TSS2_RC_SUCCESS) return std::unexpected(tpm_error(rc, "Esys_TR_SetAuth"));
  return {};
}

Result<void> TpmHandle::set_auth(ByteView auth) {
  return set_auth_value(*connection_, handle_, auth);
}

TpmHandle::~TpmHandle() {
  if (handle_ == ESYS_TR_NONE) return;
  TPM2B_AUTH zeros = {};
  zeros.size = sizeof(zeros.buffer);
  static_cast<void>(Esys_TR_SetAuth(connection_->esys(), handle_, &zeros));
  // A failure is the end of the connection too, and a bare TPM is cleaned up when it is opened.
  if (at_end_ == AtEnd::flush) {
    static_cast<void>(Esys_FlushContext(connection_->esys(), handle_));
  } else {
    static_cast<void>(Esys_TR_Close(connection_->esys(), &handle_));
  }
}

}  // namespace keyward::hsm::tpm2
