#include "sed/transport/identity_pages.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/text.h"
#include "sed/emulator/emulated_drive.h"

namespace keyward::sed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Bytes bytes_of(std::string_view hex) { return from_hex(hex).value(); }

void put(Bytes& page, std::size_t at, std::string_view text) {
  std::ranges::copy(as_bytes(text), page.begin() + static_cast<std::ptrdiff_t>(at));
}

void put_word(Bytes& page, std::size_t word, unsigned value) {
  page[2 * word] = static_cast<std::byte>(value);
  page[2 * word + 1] = static_cast<std::byte>(value >> 8);
}

ErrorCode code_of(const auto& result) { return result ? ErrorCode::io : result.error().code; }

Bytes ata_page() {
  Bytes page(512);
  put(page, 20, " W-D1243");
  put_word(page, 87, 0x4100);
  put_word(page, 108, 0x5000);
  put_word(page, 109, 0xC500);
  put_word(page, 110, 0x1234);
  put_word(page, 111, 0x5678);
  return page;
}

TEST(IdentityPagesTest, AtaWordsHoldTheirCharactersInReverse) {
  Bytes page = ata_page();
  put(page, 2 * 27, "ASSMNU G");
  put(page, 2 * 23, "V1TO");
  const AtaDevice device = parse_ata_device(page).value();
  EXPECT_EQ(device.identity.serial, "W D-2134");
  EXPECT_EQ(device.identity.model, "SAMSUNG");
  EXPECT_EQ(device.identity.firmware, "1VOT");
  EXPECT_EQ(device.identity.wwn, "5000c50012345678");
}

TEST(IdentityPagesTest, AnAtaNameCountsOnlyWhereTheDriveSaysSo) {
  Bytes page = ata_page();
  put_word(page, 87, 0x4000);
  EXPECT_EQ(parse_ata_device(page)->identity.wwn, "");
  put_word(page, 87, 0xFFFF);  // Not a valid word at all.
  EXPECT_EQ(parse_ata_device(page)->identity.wwn, "");
  put_word(page, 87, 0x4100);
  for (std::size_t word = 108; word < 112; ++word) put_word(page, word, 0);
  EXPECT_EQ(parse_ata_device(page)->identity.wwn, "");
  for (std::size_t word = 108; word < 112; ++word) put_word(page, word, 0xFFFF);
  EXPECT_EQ(parse_ata_device(page)->identity.wwn, "");
}

TEST(IdentityPagesTest, TrustedComputingNeedsAValidWord) {
  Bytes page = ata_page();
  for (const auto& [word, trusted] :
       {std::pair{0x4001u, true}, {0x4000u, false}, {0x0001u, false}, {0xFFFFu, false}}) {
    put_word(page, 48, word);
    EXPECT_EQ(parse_ata_device(page)->trusted_computing, trusted) << word;
  }
}

TEST(IdentityPagesTest, AtaSecurityBecomesTheListOfSat) {
  Bytes page = ata_page();
  put_word(page, 89, 0x0102);
  put_word(page, 90, 0x8003);
  put_word(page, 92, 0xFFFE);
  put_word(page, 128, 0x0127);
  EXPECT_EQ(to_hex(parse_ata_device(page)->security_list), "000e01028003fffe0127000000000000");
}

TEST(IdentityPagesTest, ABrokenIdentifyIsRefused) {
  EXPECT_EQ(code_of(parse_ata_device(Bytes(512))), ErrorCode::protocol);
  EXPECT_EQ(code_of(parse_ata_device(Bytes(511, std::byte{1}))), ErrorCode::protocol);
  EXPECT_EQ(code_of(parse_ata_device({})), ErrorCode::protocol);
  Bytes page = ata_page();
  page[510] = std::byte{0xA5};
  unsigned sum = 0;
  for (const std::byte byte : page) sum += std::to_integer<unsigned>(byte);
  page[511] = static_cast<std::byte>(0u - sum);
  EXPECT_TRUE(parse_ata_device(page));
  page[20] ^= std::byte{1};
  EXPECT_EQ(code_of(parse_ata_device(page)), ErrorCode::protocol);
}

