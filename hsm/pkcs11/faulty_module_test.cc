// The custodian above modules that break, lie and forget (helper/testing/faulty_module.cc).
// Whatever a module does: an error that says what to do or the right answer, a fresh helper
// afterwards, the keys of before still there, and no PIN try spent that was not asked for.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <random>
#include <set>

#include "hsm/pkcs11/object_label.h"
#include "hsm/pkcs11/pkcs11_custodian.h"
#include "hsm/pkcs11/result_matchers.h"
#include "hsm/pkcs11/softhsm_token.h"
#include "hsm/pkcs11/wrapped_blob.h"
#include "hsm/testing/custodian_contract.h"

namespace keyward::hsm {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view kKeyWrap = "mechanism = \"keywrap\"\n";

// While it lives, the fault is on.
class Fault {
 public:
  Fault(const SoftHsmToken& token, std::string name) : token_(token), name_(std::move(name)) {
    token_.fault(name_);
  }
  ~Fault() { token_.no_fault(name_); }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;

 private:
  const SoftHsmToken& token_;
  const std::string name_;
};

class FaultyModuleTest : public ::testing::Test {
 protected:
  FaultyModuleTest() { token_.use_faulty_module(); }

  std::unique_ptr<Custodian> open(std::string_view extra = "") {
    return open_pkcs11_custodian(token_.config(std::string(extra)), *clock_).value();
  }
  // A key that was sealed while all was well: what every test must find again at its end.
  void seal_first_key(std::string_view extra = "") {
    first_ = std::make_unique<GeneratedKey>(open(extra)->generate(context_).value());
  }
  void expect_first_key_opens(Custodian& custodian) {
    const Result<SecretBytes> key = custodian.unseal(first_->copy, context_);
    ASSERT_THAT(key, Succeeds());
    EXPECT_TRUE(constant_time_equal(key->reveal(), first_->key.reveal()));
  }
  // What an attempt may have left is destroyed by the same custodian, and a new one then works.
  void expect_key_can_be_made(Custodian& custodian, const KeyContext& context) {
    ASSERT_THAT(custodian.destroy(context, DestroyScope::unconfirmed), Succeeds());
    const Result<GeneratedKey> made = custodian.generate(context);
    ASSERT_THAT(made, Succeeds());
    EXPECT_THAT(custodian.unseal(made->copy, context), Succeeds());
    ASSERT_THAT(custodian.destroy(context, DestroyScope::unconfirmed), Succeeds());
  }

  std::unique_ptr<Clock> clock_ = real_clock();
  SoftHsmToken token_;
  const KeyContext context_ = fresh_context();
  std::unique_ptr<GeneratedKey> first_;
};

// ---- Every function, every kind of fault ----

constexpr auto kFunctions = std::to_array<std::string_view>(
    {"C_GetTokenInfo", "C_OpenSession", "C_GetSessionInfo", "C_Login", "C_GenerateRandom",
     "C_GenerateKey", "C_GetAttributeValue", "C_SetAttributeValue", "C_FindObjectsInit",
     "C_FindObjects", "C_FindObjectsFinal", "C_DestroyObject", "C_EncryptInit", "C_Encrypt",
     "C_DecryptInit", "C_Decrypt"});
constexpr auto kKeyWrapFunctions =
    std::to_array<std::string_view>({"C_CreateObject", "C_WrapKey", "C_UnwrapKey"});

template <typename Value>
const Error* error_in(const Result<Value>& result) {
  return result ? nullptr : &result.error();
}

class AnyFunctionTest : public FaultyModuleTest {
 protected:
  // A module's failure is not taken for a tampered copy or for a key that is gone, and it is told
  // in words with the function's name or the helper's.
  static void expect_told(const Error* error) {
    if (error == nullptr) return;
    EXPECT_THAT(error->code, AnyOf(ErrorCode::unavailable, ErrorCode::timeout, ErrorCode::protocol,
                                   ErrorCode::unsupported))
        << error->message;
    EXPECT_THAT(error->message, AnyOf(HasSubstr("C_"), HasSubstr("keyward-p11")));
    EXPECT_GT(error->message.size(), 40u) << error->message;
  }

