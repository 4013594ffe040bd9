#include "hsm/tpm2/tpm2_custodian.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/text.h"
#include "crypto/kdf.h"
#include "hsm/hardware_warnings.h"
#include "hsm/testing/custodian_contract.h"
#include "hsm/testing/swtpm.h"
#include "hsm/tpm2/sealed_blob.h"

namespace keyward::hsm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Tpm2CustodianTest : public testing::Test {
 protected:
  Tpm2CustodianTest() : root_(make_directory()), tpm_(subdirectory("tpm")) {
    subdirectory("state");
    started_ = tpm_.start();
  }
  ~Tpm2CustodianTest() override {
    custodian_.reset();
    tpm_.kill();
    std::filesystem::remove_all(root_);
  }
  void SetUp() override {
    ASSERT_TRUE(started_);
    custodian_ = open("pcrs = [16]");
  }

  static std::string make_directory() {
    char path[] = "/tmp/kwtpm-XXXXXX";
    return mkdtemp(path);
  }
  std::string subdirectory(const std::string& name) {
    std::filesystem::create_directory(root_ + "/" + name);
    return root_ + "/" + name;
  }
  std::string state_dir() const { return root_ + "/state"; }
  std::string pin_path() const { return root_ + "/pin"; }
  void write_pin(std::string_view pin) const {
    std::ofstream(pin_path()) << pin << "\n";
    ::chmod(pin_path().c_str(), 0600);
  }

  std::unique_ptr<Custodian> open(const std::string& settings, const std::string& state = "state") {
    const CustodianConfig config{"tpm2", "board",
                                 fmt::format("tcti = \"{}\"\n{}\n", tpm_.tcti(),
                                             settings.find("time_limit_s") == std::string::npos
                                                 ? settings + "\ntime_limit_s = 120"
                                                 : settings),
                                 root_ + "/" + state};
    auto custodian = open_tpm2_custodian(config, *clock_);
    EXPECT_TRUE(custodian.has_value()) << custodian.error().message;
    return custodian ? *std::move(custodian) : nullptr;
  }
  std::string with_pin() const { return fmt::format("pcrs = []\npin = \"file:{}\"", pin_path()); }

  GeneratedKey make(const KeyContext& context) {
    Result<GeneratedKey> made = custodian_->generate(context);
    if (!made) {
      ADD_FAILURE() << made.error().message;
      return {SecretBytes::allocate(32).value(), {}};
    }
    return *std::move(made);
  }
  void expect_opens(const GeneratedKey& made, const KeyContext& context) {
    const Result<SecretBytes> key = custodian_->unseal(made.copy, context);
    ASSERT_TRUE(key.has_value()) << key.error().message;
    EXPECT_TRUE(constant_time_equal(key->reveal(), made.key.reveal()));
  }
  // The error of an unseal that must fail.
  Error refusal(const SealedKey& copy, const KeyContext& context) {
    const Result<SecretBytes> key = custodian_->unseal(copy, context);
    if (!key) return key.error();
    ADD_FAILURE() << "the copy opens";
    return {ErrorCode::io, "the copy opens"};
  }
  int failed_tries() {
    const std::string out = tpm_.directory() + "/tools";
    std::filesystem::remove(out);
    EXPECT_EQ(tpm_.run_tool({"tpm2_getcap", "properties-variable"}), 0);
    std::ifstream text(out);
    for (std::string line; std::getline(text, line);) {
      if (line.find("TPM2_PT_LOCKOUT_COUNTER") == std::string::npos) continue;
      return std::stoi(line.substr(line.find(':') + 1), nullptr, 16);
    }
    return -1;
  }

  std::string root_;
  std::unique_ptr<Clock> clock_ = real_clock();
  Swtpm tpm_;
  bool started_ = false;
  std::unique_ptr<Custodian> custodian_;
};

TEST_F(Tpm2CustodianTest, KeepsTheContractUnderAPcrPolicy) {
  check_custodian_contract(*custodian_);
}

