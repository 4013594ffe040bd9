#include "hsm/pkcs11/pkcs11_custodian.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <fstream>
#include <functional>
#include <thread>

#include "base/text.h"
#include "hsm/pkcs11/object_label.h"
#include "hsm/pkcs11/result_matchers.h"
#include "hsm/pkcs11/softhsm_token.h"
#include "hsm/pkcs11/wrapped_blob.h"
#include "hsm/testing/custodian_contract.h"

namespace keyward::hsm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class Pkcs11CustodianTest : public ::testing::Test {
 protected:
  std::unique_ptr<Custodian> open(const std::string& extra = "", const std::string& uri = "") {
    auto opened = open_pkcs11_custodian(token_.config(extra, uri), *clock_);
    EXPECT_THAT(opened, Succeeds());
    return std::move(*opened);
  }

  std::unique_ptr<Clock> clock_ = real_clock();
  SoftHsmToken token_;
};

class FaultyPkcs11Test : public Pkcs11CustodianTest {
 protected:
  FaultyPkcs11Test() { token_.use_faulty_module(); }
};

bool same(const SecretBytes& a, const SecretBytes& b) {
  return constant_time_equal(a.reveal(), b.reveal());
}

// SoftHSM's file of the token itself, which is beside those of its objects.
class TokenFileCopy {
 public:
  explicit TokenFileCopy(const std::filesystem::path& tokens) {
    for (const auto& token : std::filesystem::directory_iterator(tokens))
      path_ = token.path() / "token.object";
    copy_ = contents();
  }
  // A login changes flags in it, not its size.
  void put_back_if_damaged() const {
    if (contents().size() == copy_.size()) return;
    std::ofstream(path_, std::ios::binary) << copy_;
  }

 private:
  std::string contents() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path path_;
  std::string copy_;
};

// A blob that is well formed, with one bit of its ciphertext changed.
SealedKey tampered(const SealedKey& copy) {
  auto blob = pkcs11::WrappedBlob::parse(copy.blob).value();
  blob.ciphertext[5] ^= std::byte{1};
  return {copy.custodian, blob.render()};
}

TEST_F(Pkcs11CustodianTest, KeepsTheContractWithAesGcm) {
  const auto custodian = open("mechanism = \"gcm\"\n");
  check_custodian_contract(*custodian);
}

TEST_F(Pkcs11CustodianTest, KeepsTheContractWithKeyWrap) {
  const auto custodian = open("mechanism = \"keywrap\"\n");
  check_custodian_contract(*custodian);
}

TEST_F(Pkcs11CustodianTest, OpensWithoutAToken) {
  token_.take_away();
  const auto custodian = open();
  EXPECT_EQ(custodian->id().text, "pkcs11:hsm1");
  EXPECT_TRUE(custodian->destroys());
  EXPECT_THAT(custodian->identity(), FailsWith(ErrorCode::unavailable));
}

TEST_F(Pkcs11CustodianTest, IdentityNamesTheToken) {
  const std::string identity = open()->identity().value();
  EXPECT_THAT(identity, AllOf(HasSubstr("serial="), HasSubstr(";label=mktok;"),
                              HasSubstr("manufacturer=SoftHSM"), HasSubstr("model=")));
}

TEST_F(Pkcs11CustodianTest, RestartFindsTheObjectsAgain) {
  const KeyContext context = fresh_context();
  auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  ASSERT_THAT(custodian->confirm(context), Succeeds());
  custodian.reset();
  EXPECT_THAT(helper_processes(), IsEmpty());
  custodian = open();
  const auto opened = custodian->unseal(made.copy, context);
  ASSERT_THAT(opened, Succeeds());
  EXPECT_TRUE(same(*opened, made.key));
  const auto held = custodian->list().value();
  ASSERT_THAT(held, SizeIs(1));
  EXPECT_TRUE(held[0].confirmed);
  EXPECT_EQ(held[0].context, context);
}