  void use(Custodian& custodian, const KeyContext& another) {
    const Result<SecretBytes> key = custodian.unseal(first_->copy, context_);
    expect_told(error_in(key));
    EXPECT_TRUE(!key || constant_time_equal(key->reveal(), first_->key.reveal()));
    expect_told(error_in(custodian.confirm(context_)));
    const Result<GeneratedKey> made = custodian.generate(another);
    expect_told(error_in(made));
    if (made) expect_told(error_in(custodian.unseal(made->copy, another)));
    expect_told(error_in(custodian.destroy(another, DestroyScope::unconfirmed)));
  }

  void run(std::string_view kind, std::string_view function, std::string_view settings) {
    SCOPED_TRACE(fmt::format("{}.{}", kind, function));
    const auto custodian = open(settings);
    ASSERT_THAT(custodian->probe(), Succeeds());
    const KeyContext another = fresh_context();
    {
      const Fault fault(token_, fmt::format("{}.{}", kind, function));
      use(*custodian, another);
    }
    ASSERT_THAT(custodian->probe(), Succeeds());
    EXPECT_THAT(helper_processes(), SizeIs(1));
    expect_first_key_opens(*custodian);
    expect_key_can_be_made(*custodian, another);
    EXPECT_THAT(custodian->list().value(), SizeIs(1)) << "something is left of what failed";
  }