TEST_F(Tpm2CustodianTest, KeepsTheContractUnderAPin) {
  write_pin("correct horse");
  custodian_ = open(with_pin());
  check_custodian_contract(*custodian_);
  EXPECT_EQ(failed_tries(), 0);
}

TEST_F(Tpm2CustodianTest, KeepsTheContractBoundToTheTpmAlone) {
  custodian_ = open("pcrs = []");
  check_custodian_contract(*custodian_);
}

TEST_F(Tpm2CustodianTest, KeepsTheContractUnderTenPcrsAndAPin) {
  write_pin("correct horse");
  custodian_ = open(fmt::format("pcrs = [0,1,2,3,4,5,6,7,11,23]\npin = \"file:{}\"", pin_path()));
  check_custodian_contract(*custodian_);
}

TEST_F(Tpm2CustodianTest, WarnsOfAVirtualTpmAndOfHierarchiesWithoutAPassword) {
  auto& warns = dynamic_cast<WarnsOfHardware&>(*custodian_);
  const auto texts = [&] {
    std::string all;
    const auto warnings = warns.hardware_warnings().value();
    for (const HardwareWarning& warning : warnings)
      all += fmt::format("{}{}\n", warning.is_software ? "software: " : "", warning.text);
    return all;
  };
  EXPECT_THAT(texts(), AllOf(HasSubstr("software: it is a virtual TPM (manufacturer IBM, SW"),
                             HasSubstr("owner hierarchy"), HasSubstr("lockout hierarchy")));
  ASSERT_EQ(tpm_.run_tool({"tpm2_changeauth", "-c", "owner", "one"}), 0);
  ASSERT_EQ(tpm_.run_tool({"tpm2_changeauth", "-c", "lockout", "two"}), 0);
  EXPECT_THAT(texts(), Not(HasSubstr("hierarchy")));
}

TEST_F(Tpm2CustodianTest, IdentityIsTheSrkNameAndStaysOverReopening) {
  const std::string identity = custodian_->identity().value();
  EXPECT_EQ(identity.size(), 68u);
  EXPECT_TRUE(identity.starts_with("000b"));
  custodian_ = open("pcrs = [16]");
  EXPECT_EQ(custodian_->identity().value(), identity);
}

TEST_F(Tpm2CustodianTest, KeyOpensAfterTheTpmAndTheProcessWereRestarted) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  ASSERT_TRUE(custodian_->confirm(context).has_value());
  custodian_.reset();
  ASSERT_TRUE(tpm_.start());
  custodian_ = open("pcrs = [16]");
  expect_opens(made, context);
  EXPECT_TRUE(contract::lists(*custodian_, context, true));
}

TEST_F(Tpm2CustodianTest, EnrolmentFileIsPrivate) {
  ASSERT_TRUE(custodian_->identity().has_value());
  struct stat status {};
  ASSERT_EQ(stat((state_dir() + "/tpm2-board.enrolment").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST_F(Tpm2CustodianTest, WrongPinSpendsOneTryAndIsNotTriedAgain) {
  write_pin("correct horse");
  custodian_ = open(with_pin());
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  write_pin("wrong horse");
  const Error first = refusal(made.copy, context);
  EXPECT_EQ(first.code, ErrorCode::auth_failed);
  EXPECT_EQ(first.native, 0x98eu);
  EXPECT_THAT(first.message, HasSubstr("1 of 3 wrong tries are counted"));
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::auth_failed);
  const Result<GeneratedKey> another = custodian_->generate(fresh_context());
  EXPECT_FALSE(another.has_value());
  EXPECT_EQ(failed_tries(), 1);

  write_pin("correct horse");
  expect_opens(made, context);
}

TEST_F(Tpm2CustodianTest, LastTryIsNeverSpent) {
  write_pin("correct horse");
  custodian_ = open(with_pin());
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  for (const char* wrong : {"wrong", "also wrong"}) {
    write_pin(wrong);
    EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::auth_failed);
  }
  write_pin("wrong again");
  const Error refused = refusal(made.copy, context);
  EXPECT_EQ(refused.code, ErrorCode::locked_out);
  EXPECT_THAT(refused.message, HasSubstr("one more wrong try would lock the TPM"));
  EXPECT_THAT(refused.message, HasSubstr("every 1000 s"));
  EXPECT_EQ(failed_tries(), 2);
  write_pin("correct horse");
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::locked_out);

  ASSERT_EQ(tpm_.run_tool({"tpm2_dictionarylockout", "-c"}), 0);
  expect_opens(made, context);
}

