// Level 0 of drives in the field, as their owners have published it, and its edges.
#include "sed/tcg/discovery.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "sed/tcg/emulated_tper_fixture.h"

namespace keyward::sed::tcg {
namespace {

// Intel SSD Pro 7600p (DTA sedutil issue 222).
const char kIntel7600p[] =
    "000000B0 00000001 00000000 00000000 00000000 00000000 00000000 00000000"
    "00000000 00000000 00000000 00000000 0001100C 11000000 00000000 00000000"
    "0002100C 09000000 00000000 00000000 0003101C 01000000 00000000 00000200"
    "00000000 00000008 00000000 00000000 0201100C 00000009 04000000 00000000"
    "0202100C 0000000A 00A00000 00001000 02031010 08000001 00000400 09000000"
    "00000000 0402100C 00000000 00000000 00000000";

// Kioxia CM6 (DTA sedutil issue 407). Its last twelve bytes were not printed; these are ours.
const char kKioxiaCm6[] =
    "000000D8 00000001 00000000 00000000 01000047 00010000 00000000 00000000"
    "00000000 00000000 00000000 00000000 0001100C 11000000 00000000 00000000"
    "0002200C 49000000 00000000 00000000 0003101C 01000000 00000000 00000208"
    "00000000 00000008 00000000 00000000 0201100C 000000C0 04000000 00000000"
    "0202100C 000000C1 00020000 00000001 02031010 20000002 00000400 C0000000"
    "00000000 03041010 20000002 00000400 C0000000 00000000 0402100C 00000000"
    "00000000 00000000 04031010 80000000 000000C0 00000080 00000010";

Bytes level0(const Bytes& features, std::size_t padding = 0) {
  Bytes out;
  append_big_endian(44 + features.size(), 4, out);
  append_big_endian(1, 4, out);
  out.resize(48);
  out.insert(out.end(), features.begin(), features.end());
  out.resize(out.size() + padding);
  return out;
}

TEST(Discovery, AnOpal2Drive) {
  const Discovery found = parse_discovery(hex(kIntel7600p)).value();
  ASSERT_TRUE(found.tper);
  EXPECT_TRUE(found.tper->synchronous);
  EXPECT_TRUE(found.tper->streaming);
  EXPECT_FALSE(found.tper->com_id_management);
  ASSERT_TRUE(found.locking);
  EXPECT_TRUE(found.locking->supported);
  EXPECT_FALSE(found.locking->enabled);
  EXPECT_FALSE(found.locking->locked);
  EXPECT_TRUE(found.locking->media_encryption);
  ASSERT_TRUE(found.geometry);
  EXPECT_TRUE(found.geometry->alignment_required);
  EXPECT_EQ(found.geometry->logical_block_bytes, 512u);
  EXPECT_EQ(found.geometry->alignment_blocks, 8u);
  ASSERT_TRUE(found.single_user);
  EXPECT_EQ(found.single_user->ranges_supported, 9u);
  EXPECT_TRUE(found.single_user->admins_place_ranges);
  EXPECT_FALSE(found.single_user->any);
  ASSERT_TRUE(found.data_store);
  EXPECT_EQ(found.data_store->tables_max, 10u);
  EXPECT_EQ(found.data_store->bytes_max, 10u << 20);
  EXPECT_EQ(found.data_store->alignment_bytes, 4096u);
  const SscFeature* ssc = found.ssc();
  ASSERT_NE(ssc, nullptr);
  EXPECT_EQ(ssc_name(ssc->ssc), "Opal 2");
  EXPECT_EQ(ssc->base_com_id, 0x0800);
  EXPECT_EQ(ssc->com_ids, 1);
  EXPECT_EQ(ssc->admins, 4);
  EXPECT_EQ(ssc->users, 9);
  EXPECT_EQ(ssc->first_sid_pin_is_msid, true);
  EXPECT_EQ(ssc->reverted_sid_pin_is_msid, true);
  ASSERT_TRUE(found.block_sid);
  EXPECT_FALSE(found.block_sid->sid_blocked);
  EXPECT_TRUE(found.others.empty());
}

TEST(Discovery, ADriveOfTwoClassesAndWithNamespaceLocking) {
  const Discovery found = parse_discovery(hex(kKioxiaCm6)).value();
  EXPECT_TRUE(found.locking->mbr_shadow_absent);
  ASSERT_EQ(found.sscs.size(), 2u);
  EXPECT_EQ(found.sscs[1].ssc, Ssc::ruby);
  EXPECT_EQ(found.ssc()->ssc, Ssc::opal2);
  EXPECT_EQ(found.ssc()->users, 0xC0);
  EXPECT_EQ(found.geometry->logical_block_bytes, 520u);
  ASSERT_TRUE(found.namespace_locking);
  EXPECT_TRUE(found.namespace_locking->range_configured);
  EXPECT_FALSE(found.namespace_locking->range_permitted);
  EXPECT_EQ(found.namespace_locking->keys_max, 0xC0u);
  EXPECT_EQ(found.namespace_locking->keys_unused, 0x80u);
  EXPECT_EQ(found.namespace_locking->ranges_per_namespace_max, 0x10u);
}

TEST(Discovery, Enterprise) {
  const Discovery found =
      parse_discovery(level0(hex("0001100C 51000000 00000000 00000000"
                                 "0002100C 0F000000 00000000 00000000"
                                 "01001010 07FE0002 01000000 00000000 00000000"
                                 "C0010010 00000001 01000000 00000002 00000000")))
          .value();
  EXPECT_TRUE(found.tper->com_id_management);
  EXPECT_TRUE(found.locking->enabled);
  EXPECT_TRUE(found.locking->locked);
  ASSERT_NE(found.ssc(), nullptr);
  EXPECT_EQ(found.ssc()->ssc, Ssc::enterprise);
  EXPECT_EQ(found.ssc()->base_com_id, 0x07FE);
  EXPECT_EQ(found.ssc()->com_ids, 2);
  EXPECT_TRUE(found.ssc()->range_crossing_refused);
  EXPECT_FALSE(found.ssc()->admins);
  EXPECT_FALSE(found.ssc()->first_sid_pin_is_msid);
  ASSERT_EQ(found.ports.size(), 2u);
  EXPECT_EQ(found.ports[0].number, 1u);
  EXPECT_TRUE(found.ports[0].locked);
  EXPECT_FALSE(found.ports[1].locked);
}

TEST(Discovery, PyriteWithDataRemoval) {
  const Discovery found =
      parse_discovery(level0(hex("03031010 07FE0001 00 0000 0000 FF 00 0000000000"
                                 "04041020 00 03 27 20 000A 0005 0001 0000 0000 0003"
                                 "00000000000000000000000000000000"
                                 "0402200C 0E 01 00000000000000000000")))
          .value();
  ASSERT_NE(found.ssc(), nullptr);
  EXPECT_EQ(found.ssc()->ssc, Ssc::pyrite2);
  EXPECT_EQ(found.ssc()->first_sid_pin_is_msid, false);
  EXPECT_EQ(found.ssc()->reverted_sid_pin_is_msid, true);
  EXPECT_FALSE(found.ssc()->users);
  ASSERT_TRUE(found.data_removal);
  EXPECT_TRUE(found.data_removal->processing);
  EXPECT_TRUE(found.data_removal->interrupted);
  EXPECT_EQ(found.data_removal->mechanisms, 0x27);
  EXPECT_EQ(found.data_removal->seconds[0], 20u);
  EXPECT_EQ(found.data_removal->seconds[1], 10u);
  EXPECT_EQ(found.data_removal->seconds[5], 360u);  // Bit 5: minutes.
  ASSERT_TRUE(found.block_sid);
  EXPECT_FALSE(found.block_sid->sid_pin_changed);
  EXPECT_TRUE(found.block_sid->sid_blocked);
  EXPECT_TRUE(found.block_sid->freeze_supported);
  EXPECT_TRUE(found.block_sid->frozen);
  EXPECT_TRUE(found.block_sid->unblocked_by_hardware_reset);
}

TEST(Discovery, EveryOtherClassIsNamed) {
  const std::pair<const char*, std::string_view> kClasses[] = {
      {"02001010 10000001 00 0000000000000000000000", "Opal 1"},
      {"03011010 10000001 00 0000 0000 00 00 0000000000", "Opalite"},
      {"03021010 10000001 00 0000 0000 00 00 0000000000", "Pyrite 1"},
      {"03041010 10000001 00 0004 0009 00 00 0000000000", "Ruby"}};
  for (const auto& [feature, name] : kClasses) {
    const Discovery found = parse_discovery(level0(hex(feature))).value();
    ASSERT_NE(found.ssc(), nullptr) << name;
    EXPECT_EQ(ssc_name(found.ssc()->ssc), name);
    EXPECT_EQ(found.ssc()->base_com_id, 0x1000);
  }
}

TEST(Discovery, WhatWeDoNotKnowIsKept) {
  const Discovery found =
      parse_discovery(level0(hex("00041002 AABB 04073000 C0021001 01"), 100)).value();
  EXPECT_EQ(found.ssc(), nullptr);
  ASSERT_EQ(found.others.size(), 3u);
  EXPECT_EQ(found.others[0].code, 0x0004);
  EXPECT_EQ(found.others[0].body, hex("AABB"));
  EXPECT_EQ(found.others[1].version, 3);
  EXPECT_EQ(feature_name(found.others[1].code), "Shadow MBR for several namespaces");
  EXPECT_EQ(feature_name(found.others[2].code), "vendor's own");
}

TEST(Discovery, TheFirstOfTwoCounts) {
  const Discovery found = parse_discovery(level0(hex("0002100C 01000000 00000000 00000000"
                                                     "0002100C 07000000 00000000 00000000")))
                              .value();
  EXPECT_FALSE(found.locking->locked);
}

TEST(Discovery, LengthsThatContradictEachOtherAreRefused) {
  const Bytes whole = hex(kIntel7600p);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parse_discovery(ByteView(whole).first(size))) << size;
  for (const char* features : {"0001", "00011010 00", "0002100C 01", "02031004 10000001",
                               "00031008 0100000000000000", "04041002 0000", "04021001 00"}) {
    const Result<Discovery> found = parse_discovery(level0(hex(features)));
    ASSERT_FALSE(found) << features;
    EXPECT_EQ(found.error().code, ErrorCode::protocol);
  }
  EXPECT_FALSE(parse_discovery(hex("0000000C 00000001 00000000 00000000")));
}

TEST(Discovery, EveryByteOfARealAnswerMayBeWrong) {
  for (const char* real : {kIntel7600p, kKioxiaCm6}) {
    const Bytes whole = hex(real);
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (const unsigned value : {0x00u, 0x01u, 0x7Fu, 0xFFu}) {
        Bytes damaged = whole;
        damaged[at] = std::byte(value);
        const Result<Discovery> found = parse_discovery(damaged);
        EXPECT_TRUE(found || found.error().code == ErrorCode::protocol);
      }
  }
}

// Answers Level 0 alone, from a script.
class DiscoveryTransport final : public SecurityTransport {
 public:
  explicit DiscoveryTransport(Bytes answer) : answer_(std::move(answer)) {}