TEST_F(Pkcs11CustodianTest, DestroyedObjectIsGoneForOtherProgramsToo) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  ASSERT_THAT(custodian->generate(context), Succeeds());
  EXPECT_THAT(token_.tool("--list-objects"), HasSubstr(context.key.to_text()));
  ASSERT_THAT(custodian->destroy(context, DestroyScope::everything), Succeeds());
  EXPECT_THAT(token_.tool("--list-objects"),
              AllOf(Not(HasSubstr("Secret Key")), Not(HasSubstr(context.key.to_text()))));
}

TEST_F(Pkcs11CustodianTest, ObjectIsNeitherReadableNorExtractable) {
  const auto custodian = open();
  ASSERT_THAT(custodian->generate(fresh_context()), Succeeds());
  EXPECT_THAT(token_.tool("--list-objects --type secrkey"),
              AllOf(HasSubstr("AES length 32"), HasSubstr("never extractable"),
                    HasSubstr("always sensitive")));
}

TEST_F(Pkcs11CustodianTest, ObjectRemovedByOthersIsNotFound) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  const auto id = pkcs11::WrappedBlob::parse(made.copy.blob).value().id;
  token_.tool("--delete-object --type secrkey --id " + to_hex(id));
  EXPECT_THAT(custodian->unseal(made.copy, context), FailsWith(ErrorCode::not_found));
  EXPECT_THAT(custodian->confirm(context), FailsWith(ErrorCode::not_found));
}

TEST_F(Pkcs11CustodianTest, ForeignObjectWithTheKeysIdIsLeftAlone) {
  const KeyContext context = fresh_context();
  KeyContext other = context;
  other.store = StoreId::random();
  const auto custodian = open();
  const auto theirs = custodian->generate(other);
  ASSERT_THAT(theirs, Succeeds());
  EXPECT_THAT(custodian->generate(context), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything),
              FailsWith(ErrorCode::conflict));
  EXPECT_THAT(custodian->unseal(theirs->copy, other), Succeeds());
}

TEST_F(Pkcs11CustodianTest, TwoObjectsWithOneIdAreRefused) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  const auto id = pkcs11::WrappedBlob::parse(made.copy.blob).value().id;
  token_.tool("--keygen --key-type AES:32 --label planted --id " + to_hex(id));
  EXPECT_THAT(custodian->unseal(made.copy, context), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything),
              FailsWith(ErrorCode::conflict));
}

TEST_F(Pkcs11CustodianTest, ListsMoreObjectsThanOneMessageHolds) {
  const auto custodian = open();
  constexpr std::size_t kCount = pkcs11::kListedPerMessage + 1;
  const SecretBytes key = SecretBytes::random(32).value();
  for (std::size_t i = 0; i < kCount; ++i)
    ASSERT_THAT(custodian->seal(key, fresh_context()), Succeeds());
  EXPECT_THAT(custodian->list().value(), SizeIs(kCount));
}

TEST_F(Pkcs11CustodianTest, TamperedCopyIsCorruptAndTheTokenIsStillBelieved) {
  const KeyContext context = fresh_context();
  for (const char* mechanism : {"mechanism = \"gcm\"\n", "mechanism = \"keywrap\"\n"}) {
    const auto custodian = open(mechanism);
    const GeneratedKey made = std::move(*custodian->generate(context));
    EXPECT_THAT(custodian->unseal(tampered(made.copy), context), FailsWith(ErrorCode::corrupt));
    EXPECT_THAT(custodian->unseal(made.copy, context), Succeeds());
    ASSERT_THAT(custodian->destroy(context, DestroyScope::everything), Succeeds());
  }
}

TEST_F(Pkcs11CustodianTest, CopyMadeToNameAnotherKeyIsCorrupt) {
  const KeyContext context = fresh_context();
  const KeyContext other = fresh_context();
  for (const char* mechanism : {"mechanism = \"gcm\"\n", "mechanism = \"keywrap\"\n"}) {
    const auto custodian = open(mechanism);
    const GeneratedKey made = std::move(*custodian->generate(context));
    auto blob = pkcs11::WrappedBlob::parse(made.copy.blob).value();
    KeyContext renamed = context;
    renamed.domain = Domain::parse("NDMP").value();
    blob.context_digest = pkcs11::digest_context(renamed);
    EXPECT_THAT(custodian->unseal({made.copy.custodian, blob.render()}, renamed),
                FailsWith(ErrorCode::corrupt));
    ASSERT_THAT(custodian->destroy(context, DestroyScope::everything), Succeeds());
  }
}