TEST_F(Tpm2CustodianTest, LockedOutTpmOpensAndDestroysWhatHasNoPin) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  write_pin("correct horse");
  const auto pinned = open(with_pin());
  const KeyContext pinned_context = fresh_context();
  const SealedKey pinned_copy = pinned->generate(pinned_context).value().copy;
  write_pin("wrong horse");
  EXPECT_EQ(pinned->unseal(pinned_copy, pinned_context).error().code, ErrorCode::auth_failed);
  write_pin("correct horse");
  // One wrong try is counted, and now one locks.
  ASSERT_EQ(tpm_.run_tool({"tpm2_dictionarylockout", "-s", "-n", "1", "-t", "90", "-l", "90"}), 0);
  const Result<SecretBytes> refused = pinned->unseal(pinned_copy, pinned_context);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::locked_out);
  EXPECT_THAT(refused.error().message, HasSubstr("the TPM is locked out"));
  EXPECT_THAT(refused.error().message, HasSubstr("every 90 s"));

  expect_opens(made, context);
  EXPECT_TRUE(custodian_->destroy(context, DestroyScope::everything).has_value());
}

TEST_F(Tpm2CustodianTest, MissingPinFileIsUnavailableAndSpendsNothing) {
  write_pin("correct horse");
  custodian_ = open(with_pin());
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  std::filesystem::remove(pin_path());
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::unavailable);
  EXPECT_EQ(failed_tries(), 0);
}

TEST_F(Tpm2CustodianTest, PinFileThatOthersMayReadIsNotUsed) {
  write_pin("correct horse");
  custodian_ = open(with_pin());
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  ::chmod(pin_path().c_str(), 0644);
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::not_permitted);
  EXPECT_EQ(failed_tries(), 0);
}

TEST_F(Tpm2CustodianTest, ChangedPcrIsNamed) {
  custodian_ = open("pcrs = [7, 11, 15]");
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  expect_opens(made, context);
  ASSERT_EQ(tpm_.run_tool({"tpm2_pcrextend", "11:sha256=" + std::string(64, 'a')}), 0);
  const Error refused = refusal(made.copy, context);
  EXPECT_EQ(refused.code, ErrorCode::conflict);
  EXPECT_EQ(refused.native, 0x99du);
  EXPECT_THAT(refused.message, HasSubstr("PCR 11"));
  EXPECT_THAT(refused.message, testing::Not(HasSubstr("PCR 7 ")));
  EXPECT_THAT(refused.message, testing::Not(HasSubstr("PCR 15 ")));
  // Destroying does not depend on what was booted.
  EXPECT_TRUE(custodian_->destroy(context, DestroyScope::everything).has_value());
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::not_found);
}

// The first try may still meet what the stop held up.
Result<void> probe_until_it_answers(Custodian& custodian) {
  Result<void> outcome = custodian.probe();
  for (int tries = 1; !outcome && outcome.error().code == ErrorCode::timeout && tries < 20;
       ++tries) {
    outcome = custodian.probe();
  }
  return outcome;
}