  const DriveIdentity& identity() const override { return identity_; }
  Result<Bytes> identify(IdentifyPage) override { return fail(ErrorCode::unsupported, ""); }
  Result<void> send(Protocol, std::uint16_t, ByteView) override {
    return fail(ErrorCode::unsupported, "");
  }
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override {
    EXPECT_EQ(protocol, Protocol::tcg);
    EXPECT_EQ(specific, 1);
    ++commands;
    std::ranges::fill(buffer, std::byte{0});
    std::ranges::copy(ByteView(answer_).first(std::min(answer_.size(), buffer.size())),
                      buffer.begin());
    return buffer.size();
  }

  int commands = 0;

 private:
  Bytes answer_;
  DriveIdentity identity_;
};

TEST(Discovery, ALongAnswerIsFetchedAgainWithALargerBuffer) {
  Bytes features;
  for (int n = 0; n < 10; ++n) {
    append_big_endian(0xC100FF, 3, features);
    features.back() = std::byte{0x10};
    append_big_endian(0xFF, 1, features);
    features.resize(features.size() + 0xFF);
  }
  DiscoveryTransport transport(level0(features));
  EXPECT_EQ(discover(transport).value().others.size(), 10u);
  EXPECT_EQ(transport.commands, 2);
}

TEST(Discovery, NothingButZerosIsNoTcgDrive) {
  DiscoveryTransport transport(Bytes(512));
  const Result<Discovery> found = discover(transport);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::unsupported);
}

