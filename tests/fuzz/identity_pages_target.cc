#include <algorithm>

#include "base/check.h"
#include "base/text.h"
#include "sed/transport/identity_pages.h"
#include "sed/transport/scsi_sense.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace sed;

void check_text(std::string_view text, std::size_t bytes_max) {
  CHECK(is_printable_utf8(text), "a text for no terminal");
  CHECK(text.empty() || (text.front() != ' ' && text.back() != ' '), "blanks around a text");
  CHECK(text.size() <= 4 * bytes_max, "a text longer than its field");
}

void check_wwn(std::string_view wwn) {
  CHECK(wwn.empty() || wwn.size() == 16 || wwn.size() == 32, "a WWN of another size");
  CHECK(wwn.find_first_not_of("0123456789abcdef") == std::string_view::npos, "a WWN is hex");
  CHECK(wwn.empty() || wwn.find_first_not_of('0') != std::string_view::npos, "a WWN of zeros");
}

void check_identity(const DriveIdentity& identity) {
  check_wwn(identity.wwn);
  check_text(identity.serial, 20);
  check_text(identity.model, 40);
  check_text(identity.firmware, 8);
}

template <typename T>
bool is_good(const Result<T>& parsed) {
  CHECK(parsed || parsed.error().code == ErrorCode::protocol, "a bad page is `protocol`");
  return parsed.has_value();
}

Bytes sized(ByteView input, std::size_t size) {
  Bytes page(input.begin(), input.end());
  page.resize(size);
  return page;
}

// With a checksum that fits, which no fuzzer finds.
void check_ata(ByteView input) {
  Bytes page = sized(input, 512);
  page[510] = std::byte{0xA5};
  page[511] = std::byte{0};
  unsigned sum = 0;
  for (const std::byte byte : page) sum += std::to_integer<unsigned>(byte);
  page[511] = static_cast<std::byte>(0u - sum);
  const Result<AtaDevice> device = parse_ata_device(page);
  CHECK(device, "a page whose checksum fits is taken");
  check_identity(device->identity);
  CHECK(device->security_list.size() == 16, "SAT's list has 16 bytes");
  page[3] ^= std::byte{1};
  CHECK(!parse_ata_device(page), "a changed page has a wrong checksum");
}

void check_scsi(ByteView input) {
  if (const auto inquiry = parse_scsi_inquiry(input); is_good(inquiry)) {
    check_text(inquiry->vendor, 8);
    check_text(inquiry->model, 16);
    check_text(inquiry->firmware, 4);
  }
  if (const auto pages = parse_vpd_pages(input); is_good(pages))
    CHECK(pages->size() <= input.size() - 4, "more pages than bytes");
  if (const auto serial = parse_vpd_serial(input); is_good(serial))
    check_text(*serial, input.size());
  if (const auto device = parse_vpd_device(input); is_good(device)) {
    check_wwn(device->wwn);
    check_text(device->ata_model, 40);
  }
  if (const auto protocols = parse_protocol_list(input); is_good(protocols))
    CHECK(protocols->size() <= input.size() - 8, "more protocols than bytes");
}

void check_sense(ByteView input) {
  const auto sense = parse_sense(input);
  if (!sense) return;
  const auto error = sense_error(*sense, "/dev/sda");
  CHECK(error || sense->key <= 1, "an error that is taken for success");
  CHECK(!error || is_printable_utf8(error->message), "a text for no terminal");
}

void check_nvme(ByteView input) {
  const Bytes page = sized(input, 4096);
  const auto controller = parse_nvme_controller(page);
  CHECK(controller, "any 4096 bytes are a page");
  check_identity(controller->identity);
  const auto space = parse_nvme_namespace(page);
  CHECK(space, "any 4096 bytes are a page");
  check_wwn(space->wwn);
  CHECK((space->sector_bytes & (space->sector_bytes - 1)) == 0, "a sector is a power of two");
}

}  // namespace

void fuzz_identity_pages(ByteView input) {
  static_cast<void>(is_good(parse_ata_device(input)));
  static_cast<void>(is_good(parse_nvme_controller(input)));
  static_cast<void>(is_good(parse_nvme_namespace(input)));
  check_ata(input);
  check_scsi(input);
  check_sense(input);
  check_nvme(input);
}

}  // namespace keyward::fuzz
