#include "engine/drives/erase_certificate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/text.h"
#include "crypto/kdf.h"
#include "engine/drives/erase_claim.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kTitle = "keyward erase certificate v1\n";

struct Field {
  std::string name;
  std::string value;
};

struct FieldVisitor {
  const api::EraseCertificate& certificate;
  std::vector<Field> fields{};

  void operator()(std::string_view name, std::string api::EraseCertificate::*member,
                  std::string_view = "") {
    fields.push_back({std::string(name), certificate.*member});
  }
  void operator()(std::string_view name, std::optional<UtcTime> api::EraseCertificate::*member,
                  std::string_view = "") {
    const auto& time = certificate.*member;
    fields.push_back({std::string(name), time ? to_iso8601(*time) : ""});
  }
};

std::vector<Field> fields_of(const api::EraseCertificate& certificate) {
  FieldVisitor visitor{certificate};
  api::EraseCertificate::fields(visitor);
  return std::move(visitor.fields);
}

std::unexpected<Error> not_valid(const api::EraseCertificate& certificate, std::string_view why) {
  return fail(ErrorCode::corrupt,
              fmt::format("erase certificate {}: {}", printable(certificate.id), why));
}

bool is_one_text(const api::EraseCertificate& certificate) {
  return std::ranges::all_of(fields_of(certificate),
                             [](const Field& field) { return is_printable_utf8(field.value); });
}

template <typename Array>
bool fill_from_hex(std::string_view text, Array& array) {
  const auto bytes = from_hex(text);
  if (!bytes || bytes->size() != array.size()) return false;
  std::ranges::copy(*bytes, array.begin());
  return true;
}

std::string escaped(std::string_view text) {
  std::string html;
  for (const char letter : escape_controls(text)) {
    switch (letter) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += letter;
    }
  }
  return html;
}

std::string_view heading_of(std::string_view name) {
  constexpr auto kHeadings = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"id", "Certificate"},
      {"serial", "Serial number"},
      {"wwn", "WWN"},
      {"model", "Model"},
      {"firmware", "Firmware"},
      {"method", "What was done"},
      {"nist", "NIST SP 800-88 Rev. 1"},
      {"ieee", "IEEE 2883-2022"},
      {"probe_before", "Read probe before"},
      {"probe_after", "Read probe after"},
      {"verdict", "What the probe shows"},
      {"started", "Started"},
      {"finished", "Finished"},
      {"actor", "By"},
      {"node", "On"},
      {"public_key", "Public key (Ed25519)"},
      {"signature", "Signature"},
  });
  for (const auto& [field, heading] : kHeadings)
    if (field == name) return heading;
  return name;
}

constexpr std::string_view kHtmlHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Erase certificate</title>
<style>
body { font-family: serif; max-width: 17cm; margin: 1cm auto; }
th { text-align: left; vertical-align: top; white-space: nowrap; padding-right: 1em; }
td { overflow-wrap: anywhere; }
tr { break-inside: avoid; }
</style>
</head>
<body>
<h1>Erase certificate</h1>
<table>
)";

}  // namespace

std::string new_certificate_id() { return Uuid<struct CertificateTag>::random().to_text(); }

api::EraseCertificate make_certificate(const std::string& id, const EraseFacts& facts,
                                       const ReadProbe& before, const ReadProbe& after) {
  const ProbeVerdict verdict = compare(before, after);
  EraseClaim claim = erase_claim(facts.feature, facts.method);
  if (verdict.data_remain) claim = disproved(std::move(claim));
  api::EraseCertificate certificate;
  certificate.id = id;
  certificate.serial = escape_controls(facts.identity.serial);
  certificate.wwn = escape_controls(facts.identity.wwn);
  certificate.model = escape_controls(facts.identity.model);
  certificate.firmware = escape_controls(facts.identity.firmware);
  certificate.method = escape_controls(claim.method);
  certificate.nist = std::move(claim.nist);
  certificate.ieee = std::move(claim.ieee);
  certificate.probe_before = before.text();
  certificate.probe_after = after.text();
  certificate.verdict = verdict.text;
  // JSON has whole seconds.
  certificate.started = std::chrono::floor<std::chrono::seconds>(facts.started);
  certificate.finished = std::chrono::floor<std::chrono::seconds>(facts.finished);
  certificate.actor = escape_controls(facts.actor);
  certificate.node = escape_controls(facts.node);
  return certificate;
}

std::string canonical_certificate(const api::EraseCertificate& certificate) {
  std::string text(kTitle);
  for (const Field& field : fields_of(certificate))
    if (field.name != "signature") text += fmt::format("{}: {}\n", field.name, field.value);
  return text;
}

Result<void> sign_certificate(api::EraseCertificate& certificate, const SecretBytes& seed) {
  certificate.signature.clear();
  certificate.public_key = to_hex(TRY(crypto::ed25519_public_key(seed)));
  if (!is_one_text(certificate))
    return fail(ErrorCode::invalid_argument, "a certificate has no control characters");
  certificate.signature =
      to_hex(TRY(crypto::ed25519_sign(seed, as_bytes(canonical_certificate(certificate)))));
  return {};
}

Result<void> verify_certificate(const api::EraseCertificate& certificate) {
  crypto::Ed25519PublicKey key{};
  crypto::Ed25519Signature signature{};
  if (certificate.signature.empty()) return not_valid(certificate, "it is not signed");
  if (!is_one_text(certificate)) return not_valid(certificate, "it has control characters");
  if (!fill_from_hex(certificate.public_key, key) ||
      !fill_from_hex(certificate.signature, signature))
    return not_valid(certificate, "its public key or signature is none");
  if (!crypto::ed25519_verify(key, as_bytes(canonical_certificate(certificate)), signature))
    return not_valid(certificate, "it was changed after it was signed");
  return {};
}

std::string certificate_html(const api::EraseCertificate& certificate) {
  std::string html(kHtmlHead);
  for (const Field& field : fields_of(certificate))
    html += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escaped(heading_of(field.name)),
                        escaped(field.value));
  const bool is_valid = verify_certificate(certificate).has_value();
  html += fmt::format("</table>\n<p>{}</p>\n</body>\n</html>\n",
                      is_valid ? "When this page was made, the signature fitted the fields above."
                               : "THE SIGNATURE DOES NOT FIT: this page proves nothing.");
  return html;
}

}  // namespace keyward::engine