TEST_F(Pkcs11CustodianTest, CopiesOpenUnderEitherMechanism) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = std::move(*open("mechanism = \"keywrap\"\n")->generate(context));
  EXPECT_THAT(open("mechanism = \"gcm\"\n")->unseal(made.copy, context), Succeeds());
}

TEST_F(Pkcs11CustodianTest, KeysOfAnotherSizeAreRefused) {
  const SecretBytes key = SecretBytes::random(31).value();
  EXPECT_THAT(open()->seal(key, fresh_context()), FailsWith(ErrorCode::invalid_argument));
}

TEST_F(Pkcs11CustodianTest, TokenTakenAwayIsUnavailableUntilItReturns) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  token_.take_away();
  EXPECT_THAT(custodian->unseal(made.copy, context), FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(custodian->list(), FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything),
              FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(custodian->generate(fresh_context()), FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::unavailable));
  token_.bring_back();
  EXPECT_THAT(custodian->unseal(made.copy, context), Succeeds());
  EXPECT_THAT(custodian->probe(), Succeeds());
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything), Succeeds());
}

TEST_F(Pkcs11CustodianTest, DestroyDoesNotBelieveATokenThatLeftAMomentAgo) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  ASSERT_THAT(custodian->generate(context), Succeeds());
  token_.take_away();
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything),
              FailsWith(ErrorCode::unavailable));
  token_.bring_back();
  EXPECT_THAT(custodian->list().value(), SizeIs(1));
}

TEST_F(Pkcs11CustodianTest, AbsentTokenMessageNamesWhatWasSeen) {
  const auto custodian = open("", "pkcs11:token=other;serial=0123456789abcdef");
  const auto identity = custodian->identity();
  ASSERT_THAT(identity, FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(identity.error().message,
              AllOf(HasSubstr("\"other\""), HasSubstr("0123456789abcdef"), HasSubstr("\"mktok\"")));
}

TEST_F(Pkcs11CustodianTest, TokenWithAnotherSerialNumberIsAConflict) {
  const auto custodian = open("", "pkcs11:token=mktok;serial=0123456789abcdef");
  EXPECT_THAT(custodian->identity(), FailsWith(ErrorCode::conflict));
}

TEST_F(Pkcs11CustodianTest, TokenExchangedWhileRunningIsAConflict) {
  const auto custodian = open();
  ASSERT_THAT(custodian->identity(), Succeeds());
  token_.replace_by_new();
  for (const pid_t pid : helper_processes()) ::kill(pid, SIGKILL);
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::conflict));
}

TEST_F(Pkcs11CustodianTest, MissingModuleIsUnavailableAndNamed) {
  CustodianConfig config = token_.config();
  const std::size_t at = config.settings.find("libsofthsm2");
  config.settings.replace(at, 11, "libnothing!");
  const auto identity = open_pkcs11_custodian(config, *clock_).value()->identity();
  ASSERT_THAT(identity, FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(identity.error().message, HasSubstr("libnothing!"));
}

TEST_F(Pkcs11CustodianTest, HelperKilledBetweenCallsIsNotNoticed) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  for (const auto& call : std::vector<std::function<bool()>>{
           [&] { return custodian->unseal(made.copy, context).has_value(); },
           [&] { return custodian->generate(fresh_context()).has_value(); },
           [&] { return custodian->list().has_value(); },
           [&] { return custodian->confirm(context).has_value(); },
           [&] { return custodian->probe().has_value(); },
           [&] { return custodian->destroy(context, DestroyScope::everything).has_value(); },
       }) {
    ASSERT_THAT(helper_processes(), SizeIs(1));
    ::kill(helper_processes().front(), SIGKILL);
    EXPECT_TRUE(call());
  }
}

