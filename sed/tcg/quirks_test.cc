#include "sed/tcg/quirks.h"

#include <gtest/gtest.h>

namespace keyward::sed::tcg {
namespace {

Quirks of(std::string model) { return quirks_of({"", "", std::move(model), "1.0"}); }

TEST(Quirks, ModelsAreKnownByTheirNames) {
  EXPECT_TRUE(of("SAMSUNG MZWL67T6HBLC-00AW7").no_stack_reset);
  EXPECT_TRUE(of("Innodisk M.2 (P80) 4TE3").no_authenticate);
  EXPECT_TRUE(of("HGST HUH721212ALE601").short_properties);
  EXPECT_TRUE(of("Crucial_CT250MX200SSD1").shadow_mbr_stays);
}

TEST(Quirks, EachIsNotedWithItsReport) {
  const Quirks quirks = of("Crucial_CT250MX200SSD1");
  ASSERT_EQ(quirks.notes.size(), 1u);
  EXPECT_NE(quirks.notes[0].find("issue 125"), std::string::npos);
}

TEST(Quirks, OrdinaryDrivesHaveNone) {
  for (const char* model :
       {"", "KEYWARD EMULATED", "SAMSUNG MZQL27T6HBLA-00A07", "CT500MX500SSD1"}) {
    const Quirks quirks = of(model);
    EXPECT_TRUE(quirks.notes.empty()) << model;
    EXPECT_FALSE(quirks.no_stack_reset || quirks.no_authenticate || quirks.short_properties ||
                 quirks.shadow_mbr_stays);
  }
}

}  // namespace
}  // namespace keyward::sed::tcg
