#include "engine/drives/erase_certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "api/fields.h"
#include "crypto/kdf.h"
#include "engine/drives/certificate_store.h"
#include "engine/drives/erase_claim.h"
#include "engine/service_test_support.h"
#include "engine/testing/memory_blocks.h"

namespace keyward::engine {
namespace {

using sed::EraseMethod;
using ::testing::HasSubstr;
using testing::kTester;
using testing::Node;
using ::testing::Not;
using testing::secret_of;
using ::testing::StartsWith;
using testing::TempDir;

constexpr UtcTime kStart{std::chrono::sys_days{std::chrono::year{2026} / 1 / 5}};

SecretBytes seed() { return secret_of("0123456789abcdef0123456789abcdef"); }

api::EraseCertificate certificate_of(EraseFacts facts, bool data_remain = false) {
  const std::string id = "0b6f9c1e-0000-4000-8000-000000000001";
  MemoryBlocks blocks(5000);
  const ReadProbe before = ReadProbe::take(&blocks, id);
  if (!data_remain) blocks.new_media_key();
  return make_certificate(id, facts, before, ReadProbe::take(&blocks, id));
}

EraseFacts facts() {
  return {{"5000c500a1b2c3d4", "S1", "Modèle 1", "1.0"},
          "Opal 2",
          EraseMethod::crypto_erase,
          kStart + std::chrono::milliseconds{999},
          kStart + std::chrono::seconds{2},
          "uid:0",
          "host-a"};
}

api::EraseCertificate signed_certificate() {
  api::EraseCertificate certificate = certificate_of(facts());
  EXPECT_TRUE(sign_certificate(certificate, seed()));
  return certificate;
}

TEST(EraseClaim, ClaimsPurgeOnlyWhereTheFeatureEncryptsEverything) {
  for (const auto* feature : {"Opal 1", "Opal 2", "Opalite", "Ruby", "Enterprise"})
    for (const auto method : {EraseMethod::crypto_erase, EraseMethod::revert,
                              EraseMethod::revert_locking, EraseMethod::psid_revert}) {
      const EraseClaim claim = erase_claim(feature, method);
      EXPECT_EQ(claim.nist, "Purge (Cryptographic Erase)") << claim.method;
      EXPECT_EQ(claim.ieee, "Purge, cryptographic erase") << claim.method;
      EXPECT_THAT(claim.method, HasSubstr(feature));
    }
  for (const auto* feature : {"Pyrite 1", "Pyrite 2", "Pyrite 3", "none", "", "Opel"})
    for (const auto method : {EraseMethod::crypto_erase, EraseMethod::revert,
                              EraseMethod::revert_locking, EraseMethod::psid_revert}) {
      const EraseClaim claim = erase_claim(feature, method);
      EXPECT_THAT(claim.nist, StartsWith("none claimed: ")) << claim.method;
      EXPECT_THAT(claim.ieee, StartsWith("none claimed: ")) << claim.method;
    }
}

TEST(EraseClaim, TheAtaCommandIsClearWhateverElseTheDriveHas) {
  for (const auto* feature : {"ATA Security", "Opal 2", "Pyrite 2"}) {
    const EraseClaim claim = erase_claim(feature, EraseMethod::ata_enhanced);
    EXPECT_THAT(claim.nist, StartsWith("Clear")) << feature;
    EXPECT_EQ(claim.ieee, "Clear") << feature;
  }
  EXPECT_THAT(erase_claim("ATA Security", EraseMethod::crypto_erase).nist,
              StartsWith("none claimed"));
}

TEST(EraseCertificate, ClaimsNothingWhenTheProbeFoundTheData) {
  const api::EraseCertificate certificate = certificate_of(facts(), true);
  EXPECT_THAT(certificate.nist, StartsWith("none claimed: the read probe"));
  EXPECT_THAT(certificate.ieee, StartsWith("none claimed: the read probe"));
  EXPECT_EQ(certificate.probe_before, certificate.probe_after);
  EXPECT_THAT(certificate.verdict, StartsWith("64 of 64 sampled sectors still hold"));
}

TEST(EraseCertificate, IsSignedInItsCanonicalForm) {
  const api::EraseCertificate certificate = signed_certificate();
  EXPECT_EQ(canonical_certificate(certificate),
            "keyward erase certificate v1\n"
            "id: 0b6f9c1e-0000-4000-8000-000000000001\n"
            "serial: S1\n"
            "wwn: 5000c500a1b2c3d4\n"
            "model: Modèle 1\n"
            "firmware: 1.0\n"
            "method: GenKey of the media keys of all ranges (TCG Opal 2)\n"
            "nist: Purge (Cryptographic Erase)\n"
            "ieee: Purge, cryptographic erase\n"
            "probe_before: " +
                certificate.probe_before +
                "\n"
                "probe_after: " +
                certificate.probe_after +
                "\n"
                "verdict: all 64 sampled sectors changed\n"
                "started: 2026-01-05T00:00:00Z\n"
                "finished: 2026-01-05T00:00:02Z\n"
                "actor: uid:0\n"
                "node: host-a\n"
                "public_key: " +
                certificate.public_key + "\n");
  EXPECT_TRUE(verify_certificate(certificate));
}

TEST(EraseCertificate, StaysValidThroughJson) {
  const api::EraseCertificate certificate = signed_certificate();
  const auto again = api::from_json<api::EraseCertificate>(api::to_json(certificate)).value();
  EXPECT_TRUE(verify_certificate(again));
}

struct Tamperer {
  std::size_t wanted;
  api::EraseCertificate& certificate;
  std::size_t seen = 0;
  void operator()(std::string_view, std::string api::EraseCertificate::*member,
                  std::string_view = "") {
    if (seen++ == wanted) certificate.*member += "0";
  }
  void operator()(std::string_view, std::optional<UtcTime> api::EraseCertificate::*member,
                  std::string_view = "") {
    if (seen++ == wanted) certificate.*member = kStart + std::chrono::hours{24};
  }
};

TEST(EraseCertificate, AChangeOfAnyFieldBreaksTheSignature) {
  std::size_t fields = 1;
  for (std::size_t i = 0; i < fields; ++i) {
    api::EraseCertificate certificate = signed_certificate();
    Tamperer tamperer{i, certificate};
    api::EraseCertificate::fields(tamperer);
    fields = tamperer.seen;
    const auto verified = verify_certificate(certificate);
    ASSERT_FALSE(verified) << "field " << i;
    EXPECT_EQ(verified.error().code, ErrorCode::corrupt);
  }
  EXPECT_EQ(fields, 17u);
}

TEST(EraseCertificate, ATextCannotBecomeAnotherField) {
  api::EraseCertificate certificate = signed_certificate();
  certificate.actor += "\nnode: host-b";
  // By somebody who signs what we would not.
  certificate.signature =
      to_hex(crypto::ed25519_sign(seed(), as_bytes(canonical_certificate(certificate))).value());
  EXPECT_THAT(verify_certificate(certificate).error().message, HasSubstr("control characters"));
  EXPECT_FALSE(sign_certificate(certificate, seed()));
  EXPECT_EQ(certificate.signature, "");

  EraseFacts strange = facts();
  strange.identity.serial = "S1\nnist: Purge\xff";
  api::EraseCertificate escaped = certificate_of(strange);
  ASSERT_TRUE(sign_certificate(escaped, seed()));
  EXPECT_EQ(escaped.serial, "S1\\x0anist: Purge\\xff");
  EXPECT_TRUE(verify_certificate(escaped));
}

TEST(EraseCertificate, AnUnsignedOneIsNotValid) {
  EXPECT_THAT(verify_certificate(certificate_of(facts())).error().message, HasSubstr("not signed"));
  api::EraseCertificate certificate = certificate_of(facts());
  EXPECT_FALSE(sign_certificate(certificate, secret_of("short")));
}

TEST(EraseCertificate, ThePageRunsNothingThatADriveIsCalled) {
  EraseFacts strange = facts();
  strange.identity.model = "<script>alert('&\"1')</script>";
  api::EraseCertificate certificate = certificate_of(strange);
  ASSERT_TRUE(sign_certificate(certificate, seed()));
  const std::string page = certificate_html(certificate);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(&#39;&amp;&quot;1&#39;)&lt;/script&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("http:")));
  EXPECT_THAT(page, HasSubstr(certificate.signature));
  EXPECT_THAT(page, HasSubstr("the signature fitted"));
  certificate.verdict = "all is well";
  EXPECT_THAT(certificate_html(certificate), HasSubstr("THE SIGNATURE DOES NOT FIT"));
}

// What docs/OPERATIONS.md has people type, from the heading on: the lines that are indented.
std::string documented_commands() {
  std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "../../docs/OPERATIONS.md");
  std::string commands, line;
  while (std::getline(file, line) && line != "## Check an erase certificate") continue;
  while (std::getline(file, line) && !line.starts_with("## "))
    if (line.starts_with("    ")) commands += line.substr(4) + "\n";
  return commands;
}

int run_in(const std::filesystem::path& directory, const std::string& commands) {
  std::ofstream(directory / "check.sh") << "set -eu\ncd '" << directory.string() << "'\n"
                                        << commands;
  const std::string line = "sh '" + (directory / "check.sh").string() + "' >/dev/null 2>&1";
  return std::system(line.c_str());
}

TEST(EraseCertificate, OpensslVerifiesItByTheDocumentedCommands) {
  const std::string commands = documented_commands();
  ASSERT_THAT(commands, HasSubstr("openssl pkeyutl -verify"));
  const TempDir directory;
  api::EraseCertificate certificate = signed_certificate();
  const auto write = [&] {
    std::ofstream(directory.path() / "certificate.json") << api::to_json(certificate);
  };
  write();
  EXPECT_EQ(run_in(directory.path(), commands), 0);
  std::ostringstream text;
  text << std::ifstream(directory.path() / "signed.txt").rdbuf();
  EXPECT_EQ(text.str(), canonical_certificate(certificate));
  certificate.serial = "S2";
  write();
  EXPECT_NE(run_in(directory.path(), commands), 0);
}

class CertificateStoreTest : public ::testing::Test {
 protected:
  CertificateStore certificates() { return {*node.keyring, node.backend->control()}; }
  api::EraseCertificate issue(const std::string& id, std::chrono::seconds after) {
    EraseFacts done = facts();
    done.finished += after;
    api::EraseCertificate certificate = make_certificate(id, done, {}, {});
    EXPECT_TRUE(certificates().issue(certificate, certificates().signing_key().value(), kTester));
    return certificate;
  }
  Node node;
};

TEST_F(CertificateStoreTest, ListsTheNewestFirst) {
  for (const auto& [id, after] :
       {std::pair{"a", 1}, std::pair{"b", 3}, std::pair{"c", 2}, std::pair{"d", 0}})
    issue(id, std::chrono::seconds{after});
  std::string order;
  const auto listed = certificates().list();
  ASSERT_TRUE(listed);
  for (const auto& certificate : *listed) {
    EXPECT_TRUE(verify_certificate(certificate));
    order += certificate.id;
  }
  EXPECT_EQ(order, "bcad");
}

TEST_F(CertificateStoreTest, SignsAllByOneKey) {
  const std::string first = certificates().public_key().value();
  EXPECT_EQ(issue("a", {}).public_key, first);
  EXPECT_EQ(certificates().find("a").value().public_key, first);
  EXPECT_EQ(certificates().public_key().value(), first);
}

TEST_F(CertificateStoreTest, FindsNoneThatIsNotThere) {
  EXPECT_EQ(certificates().find("a").error().code, ErrorCode::not_found);
}

TEST_F(CertificateStoreTest, AStoredOneIsNeverReplaced) {
  issue("a", {});
  api::EraseCertificate other = make_certificate("a", facts(), {}, {});
  EXPECT_FALSE(certificates().issue(other, seed(), kTester));
  EXPECT_TRUE(verify_certificate(other));
  EXPECT_NE(certificates().find("a").value().public_key, other.public_key);
}

TEST_F(CertificateStoreTest, OneUnderAnotherNameIsLeftOut) {
  const auto certificate = issue("a", {});
  ASSERT_TRUE(node.backend->control().save({"certificate/b", 0, api::to_json(certificate)}, {}));
  ASSERT_TRUE(node.backend->control().save({"certificate/c", 0, "{}"}, {}));
  EXPECT_EQ(certificates().list().value().size(), 1u);
  EXPECT_EQ(certificates().find("b").error().code, ErrorCode::corrupt);
}

}  // namespace
}  // namespace keyward::engine
