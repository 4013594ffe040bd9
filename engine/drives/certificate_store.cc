#include "engine/drives/certificate_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/fields.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "engine/drives/erase_certificate.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kPrefix = "certificate/";
constexpr std::string_view kAction = "drive.certificate";
constexpr std::size_t kPage = 256;
constexpr std::size_t kSeedBytes = 32;

Caller certificate_caller() { return {"certificates", "daemon"}; }
Domain keyward_domain() { return Domain::parse("KEYWARD").value(); }
EntryName signing_key_name() { return EntryName::parse("certificate/signing-key").value(); }
std::string document_name(const std::string& id) { return fmt::format("{}{}", kPrefix, id); }

// A document under another name than its own was copied there.
Result<api::EraseCertificate> read_document(const store::Document& document) {
  auto certificate = api::from_json<api::EraseCertificate>(document.json);
  if (certificate && document_name(certificate->id) == document.name) return certificate;
  return fail(ErrorCode::corrupt, fmt::format("{} cannot be read: it was edited", document.name));
}

}  // namespace

Result<SecretBytes> CertificateStore::signing_key() {
  const auto load = [&] {
    return keyring_.get(keyward_domain(), signing_key_name(), certificate_caller());
  };
  auto seed = load();
  if (seed || seed.error().code != ErrorCode::not_found) return seed;
  const SecretBytes made = TRY(SecretBytes::random(kSeedBytes));
  // Somebody else may have made it meanwhile: then theirs counts.
  auto put = keyring_.put(keyward_domain(), signing_key_name(), made, 0, certificate_caller());
  if (!put && put.error().code != ErrorCode::conflict) return std::unexpected(put.error());
  return load();
}

Result<std::string> CertificateStore::public_key() {
  return to_hex(TRY(crypto::ed25519_public_key(TRY(signing_key()))));
}

Result<void> CertificateStore::issue(api::EraseCertificate& certificate, const SecretBytes& seed,
                                     const Caller& caller) {
  TRY(sign_certificate(certificate, seed));
  const store::AuditRecord record = audit_record(caller, kAction, certificate.serial,
                                                 {{"certificate", api::Json(certificate.id)},
                                                  {"nist", api::Json(certificate.nist)},
                                                  {"verdict", api::Json(certificate.verdict)}});
  TRY(control_.save({document_name(certificate.id), 0, api::to_json(certificate)}, {&record, 1}));
  return {};
}

Result<std::vector<api::EraseCertificate>> CertificateStore::list() {
  std::vector<api::EraseCertificate> certificates;
  std::string after;
  while (true) {
    const auto page = TRY(control_.list(kPrefix, after, kPage));
    for (const auto& document : page) {
      if (auto certificate = read_document(document))
        certificates.push_back(*std::move(certificate));
      else
        log(LogLevel::warning, "{}", certificate.error().message);
    }
    if (page.size() < kPage) break;
    after = page.back().name;
  }
  std::ranges::stable_sort(certificates, std::ranges::greater{}, &api::EraseCertificate::finished);
  return certificates;
}

Result<api::EraseCertificate> CertificateStore::find(const std::string& id) {
  return read_document(TRY(control_.load(document_name(id))));
}

}  // namespace keyward::engine