  void run_all(std::string_view kind, std::string_view settings = "") {
    if (!first_) seal_first_key();
    for (const std::string_view function : kFunctions) run(kind, function, settings);
    for (const std::string_view function : kKeyWrapFunctions)
      run(kind, function, fmt::format("{}{}", kKeyWrap, settings));
  }
};

TEST_F(AnyFunctionTest, CrashesBeforeItsWork) { run_all("abort"); }
TEST_F(AnyFunctionTest, CrashesAfterItsWork) { run_all("abort_after"); }
TEST_F(AnyFunctionTest, FailsBeforeItsWork) { run_all("error"); }
TEST_F(AnyFunctionTest, FailsAfterItsWork) { run_all("error_after"); }

// Each waits for limits to pass, so by default a few are drawn; KEYWARD_NIGHTLY=1 runs all.
TEST_F(AnyFunctionTest, HangsBeforeOrAfterItsWork) {
  constexpr std::string_view kLimits = "call_limit_ms = 1500\nslow_limit_ms = 3000\n";
  const char* nightly = std::getenv("KEYWARD_NIGHTLY");
  if (nightly != nullptr && std::string_view(nightly) == "1") {
    run_all("hang", kLimits);
    run_all("hang_after", kLimits);
    return;
  }
  const char* given = std::getenv("KEYWARD_SEED");
  const unsigned seed = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                         : std::random_device{}();
  fmt::print("KEYWARD_SEED={}\n", seed);
  std::mt19937 random(seed);
  seal_first_key();
  for (const std::string_view kind : {"hang", "hang_after"})
    run(kind, kFunctions[random() % kFunctions.size()], kLimits);
}

TEST_F(FaultyModuleTest, AnswerThatIsLateButInTimeIsTaken) {
  seal_first_key();
  const auto custodian = open();
  for (const char* function : {"C_Login", "C_Decrypt", "C_GenerateKey"}) {
    const Fault fault(token_, fmt::format("late.{}", function));
    expect_first_key_opens(*custodian);
    expect_key_can_be_made(*custodian, fresh_context());
  }
}

TEST_F(FaultyModuleTest, AnswerAfterItsLimitIsNeverTakenForTheNextOne) {
  seal_first_key();
  const auto custodian = open("call_limit_ms = 1500\n");
  ASSERT_THAT(custodian->probe(), Succeeds());
  {
    const Fault fault(token_, "very_late.C_FindObjectsInit");
    EXPECT_THAT(custodian->unseal(first_->copy, context_), FailsWith(ErrorCode::timeout));
  }
  expect_first_key_opens(*custodian);
  EXPECT_THAT(custodian->list().value(), SizeIs(1));
}

// ---- Lengths and lists ----

TEST_F(FaultyModuleTest, LengthsBeyondTheirRoomAreNotBelieved) {
  seal_first_key();
  for (const char* fault :
       {"long.C_FindObjects", "long.C_Encrypt", "long.C_Decrypt", "long.C_GetAttributeValue"}) {
    SCOPED_TRACE(fault);
    const auto custodian = open("mechanism = \"gcm\"\n");
    ASSERT_THAT(custodian->probe(), Succeeds());
    const auto before = helper_processes();
    const KeyContext another = fresh_context();
    {
      const Fault on(token_, fault);
      // Not all functions are part of each call: one of the two at the least fails.
      const Result<SecretBytes> key = custodian->unseal(first_->copy, context_);
      const Result<GeneratedKey> made = custodian->generate(another);
      EXPECT_FALSE(key && made);
      for (const Error* error : {error_in(key), error_in(made)}) {
        if (error == nullptr) continue;
        EXPECT_EQ(error->code, ErrorCode::protocol) << error->message;
        EXPECT_THAT(error->message, AllOf(HasSubstr("1048576"), HasSubstr("vendor")));
      }
    }
    EXPECT_EQ(helper_processes(), before) << "it crashed instead of noticing";
    expect_first_key_opens(*custodian);
    expect_key_can_be_made(*custodian, another);
  }
}

TEST_F(FaultyModuleTest, WrappedKeyOfAWrongLengthIsRefused) {
  const auto custodian = open(kKeyWrap);
  ASSERT_THAT(custodian->probe(), Succeeds());
  const KeyContext context = fresh_context();
  {
    const Fault fault(token_, "long.C_WrapKey");
    EXPECT_THAT(custodian->generate(context), FailsWith(ErrorCode::protocol));
  }
  expect_key_can_be_made(*custodian, context);
  EXPECT_THAT(custodian->list().value(), IsEmpty());
}

TEST_F(FaultyModuleTest, ListsOfMechanismsAreNotBelieved) {
  seal_first_key();
  {
    const Fault none(token_, "no_mechanisms");
    expect_first_key_opens(*open("mechanism = \"gcm\"\n"));
  }
  const Fault all(token_, "all_mechanisms");
  const Fault fault(token_, "no_gcm");
  const auto custodian = open();
  const KeyContext context = fresh_context();
  const Result<GeneratedKey> made = custodian->generate(context);
  ASSERT_THAT(made, Succeeds());
  EXPECT_EQ(pkcs11::WrappedBlob::parse(made->copy.blob).value().mechanism,
            pkcs11::Mechanism::key_wrap);
  const auto probed = open("mechanism = \"gcm\"\n")->probe();
  ASSERT_THAT(probed, FailsWith(ErrorCode::unsupported));
  EXPECT_THAT(probed.error().message, HasSubstr("CKR_MECHANISM_INVALID"));
}

TEST_F(FaultyModuleTest, FunctionsThatAModuleLacksAreDoneWithout) {
  const Fault fault(token_, "no_function");
  const auto custodian = open();
  const Result<GeneratedKey> made = custodian->generate(context_);
  ASSERT_THAT(made, Succeeds());
  EXPECT_EQ(pkcs11::WrappedBlob::parse(made->copy.blob).value().mechanism,
            pkcs11::Mechanism::key_wrap);
  const auto probed = open("mechanism = \"gcm\"\n")->probe();
  ASSERT_THAT(probed, FailsWith(ErrorCode::unsupported));
  EXPECT_THAT(probed.error().message, HasSubstr("CKR_FUNCTION_NOT_SUPPORTED"));
}

// ---- Objects ----

TEST_F(FaultyModuleTest, KeyWhoseBytesCanBeReadIsRefusedAndDestroyed) {
  seal_first_key();
  const auto custodian = open();
  ASSERT_THAT(custodian->probe(), Succeeds());
  {
    const Fault fault(token_, "readable");
    const auto made = custodian->generate(fresh_context());
    ASSERT_THAT(made, FailsWith(ErrorCode::unsupported));
    EXPECT_THAT(made.error().message, HasSubstr("gives out its bytes"));
  }
  EXPECT_THAT(custodian->list().value(), SizeIs(1));
  expect_first_key_opens(*custodian);
}

TEST_F(FaultyModuleTest, ObjectMadeTwiceIsRefusedAndBothAreDestroyed) {
  const auto custodian = open();
  const KeyContext context = fresh_context();
  {
    const Fault fault(token_, "two_objects");
    const auto made = custodian->generate(context);
    ASSERT_THAT(made, FailsWith(ErrorCode::protocol));
    EXPECT_THAT(made.error().message, HasSubstr("shows 2 such keys"));
  }
  ASSERT_THAT(custodian->list().value(), SizeIs(2));
  const auto again = custodian->generate(context);
  ASSERT_THAT(again, FailsWith(ErrorCode::already_exists));
  expect_key_can_be_made(*custodian, context);
  EXPECT_THAT(custodian->list().value(), IsEmpty());
}

TEST_F(FaultyModuleTest, ObjectsThatAreLostToSightAreFoundAgain) {
  seal_first_key();
  const auto custodian = open();
  ASSERT_THAT(custodian->probe(), Succeeds());
  const KeyContext another = fresh_context();
  {
    const Fault fault(token_, "loses_objects");
    const auto opened = custodian->unseal(first_->copy, context_);
    ASSERT_THAT(opened, FailsWith(ErrorCode::not_found));
    EXPECT_THAT(opened.error().message, HasSubstr("it was destroyed, or this is another token"));
    EXPECT_THAT(custodian->confirm(context_), FailsWith(ErrorCode::not_found));
    const auto made = custodian->generate(another);
    ASSERT_THAT(made, FailsWith(ErrorCode::protocol));
    EXPECT_THAT(made.error().message, HasSubstr("shows 0 such keys"));
  }
  expect_first_key_opens(*custodian);
  EXPECT_THAT(custodian->list().value(), SizeIs(2)) << "what the lost attempt made shows as well";
  expect_key_can_be_made(*custodian, another);
  EXPECT_THAT(custodian->list().value(), SizeIs(1));
}

TEST_F(FaultyModuleTest, KeyMadeByACallThatFailedIsSeenAndDestroyed) {
  const auto custodian = open();
  const KeyContext context = fresh_context();
  ASSERT_THAT(custodian->probe(), Succeeds());
  {
    const Fault fault(token_, "error_after.C_GenerateKey");
    EXPECT_THAT(custodian->generate(context), FailsWith(ErrorCode::unavailable));
  }
  const auto held = custodian->list().value();
  ASSERT_THAT(held, SizeIs(1));
  EXPECT_EQ(held[0].context, context);
  EXPECT_FALSE(held[0].confirmed);
  expect_key_can_be_made(*custodian, context);
}

// ---- What comes out is not what went in ----

TEST_F(FaultyModuleTest, WrongPlaintextIsNoticedAtTheSelfTest) {
  const Fault fault(token_, "wrong_plaintext");
  for (const char* settings : {"", "mechanism = \"gcm\"\n", "mechanism = \"keywrap\"\n"}) {
    const auto probed = open(settings)->probe();
    ASSERT_THAT(probed, FailsWith(ErrorCode::unsupported)) << settings;
    EXPECT_THAT(probed.error().message, HasSubstr("opens something else than it sealed"));
  }
}

// After the self-test only the key's commitment tells, which is compared above the custodian.
TEST_F(FaultyModuleTest, TokenThatBeginsToOpenWrongKeysFailsItsProbe) {
  for (const char* settings : {"mechanism = \"gcm\"\n", "mechanism = \"keywrap\"\n"}) {
    const auto custodian = open(settings);
    ASSERT_THAT(custodian->probe(), Succeeds());
    {
      const Fault fault(token_, "wrong_plaintext");
      const auto probed = custodian->probe();
      ASSERT_THAT(probed, FailsWith(ErrorCode::unsupported));
      EXPECT_THAT(probed.error().message, HasSubstr("opens something else than it sealed"));
    }
    EXPECT_THAT(custodian->probe(), Succeeds());
  }
}

// ---- The PIN ----

class UnansweredLoginTest : public FaultyModuleTest {
 protected:
  void expect_one_try(const std::string& fault, ErrorCode code) {
    token_.write_pin("999999");
    const auto custodian = open("slow_limit_ms = 3000\n");
    {
      const Fault on(token_, fault);
      EXPECT_THAT(custodian->probe(), FailsWith(code));
      EXPECT_EQ(token_.counted("logins"), 1);
      for (int i = 0; i < 3; ++i) {
        const auto again = custodian->probe();
        ASSERT_THAT(again, FailsWith(ErrorCode::auth_failed));
        EXPECT_THAT(again.error().message, HasSubstr("was not answered"));
      }
    }
    EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::auth_failed));
    EXPECT_EQ(token_.counted("logins"), 1) << "a wrong PIN was tried again";
    token_.write_pin(SoftHsmToken::kPin);
    EXPECT_THAT(custodian->probe(), Succeeds());
    EXPECT_EQ(token_.counted("logins"), 2);
  }
};