TEST_F(Pkcs11CustodianTest, HelperKilledAtAnyMomentLosesNothing) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  // SoftHSM truncates and writes the token's file at every login: killed in there, it has lost the
  // token. That is its own fault; the file comes from a copy then.
  const TokenFileCopy token_file(token_.path("tokens"));
  std::jthread killer([](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      for (const pid_t pid : helper_processes()) ::kill(pid, SIGKILL);
      ::usleep(30'000);
    }
  });
  for (int i = 0; i < 30; ++i) {
    const auto key = custodian->unseal(made.copy, context);
    if (key) {
      EXPECT_TRUE(same(*key, made.key));
    } else {
      EXPECT_EQ(key.error().code, ErrorCode::unavailable) << key.error().message;
    }
  }
  killer.request_stop();
  killer.join();
  token_file.put_back_if_damaged();
  // The answer of the last one that was killed may be remembered for a moment.
  Result<SecretBytes> key = custodian->unseal(made.copy, context);
  for (int i = 0; i < 100 && !key; ++i) {
    ::usleep(100'000);
    key = custodian->unseal(made.copy, context);
  }
  ASSERT_THAT(key, Succeeds());
  EXPECT_TRUE(same(*key, made.key));
}

TEST_F(Pkcs11CustodianTest, StoppedHelperIsATimeoutAndThenReplaced) {
  const KeyContext context = fresh_context();
  const auto custodian = open("call_limit_ms = 1000\n");
  const GeneratedKey made = std::move(*custodian->generate(context));
  ASSERT_THAT(helper_processes(), SizeIs(1));
  const pid_t stopped = helper_processes().front();
  ::kill(stopped, SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(custodian->unseal(made.copy, context), FailsWith(ErrorCode::timeout));
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, std::chrono::milliseconds(990));
  EXPECT_LE(took, std::chrono::milliseconds(4000));
  EXPECT_THAT(custodian->unseal(made.copy, context), Succeeds());
  EXPECT_NE(helper_processes().front(), stopped);
}

TEST_F(Pkcs11CustodianTest, KeysAreMadeAndDestroyedByParallelThreads) {
  const auto custodian = open();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 4; ++j) {
        const KeyContext context = fresh_context();
        const auto made = custodian->generate(context);
        ASSERT_THAT(made, Succeeds());
        const auto opened = custodian->unseal(made->copy, context);
        ASSERT_THAT(opened, Succeeds());
        EXPECT_TRUE(same(*opened, made->key));
        EXPECT_THAT(custodian->destroy(context, DestroyScope::unconfirmed), Succeeds());
      }
    });
  }
  threads.clear();
  EXPECT_THAT(custodian->list().value(), IsEmpty());
}

TEST_F(Pkcs11CustodianTest, ThreadThatStartedTheHelperMayEnd) {
  const auto custodian = open();
  std::jthread([&] { ASSERT_THAT(custodian->probe(), Succeeds()); }).join();
  const auto before = helper_processes();
  ASSERT_THAT(before, SizeIs(1));
  ::usleep(50'000);
  EXPECT_THAT(custodian->probe(), Succeeds());
  EXPECT_EQ(helper_processes(), before);
}

TEST_F(Pkcs11CustodianTest, HelperEndsWithAKilledDaemon) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto custodian = open();
    const bool works = custodian->probe().has_value();
    const pid_t helper = works ? helper_processes().front() : 0;
    if (::write(ready[1], &helper, sizeof(helper)) < 0) ::_exit(1);
    while (true) ::pause();
  }
  ::close(ready[1]);  // So that the read ends when the daemon does.
  pid_t helper = 0;
  ASSERT_EQ(::read(ready[0], &helper, sizeof(helper)), static_cast<ssize_t>(sizeof(helper)));
  ASSERT_GT(helper, 0);
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  ::close(ready[0]);
  const auto is_running = [&] {
    std::ifstream file("/proc/" + std::to_string(helper) + "/stat");
    std::string pid;
    std::string name;
    std::string state;
    return (file >> pid >> name >> state) && state != "Z";
  };
  for (int i = 0; i < 300 && is_running(); ++i) ::usleep(10'000);
  EXPECT_FALSE(is_running());
}