TEST(Discovery, ALengthBeyondReasonIsRefusedAtOnce) {
  DiscoveryTransport transport(hex("FFFFFFF0 00000001"));
  const Result<Discovery> found = discover(transport);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::protocol);
  EXPECT_EQ(transport.commands, 1);
}

TEST(Discovery, AnEmulatedDrivesOwnershipAndLocksShow) {
  EmulatedTper tper;
  const auto found = [&] { return discover(tper.transport()).value(); };
  EXPECT_FALSE(found().locking->enabled);
  EXPECT_FALSE(found().block_sid->sid_pin_changed);
  tper.take_ownership();
  EXPECT_TRUE(found().locking->enabled);
  EXPECT_TRUE(found().block_sid->sid_pin_changed);
  EXPECT_FALSE(found().locking->locked);
  using namespace column::locking;
  ASSERT_TRUE(tper.as_admin().set(
      range::kGlobal, {{kReadLockEnabled, std::uint64_t{1}}, {kReadLocked, std::uint64_t{1}}}));
  EXPECT_TRUE(found().locking->locked);
}

TEST(Discovery, EachEmulatedFamilyIsRecognized) {
  const auto ssc = [](Family family) {
    EmulatedTper tper({.family = family});
    return discover(tper.transport()).value().ssc()->ssc;
  };
  EXPECT_EQ(ssc(Family::opal2), Ssc::opal2);
  EXPECT_EQ(ssc(Family::enterprise), Ssc::enterprise);
  EXPECT_EQ(ssc(Family::pyrite2), Ssc::pyrite2);
  EXPECT_EQ(ssc(Family::ruby), Ssc::ruby);
}

}  // namespace
}  // namespace keyward::sed::tcg