TEST_F(Tpm2CustodianTest, StoppedTpmTimesOutAndWorksAgainWhenItGoesOn) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  const auto hasty = open("pcrs = [16]\ntime_limit_s = 1");
  tpm_.stop_answering();
  const auto begin = std::chrono::steady_clock::now();
  const Result<SecretBytes> first = hasty->unseal(made.copy, context);
  ASSERT_FALSE(first.has_value());
  EXPECT_EQ(first.error().code, ErrorCode::timeout);
  const Result<void> second = hasty->probe();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::timeout);
  EXPECT_THAT(second.error().message, HasSubstr("nothing was sent"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  tpm_.go_on();
  const Result<void> probed = probe_until_it_answers(*hasty);
  EXPECT_TRUE(probed.has_value()) << probed.error().message;
  expect_opens(made, context);
}

TEST_F(Tpm2CustodianTest, WhatATimedOutCallLeftIsDestroyedByItsContext) {
  ASSERT_TRUE(custodian_->probe().has_value());
  const KeyContext context = fresh_context();
  {
    const auto hasty = open("pcrs = [16]\ntime_limit_s = 1");
    tpm_.stop_answering();
    const Result<GeneratedKey> made = hasty->generate(context);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, ErrorCode::timeout);
    tpm_.go_on();
    ASSERT_TRUE(probe_until_it_answers(*hasty).has_value());
  }
  ASSERT_TRUE(custodian_->destroy(context, DestroyScope::unconfirmed).has_value());
  EXPECT_TRUE(custodian_->generate(context).has_value());
  EXPECT_EQ(custodian_->list().value().size(), 1u);
}

TEST_F(Tpm2CustodianTest, ClosingWhileTheTpmIsStoppedDoesNotHang) {
  auto hasty = open("pcrs = [16]\ntime_limit_s = 1");
  ASSERT_TRUE(custodian_->probe().has_value());
  tpm_.stop_answering();
  EXPECT_EQ(hasty->probe().error().code, ErrorCode::timeout);
  const auto begin = std::chrono::steady_clock::now();
  hasty.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  tpm_.go_on();
  EXPECT_TRUE(custodian_->probe().has_value());
}

TEST_F(Tpm2CustodianTest, KilledTpmIsUnavailableAndRestartedOneWorks) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  tpm_.kill();
  const Error refused = refusal(made.copy, context);
  EXPECT_EQ(refused.code, ErrorCode::unavailable);
  EXPECT_THAT(refused.message, HasSubstr("cannot be reached"));
  EXPECT_EQ(custodian_->probe().error().code, ErrorCode::unavailable);
  ASSERT_TRUE(tpm_.start());
  expect_opens(made, context);
}

TEST_F(Tpm2CustodianTest, TpmKilledDuringACallIsAnErrorNotACrash) {
  custodian_ = open("pcrs = []");
  ASSERT_TRUE(custodian_->probe().has_value());
  tpm_.stop_answering();
  Result<void> outcome;
  std::jthread caller([&] { outcome = custodian_->probe(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  tpm_.kill();
  caller.join();
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().code, ErrorCode::unavailable);
  ASSERT_TRUE(tpm_.start());
  EXPECT_TRUE(custodian_->probe().has_value());
}

TEST_F(Tpm2CustodianTest, AbsentTpmOpensAndAnswersUnavailable) {
  tpm_.kill();
  custodian_ = open("pcrs = [7]");
  EXPECT_EQ(custodian_->identity().error().code, ErrorCode::unavailable);
  EXPECT_EQ(custodian_->destroy(fresh_context(), DestroyScope::everything).error().code,
            ErrorCode::unavailable);
}

TEST_F(Tpm2CustodianTest, ClearedTpmIsExplained) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  ASSERT_EQ(tpm_.run_tool({"tpm2_clear"}), 0);
  const Error refused = refusal(made.copy, context);
  EXPECT_EQ(refused.code, ErrorCode::conflict);
  EXPECT_EQ(refused.native, 0x18bu);
  EXPECT_THAT(refused.message, HasSubstr("the TPM was cleared or replaced"));
}

TEST_F(Tpm2CustodianTest, AnotherTpmWithItsOwnStorageRootIsRefused) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  Swtpm other(subdirectory("other"));
  ASSERT_TRUE(other.start());
  const std::string settings = fmt::format("tcti = \"{}\"\npcrs = [16]", other.tcti());
  subdirectory("other-state");
  ASSERT_TRUE(open_tpm2_custodian({"tpm2", "board", settings, root_ + "/other-state"}, *clock_)
                  .value()
                  ->identity()
                  .has_value());
  custodian_ = open_tpm2_custodian({"tpm2", "board", settings, state_dir()}, *clock_).value();
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::conflict);
  EXPECT_EQ(custodian_->identity().error().code, ErrorCode::conflict);
  EXPECT_EQ(custodian_->generate(fresh_context()).error().code, ErrorCode::conflict);
}