TEST_F(Pkcs11CustodianTest, FailedSyncIsReportedAndLeavesNoObject) {
  const auto custodian = open();
  CustodianConfig config = token_.config();
  const std::size_t at = config.settings.find("sync_dirs");
  config.settings.insert(config.settings.find('"', at) + 1, "/nonexistent");
  const auto broken = open_pkcs11_custodian(config, *clock_).value();
  EXPECT_THAT(broken->generate(fresh_context()), FailsWith(ErrorCode::io));
  EXPECT_THAT(custodian->list().value(), IsEmpty()) << "the object of a failed seal stays";
}

TEST_F(FaultyPkcs11Test, WrongPinSpendsOneTryAndIsSticky) {
  token_.write_pin("999999");
  const auto custodian = open();
  const auto first = custodian->identity();
  ASSERT_THAT(first, FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(first.error().message, HasSubstr("CKR_PIN_INCORRECT"));
  EXPECT_EQ(first.error().origin, "C_Login");
  EXPECT_EQ(first.error().native, 0xa0u);
  EXPECT_EQ(token_.counted("logins"), 1);
  const auto second = custodian->probe();
  ASSERT_THAT(second, FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(second.error().message, HasSubstr(token_.pin_path()));
  EXPECT_THAT(custodian->list(), FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(custodian->generate(fresh_context()), FailsWith(ErrorCode::auth_failed));
  EXPECT_EQ(token_.counted("logins"), 1);
  token_.write_pin(SoftHsmToken::kPin);
  EXPECT_THAT(custodian->probe(), Succeeds());
  EXPECT_EQ(token_.counted("logins"), 2);
}

TEST_F(FaultyPkcs11Test, TouchedPinFileAsksForAnotherTry) {
  token_.write_pin("999999");
  const auto custodian = open();
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::auth_failed));
  ::usleep(20'000);
  token_.write_pin("999999");
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::auth_failed));
  EXPECT_EQ(token_.counted("logins"), 2);
}

TEST_F(FaultyPkcs11Test, LastTryIsNeverSpent) {
  token_.fault("final_try");
  const auto custodian = open();
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::locked_out));
  token_.no_fault("final_try");
  token_.fault("locked");
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::locked_out));
  EXPECT_EQ(token_.counted("logins"), 0);
  token_.no_fault("locked");
  token_.fault("count_low");
  EXPECT_THAT(custodian->probe(), Succeeds());
}

TEST_F(FaultyPkcs11Test, LostSessionIsOpenedAgainInTheSameProcess) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  const auto before = helper_processes();
  token_.fault("session_lost");
  EXPECT_THAT(custodian->unseal(made.copy, context), Succeeds());
  EXPECT_EQ(helper_processes(), before);
  EXPECT_EQ(token_.counted("logins"), 1);
}

TEST_F(FaultyPkcs11Test, FailingDeviceGetsOneFreshProcessAndThenFails) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const GeneratedKey made = std::move(*custodian->generate(context));
  token_.fault("error.C_FindObjectsInit");
  const auto opened = custodian->unseal(made.copy, context);
  ASSERT_THAT(opened, FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(opened.error().message, HasSubstr("CKR_DEVICE_ERROR"));
  EXPECT_EQ(token_.counted("logins"), 2);
  EXPECT_EQ(token_.counted("finalized"), 2);
  token_.no_fault("error.C_FindObjectsInit");
  EXPECT_THAT(custodian->unseal(made.copy, context), Succeeds());
}

TEST_F(FaultyPkcs11Test, CrashOfTheModuleIsRepeatedOnceThenReported) {
  const auto custodian = open();
  ASSERT_THAT(custodian->identity(), Succeeds());
  token_.fault("abort_once.C_EncryptInit");
  EXPECT_THAT(custodian->probe(), Succeeds());
  token_.fault("abort.C_EncryptInit");
  const auto probed = custodian->probe();
  ASSERT_THAT(probed, FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(probed.error().message, HasSubstr("signal 6"));
  token_.no_fault("abort.C_EncryptInit");
  EXPECT_THAT(custodian->probe(), Succeeds());
}

TEST_F(FaultyPkcs11Test, HangingModuleIsATimeoutAtTheLimit) {
  const auto custodian = open("call_limit_ms = 1000\nslow_limit_ms = 2000\n");
  ASSERT_THAT(custodian->identity(), Succeeds());
  token_.fault("hang.C_EncryptInit");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::timeout));
  EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::timeout)) << "hello hangs as well";
  EXPECT_LE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  token_.no_fault("hang.C_EncryptInit");
  EXPECT_THAT(custodian->probe(), Succeeds());
}

