#include "crypto/aead.h"

#include <fmt/format.h>

#include <vector>

#include "base/log.h"
#include "base/text.h"
#include "crypto/ipsec_mb_engine.h"
#include "crypto/known_answers.h"
#include "crypto/openssl_engine.h"

namespace keyward::crypto {
namespace {

using EngineRef = std::reference_wrapper<const AeadEngine>;

constexpr std::string_view kKnownNames = "auto, ipsec-mb or openssl";

std::string_view short_name(const AeadEngine& engine) {
  return engine.name().substr(0, engine.name().find('/'));
}

Result<EngineRef> choose_fastest(std::span<const AeadEngine* const> engines) {
  for (const AeadEngine* engine : engines) {
    const Result<void> checked = check_known_answers(*engine);
    if (checked) return std::cref(*engine);
    // Without locked memory no engine can be tried, and none is at fault.
    if (checked.error().code != ErrorCode::unsupported) return std::unexpected(checked.error());
    log(LogLevel::error, "{}; trying the next engine", checked.error().message);
  }
  return fail(ErrorCode::unsupported, "no AES-256-GCM engine works on this machine");
}

}  // namespace

std::span<const AeadEngine* const> aead_engines() {
  static const std::vector<const AeadEngine*> engines = [] {
    static const OpensslEngine openssl;
    std::vector<const AeadEngine*> found;
    if (const AeadEngine* ipsec_mb = ipsec_mb_engine()) found.push_back(ipsec_mb);
    found.push_back(&openssl);
    return found;
  }();
  return engines;
}

Result<EngineRef> choose_aead_engine(std::string_view name,
                                     std::span<const AeadEngine* const> engines) {
  if (name == "auto") return choose_fastest(engines);
  for (const AeadEngine* engine : engines) {
    if (short_name(*engine) != name) continue;
    TRY(check_known_answers(*engine));
    return std::cref(*engine);
  }
  if (name == "ipsec-mb")
    return fail(ErrorCode::unsupported,
                "the AES-256-GCM engine ipsec-mb does not run here: it needs an x86 CPU with AES "
                "instructions, and a build with intel-ipsec-mb. Choose auto or openssl");
  return fail(ErrorCode::invalid_argument,
              fmt::format("there is no AES-256-GCM engine \"{}\": choose {}", printable(name),
                          kKnownNames));
}

}  // namespace keyward::crypto