// Bytes of every part of the blob, with the digest at its end made to fit again: what then refuses
// is the TPM or the authentication tag.
TEST_F(Tpm2CustodianTest, TamperedBlobNeverOpensEvenWithItsDigestRepaired) {
  custodian_ = open("pcrs = [16, 23]");
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  const std::size_t body = made.copy.blob.size() - 32;
  for (std::size_t at = 0; at < body; at += at < 44 ? 3 : 17) {
    SealedKey bad = made.copy;
    bad.blob[at] ^= std::byte{0x01};
    const crypto::Sha256Digest digest = crypto::sha256(ByteView(bad.blob).first(body));
    std::copy(digest.begin(), digest.end(), bad.blob.end() - 32);
    const Error refused = refusal(bad, context);
    EXPECT_THAT(refused.code,
                testing::AnyOf(ErrorCode::corrupt, ErrorCode::not_found, ErrorCode::auth_failed))
        << "byte " << at << ": " << refused.message;
  }
  expect_opens(made, context);
}

TEST_F(Tpm2CustodianTest, DamagedBlobIsCorruptBeforeAnyTryOfThePinIsSpent) {
  write_pin("correct horse");
  custodian_ = open(with_pin());
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  for (std::size_t at = 0; at < made.copy.blob.size(); ++at) {
    SealedKey bad = made.copy;
    bad.blob[at] ^= std::byte{0x80};
    ASSERT_EQ(refusal(bad, context).code, ErrorCode::corrupt) << "byte " << at;
  }
  EXPECT_EQ(failed_tries(), 0);
}

TEST_F(Tpm2CustodianTest, DestroyedKeyStaysDeadOverAKilledAndRestartedTpm) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  ASSERT_TRUE(custodian_->destroy(context, DestroyScope::everything).has_value());
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::not_found);
  tpm_.kill();
  ASSERT_TRUE(tpm_.start());
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::not_found);
}

// A thief's copy of the state directory, used with the same TPM after the key was destroyed.
TEST_F(Tpm2CustodianTest, OlderCopyOfTheStateDirectoryDoesNotOpenADestroyedKey) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  std::filesystem::copy(state_dir(), root_ + "/stolen");
  ASSERT_TRUE(custodian_->destroy(context, DestroyScope::everything).has_value());
  custodian_ = open("pcrs = [16]", "stolen");
  EXPECT_EQ(refusal(made.copy, context).code, ErrorCode::not_found);
}

TEST_F(Tpm2CustodianTest, DestroyLeavesOtherKeysAndOtherNodesAlone) {
  const KeyContext mine = fresh_context();
  KeyContext same_key_elsewhere = mine;
  same_key_elsewhere.store = StoreId::random();
  const GeneratedKey made = make(mine);
  const GeneratedKey kept = make(same_key_elsewhere);
  subdirectory("node2");
  const auto other = open("pcrs = [16]", "node2");
  const GeneratedKey foreign = other->generate(mine).value();

  ASSERT_TRUE(custodian_->destroy(mine, DestroyScope::everything).has_value());
  EXPECT_EQ(refusal(made.copy, mine).code, ErrorCode::not_found);
  expect_opens(kept, same_key_elsewhere);
  const Result<SecretBytes> opened = other->unseal(foreign.copy, mine);
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_EQ(custodian_->list().value().size(), 1u);
  EXPECT_EQ(other->list().value().size(), 1u);
}