TEST(IdentityPagesTest, BytesThatNobodyCanReadAreEscaped) {
  Bytes page(36);
  put(page, 8, "VEND\x1B[0m");
  put(page, 16, "MODEL \xC3\xA9  ");
  put(page, 32, "1.0");
  const ScsiInquiry inquiry = parse_scsi_inquiry(page).value();
  EXPECT_EQ(inquiry.vendor, "VEND\\x1b[0m");
  EXPECT_EQ(inquiry.model, "MODEL \\xc3\\xa9");
  EXPECT_EQ(inquiry.firmware, "1.0");
}

TEST(IdentityPagesTest, AnInquiryOfNothingIsRefused) {
  EXPECT_EQ(code_of(parse_scsi_inquiry(Bytes(35))), ErrorCode::protocol);
  Bytes page(36);
  page[0] = std::byte{0x7F};  // No device of that type is supported there.
  EXPECT_EQ(code_of(parse_scsi_inquiry(page)), ErrorCode::protocol);
  page[0] = std::byte{0x0D};
  EXPECT_EQ(parse_scsi_inquiry(page)->device_type, 0x0D);
}

TEST(IdentityPagesTest, VitalProductDataSayWhichPageTheyAre) {
  EXPECT_THAT(parse_vpd_pages(bytes_of("000000030080830000")).value(), ElementsAre(0, 0x80, 0x83));
  EXPECT_EQ(code_of(parse_vpd_pages(bytes_of("0080000300808300"))), ErrorCode::protocol);
  EXPECT_EQ(code_of(parse_vpd_pages(bytes_of("00000004008083"))), ErrorCode::protocol);
  EXPECT_EQ(code_of(parse_vpd_pages(bytes_of("000000"))), ErrorCode::protocol);
  EXPECT_EQ(parse_vpd_serial(bytes_of("00800006203153312000")).value(), "1S1");
  EXPECT_EQ(code_of(parse_vpd_serial(bytes_of("0083000620"))), ErrorCode::protocol);
}

TEST(IdentityPagesTest, TheNameIsTheLogicalUnitsAndNotItsPorts) {
  const std::string port =
      "61930008"
      "5000c50000000001";
  const std::string unit =
      "01030008"
      "5000c50000000002";
  const std::string eui =
      "01020008"
      "0011223344556677";
  const auto page = [](const std::string& body) {
    return bytes_of("0083" + fmt::format("{:04x}", body.size() / 2) + body);
  };
  EXPECT_EQ(parse_vpd_device(page(port + eui + unit))->wwn, "5000c50000000002");
  EXPECT_EQ(parse_vpd_device(page(port + eui))->wwn, "0011223344556677");
  EXPECT_EQ(parse_vpd_device(page(port))->wwn, "");
  EXPECT_EQ(parse_vpd_device(page("01030010"
                                  "60000000000000010000000000000002"))
                ->wwn,
            "60000000000000010000000000000002");
  EXPECT_EQ(parse_vpd_device(page("0103000C"
                                  "600000000000000100000002"))
                ->wwn,
            "");
  EXPECT_EQ(code_of(parse_vpd_device(page(unit + "0103"))), ErrorCode::protocol);
  EXPECT_EQ(code_of(parse_vpd_device(page(unit + "01030009"
                                                 "5000c50000000002"))),
            ErrorCode::protocol);
}

TEST(IdentityPagesTest, NvmeChoosesTheFormatInUse) {
  Bytes page(4096);
  page[0] = std::byte{0x10};
  page[130] = std::byte{9};
  page[128 + 4 * 17 + 2] = std::byte{12};
  EXPECT_EQ(parse_nvme_namespace(page)->sector_bytes, 512u);
  EXPECT_EQ(parse_nvme_namespace(page)->sectors, 16u);
  page[26] = std::byte{0x21};  // Format 1 of the second sixteen.
  EXPECT_EQ(parse_nvme_namespace(page)->sector_bytes, 4096u);
  page[26] = std::byte{0x02};
  EXPECT_EQ(parse_nvme_namespace(page)->sector_bytes, 0u);
  page[120] = std::byte{0xAB};
  EXPECT_EQ(parse_nvme_namespace(page)->wwn, "ab00000000000000");
  page[104] = std::byte{0xCD};
  EXPECT_EQ(parse_nvme_namespace(page)->wwn, "cd000000000000000000000000000000");
  EXPECT_EQ(code_of(parse_nvme_namespace(Bytes(4095))), ErrorCode::protocol);
}