TEST_F(UnansweredLoginTest, WrongPinIsNotTriedAgainAfterACrash) {
  expect_one_try("abort_after.C_Login", ErrorCode::unavailable);
}

TEST_F(UnansweredLoginTest, WrongPinIsNotTriedAgainAfterAHang) {
  expect_one_try("hang_after.C_Login", ErrorCode::timeout);
}

TEST_F(UnansweredLoginTest, RightPinIsTriedAgain) {
  const auto custodian = open("slow_limit_ms = 3000\n");
  {
    const Fault on(token_, "abort_after.C_Login");
    EXPECT_THAT(custodian->probe(), FailsWith(ErrorCode::unavailable));
  }
  EXPECT_THAT(custodian->probe(), Succeeds());
  EXPECT_EQ(token_.counted("logins"), 2);
}

// ---- Back-off ----

TEST_F(FaultyModuleTest, ModuleThatKeepsCrashingIsLeftAloneForLongerAndLonger) {
  VirtualClock clock(UtcTime(std::chrono::hours(24 * 365 * 56)));
  CustodianConfig config = token_.config();
  config.settings.replace(config.settings.find("reconnect_min_ms = 0"), 20,
                          "reconnect_min_ms = 1000\nreconnect_max_ms = 4000");
  seal_first_key();
  const auto custodian = open_pkcs11_custodian(config, clock).value();
  {
    const Fault fault(token_, "abort.C_EncryptInit");
    for (const int pause_ms : {1000, 2000, 4000, 4000}) {
      const long logins = token_.counted("logins");
      EXPECT_THAT(custodian->list(), FailsWith(ErrorCode::unavailable));
      const auto waiting = custodian->list();
      ASSERT_THAT(waiting, FailsWith(ErrorCode::unavailable));
      EXPECT_THAT(waiting.error().message,
                  AllOf(HasSubstr("signal 6"), HasSubstr(fmt::format("{} ms", pause_ms))));
      EXPECT_EQ(token_.counted("logins"), logins + 1) << "the token was asked within the pause";
      clock.advance(milliseconds(pause_ms));
    }
  }
  expect_first_key_opens(*custodian);
}

}  // namespace
}  // namespace keyward::hsm