TEST_F(Tpm2CustodianTest, LostEnrolmentFileIsToldAndDestroyDoesNotClaimSuccess) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  std::filesystem::remove(state_dir() + "/tpm2-board.enrolment");
  custodian_ = open("pcrs = [16]");
  const Error refused = refusal(made.copy, context);
  EXPECT_EQ(refused.code, ErrorCode::not_found);
  EXPECT_THAT(refused.message, HasSubstr("Restore it from a backup"));
  EXPECT_EQ(custodian_->destroy(context, DestroyScope::everything).error().code,
            ErrorCode::conflict);
}

TEST_F(Tpm2CustodianTest, DamagedEnrolmentFileIsCorrupt) {
  ASSERT_TRUE(custodian_->identity().has_value());
  std::ofstream(state_dir() + "/tpm2-board.enrolment")
      << "keyward-tpm2-enrolment 1\nsrk_public 00\n";
  custodian_ = open("pcrs = [16]");
  EXPECT_EQ(custodian_->identity().error().code, ErrorCode::corrupt);
}

TEST_F(Tpm2CustodianTest, FortyKeysFitAndTheRestIsExhausted) {
  custodian_ = open("pcrs = []\nnv_indices_max = 3");
  std::vector<KeyContext> contexts;
  const SecretBytes key = SecretBytes::random(32).value();
  Result<SealedKey> sealed = fail(ErrorCode::io, "none yet");
  do {
    contexts.push_back(fresh_context());
    sealed = custodian_->seal(key, contexts.back());
  } while (sealed);
  ASSERT_EQ(sealed.error().code, ErrorCode::exhausted) << sealed.error().message;
  ASSERT_EQ(contexts.size(), 3u * 18u + 1u);
  EXPECT_EQ(custodian_->list().value().size(), 54u);
  // One is given back, one is taken.
  ASSERT_TRUE(custodian_->destroy(contexts[20], DestroyScope::everything).has_value());
  EXPECT_TRUE(custodian_->seal(key, contexts.back()).has_value());
}

// A bare TPM is cleaned up when it is opened, so each kind of call is followed by a look.
TEST_F(Tpm2CustodianTest, NoCallLeavesAHandleBehindInABareTpm) {
  write_pin("correct horse");
  custodian_ = open(fmt::format("pcrs = [7]\npin = \"file:{}\"", pin_path()));
  const auto expect_empty = [this](std::string_view call) {
    const std::string out = tpm_.directory() + "/tools";
    for (const char* kind : {"handles-transient", "handles-loaded-session"}) {
      std::filesystem::remove(out);
      ASSERT_EQ(tpm_.run_tool({"tpm2_getcap", kind}, LeftOvers::keep), 0);
      EXPECT_EQ(std::filesystem::file_size(out), 0u) << kind << " after " << call;
    }
  };
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  expect_empty("generate");
  expect_opens(made, context);
  expect_empty("unseal");
  EXPECT_TRUE(custodian_->probe().has_value());
  expect_empty("probe");
  EXPECT_TRUE(custodian_->confirm(context).has_value());
  EXPECT_TRUE(custodian_->list().has_value());
  EXPECT_TRUE(custodian_->destroy(context, DestroyScope::everything).has_value());
  expect_empty("destroy");
  write_pin("wrong horse");
  EXPECT_FALSE(custodian_->unseal(made.copy, context).has_value());
  expect_empty("a refused unseal");
}