TEST(IdentityPagesTest, TheProtocolListStopsWhereItSays) {
  EXPECT_THAT(parse_protocol_list(bytes_of("0000000000000003000102EF")).value(),
              ElementsAre(0, 1, 2));
  EXPECT_THAT(parse_protocol_list(bytes_of("0000000000000000")).value(), IsEmpty());
  EXPECT_EQ(code_of(parse_protocol_list(bytes_of("00000000000000040001"))), ErrorCode::protocol);
  EXPECT_EQ(code_of(parse_protocol_list(bytes_of("000000"))), ErrorCode::protocol);
}

// The emulator makes these pages with code of its own.
class EmulatedPagesTest : public ::testing::Test {
 protected:
  EmulatedPagesTest() {
    std::string name = ::testing::TempDir() + "keyward-pages-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    options_.identity = {"5000c500abcdef01", "SER 01", "A MODEL OF MORE THAN 16", "FW12"};
    options_.data_store_bytes = options_.shadow_mbr_bytes = 4096;
    options_.sectors = 640;
  }
  ~EmulatedPagesTest() override { std::filesystem::remove_all(directory_); }

  Bytes page(Bus bus, IdentifyPage page) {
    options_.bus = bus;
    options_.backing_file = directory_ / fmt::format("{}.drive", static_cast<int>(bus));
    return EmulatedDrive::open(options_).value()->identify(page).value();
  }

  std::filesystem::path directory_;
  EmulatedDriveOptions options_;
};

TEST_F(EmulatedPagesTest, AllBusesNameTheSameDrive) {
  const AtaDevice ata = parse_ata_device(page(Bus::sata, IdentifyPage::ata_device)).value();
  EXPECT_EQ(ata.identity.wwn, "5000c500abcdef01");
  EXPECT_EQ(ata.identity.serial, "SER 01");
  EXPECT_EQ(ata.identity.model, "A MODEL OF MORE THAN 16");
  EXPECT_EQ(ata.identity.firmware, "FW12");
  EXPECT_TRUE(ata.trusted_computing);

  EXPECT_EQ(parse_scsi_inquiry(page(Bus::sas, IdentifyPage::scsi_inquiry))->model,
            "A MODEL OF MORE");
  EXPECT_EQ(parse_scsi_inquiry(page(Bus::sata, IdentifyPage::scsi_inquiry))->vendor, "ATA");
  EXPECT_THAT(parse_vpd_pages(page(Bus::sas, IdentifyPage::scsi_vpd_pages)).value(),
              ElementsAre(0, 0x80, 0x83));
  EXPECT_EQ(parse_vpd_serial(page(Bus::sas, IdentifyPage::scsi_vpd_serial)).value(), "SER 01");
  const VpdDevice vpd = parse_vpd_device(page(Bus::sata, IdentifyPage::scsi_vpd_device)).value();
  EXPECT_EQ(vpd.wwn, "5000c500abcdef01");
  EXPECT_EQ(vpd.ata_model, "A MODEL OF MORE THAN 16");

  const NvmeController nvme =
      parse_nvme_controller(page(Bus::nvme, IdentifyPage::nvme_controller)).value();
  EXPECT_EQ(nvme.identity.serial, "SER 01");
  EXPECT_EQ(nvme.identity.model, "A MODEL OF MORE THAN 16");
  EXPECT_TRUE(nvme.security_commands);
  const NvmeNamespace space =
      parse_nvme_namespace(page(Bus::nvme, IdentifyPage::nvme_namespace)).value();
  EXPECT_EQ(space.wwn, "5000c500abcdef01");
  EXPECT_EQ(space.sectors, 640u);
  EXPECT_EQ(space.sector_bytes, 512u);
}

}  // namespace
}  // namespace keyward::sed