TEST_F(FaultyPkcs11Test, BackOffLeavesTheTokenAloneAndAProbeDoesNotWait) {
  VirtualClock clock(UtcTime(std::chrono::hours(24 * 365 * 55)));
  CustodianConfig config = token_.config();
  config.settings.replace(config.settings.find("reconnect_min_ms = 0"), 20,
                          "reconnect_min_ms = 1000");
  const auto custodian = open_pkcs11_custodian(config, clock).value();
  token_.take_away();
  EXPECT_THAT(custodian->list(), FailsWith(ErrorCode::unavailable));
  token_.bring_back();
  const auto waiting = custodian->list();
  ASSERT_THAT(waiting, FailsWith(ErrorCode::unavailable));
  EXPECT_THAT(waiting.error().message, HasSubstr("1000 ms"));
  clock.advance(std::chrono::seconds(1));
  EXPECT_THAT(custodian->list(), Succeeds());
  for (const pid_t pid : helper_processes()) ::kill(pid, SIGKILL);
  token_.take_away();
  EXPECT_THAT(custodian->list(), FailsWith(ErrorCode::unavailable));
  token_.bring_back();
  EXPECT_THAT(custodian->probe(), Succeeds());
}

TEST_F(FaultyPkcs11Test, KeyThatTheTokenMadeWeakIsRefusedAndDestroyed) {
  const auto custodian = open();
  token_.fault("extractable");
  const auto made = custodian->generate(fresh_context());
  ASSERT_THAT(made, FailsWith(ErrorCode::unsupported));
  EXPECT_THAT(made.error().message, HasSubstr("extractable 1"));
  token_.no_fault("extractable");
  EXPECT_THAT(custodian->list().value(), IsEmpty());
}

TEST_F(FaultyPkcs11Test, WithoutGcmAKeyIsWrapped) {
  token_.fault("no_gcm");
  const KeyContext context = fresh_context();
  const auto custodian = open();
  const auto made = custodian->generate(context);
  ASSERT_THAT(made, Succeeds());
  EXPECT_EQ(pkcs11::WrappedBlob::parse(made->copy.blob).value().mechanism,
            pkcs11::Mechanism::key_wrap);
  EXPECT_THAT(custodian->unseal(made->copy, context), Succeeds());
  EXPECT_THAT(open("mechanism = \"gcm\"\n")->probe(), FailsWith(ErrorCode::unsupported));
}

TEST_F(FaultyPkcs11Test, MechanismThatOpensTamperedBytesIsNotChosen) {
  token_.fault("no_tamper_check");
  const auto custodian = open();
  const auto made = custodian->generate(fresh_context());
  ASSERT_THAT(made, Succeeds());
  EXPECT_EQ(pkcs11::WrappedBlob::parse(made->copy.blob).value().mechanism,
            pkcs11::Mechanism::key_wrap);
}

TEST_F(FaultyPkcs11Test, DestroyThatTheTokenOnlyPretendsIsReported) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  ASSERT_THAT(custodian->generate(context), Succeeds());
  token_.fault("keeps_object");
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything),
              FailsWith(ErrorCode::protocol));
  token_.no_fault("keeps_object");
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything), Succeeds());
}

TEST_F(FaultyPkcs11Test, AbsenceThatOnlyOneProcessSeesIsNotBelieved) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  ASSERT_THAT(custodian->generate(context), Succeeds());
  token_.fault("hides_object");
  EXPECT_THAT(custodian->destroy(context, DestroyScope::everything),
              FailsWith(ErrorCode::protocol));
}

TEST_F(FaultyPkcs11Test, ConfirmThatTheTokenOnlyPretendsIsReported) {
  const KeyContext context = fresh_context();
  const auto custodian = open();
  ASSERT_THAT(custodian->generate(context), Succeeds());
  token_.fault("keeps_label");
  EXPECT_THAT(custodian->confirm(context), FailsWith(ErrorCode::unsupported));
}

}  // namespace
}  // namespace keyward::hsm