TEST_F(Tpm2CustodianTest, ThirtyKeysOneAfterAnother) {
  custodian_ = open("pcrs = [7]\nnv_indices_max = 1");
  const SecretBytes key = SecretBytes::random(32).value();
  for (int round = 0; round < 30; ++round) {
    const KeyContext context = fresh_context();
    const Result<SealedKey> copy = custodian_->seal(key, context);
    ASSERT_TRUE(copy.has_value()) << round << ": " << copy.error().message;
    if (round % 10 == 0) {
      ASSERT_TRUE(custodian_->unseal(*copy, context).has_value()) << round;
    }
    ASSERT_TRUE(custodian_->destroy(context, DestroyScope::everything).has_value()) << round;
  }
}

TEST_F(Tpm2CustodianTest, WhatADeadProcessLeftInABareTpmIsFlushed) {
  ASSERT_TRUE(custodian_->probe().has_value());
  // Three sessions and three objects: the TPM is full.
  for (const std::string name : {"a", "b", "c"}) {
    ASSERT_EQ(tpm_.run_tool({"tpm2_startauthsession", "--policy-session", "-S", root_ + "/" + name},
                            LeftOvers::keep),
              0);
    ASSERT_EQ(tpm_.run_tool({"tpm2_createprimary", "-c", root_ + "/" + name}, LeftOvers::keep), 0);
  }
  EXPECT_TRUE(custodian_->probe().has_value());
}

TEST_F(Tpm2CustodianTest, ManyThreadsAreServedOneAfterAnother) {
  std::vector<std::jthread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const KeyContext context = fresh_context();
      const Result<GeneratedKey> made = custodian_->generate(context);
      if (!made || !custodian_->confirm(context) || !custodian_->list()) return;
      const Result<SecretBytes> key = custodian_->unseal(made->copy, context);
      if (key && constant_time_equal(key->reveal(), made->key.reveal()) && custodian_->identity() &&
          custodian_->destroy(context, DestroyScope::everything)) {
        ++good;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(good, 8);
  EXPECT_TRUE(custodian_->list().value().empty());
}

TEST_F(Tpm2CustodianTest, OwnerPasswordIsNeededToDefineAnIndexAndIsUsed) {
  ASSERT_EQ(tpm_.run_tool({"tpm2_changeauth", "-c", "owner", "secret"}), 0);
  const Result<std::string> refused = custodian_->identity();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::auth_failed);
  EXPECT_THAT(refused.error().message, HasSubstr("owner_auth"));
  std::ofstream(root_ + "/owner") << "secret";
  ::chmod((root_ + "/owner").c_str(), 0600);
  custodian_ = open(fmt::format("pcrs = [16]\nowner_auth = \"file:{}/owner\"", root_));
  check_custodian_contract(*custodian_);
}

TEST_F(Tpm2CustodianTest, SoftwareTpmIsSyncedAndAMissingDirectoryIsNamed) {
  custodian_ = open(fmt::format("pcrs = [16]\nsync_dirs = [\"{}\"]", tpm_.directory()));
  EXPECT_TRUE(custodian_->generate(fresh_context()).has_value());
  custodian_ = open("pcrs = [16]\nsync_dirs = [\"/nowhere\"]");
  const Result<GeneratedKey> made = custodian_->generate(fresh_context());
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::io);
  EXPECT_THAT(made.error().message, HasSubstr("/nowhere"));
}

TEST_F(Tpm2CustodianTest, SecretsAreInNoFileOfTheTpmNorOfOurs) {
  write_pin("canary-pin-value");
  custodian_ = open(with_pin());
  const KeyContext context = fresh_context();
  const GeneratedKey made = make(context);
  std::filesystem::remove(pin_path());
  const std::string key(reinterpret_cast<const char*>(made.key.reveal().data()), 32);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(content.find(key), std::string::npos) << entry.path();
    EXPECT_EQ(content.find("canary-pin-value"), std::string::npos) << entry.path();
  }
}

}  // namespace
}  // namespace keyward::hsm
