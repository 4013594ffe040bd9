#include "sed/transport/scsi_sense.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace keyward::sed {
namespace {

constexpr int kAny = -1;

// The first that fits counts.
struct Meaning {
  int key;
  int additional;
  int qualifier;
  ErrorCode code;
  std::string_view message;
};

constexpr Meaning kMeanings[] = {
    {0x02, 0x04, 0x01, ErrorCode::busy, "the drive is becoming ready"},
    {0x02, 0x04, 0x02, ErrorCode::unavailable, "the drive is not spun up; start it"},
    {0x02, 0x04, 0x04, ErrorCode::busy, "the drive is being formatted"},
    {0x02, 0x04, 0x07, ErrorCode::busy, "the drive is at another operation"},
    {0x02, 0x04, 0x09, ErrorCode::busy, "the drive tests itself"},
    {0x02, 0x04, 0x1B, ErrorCode::busy, "the drive is being sanitized"},
    {0x02, 0x3A, kAny, ErrorCode::unavailable, "there is no medium"},
    {0x02, kAny, kAny, ErrorCode::unavailable, "the drive is not ready"},
    {0x03, kAny, kAny, ErrorCode::io, "the medium is defective"},
    {0x04, kAny, kAny, ErrorCode::io, "the drive reports a defect of its own"},
    {0x05, 0x20, 0x00, ErrorCode::unsupported, "the drive has no such command"},
    {0x05, 0x20, 0x02, ErrorCode::not_permitted, "the drive denies access; its range is locked"},
    {0x05, 0x21, 0x00, ErrorCode::invalid_argument, "the drive has no such sector"},
    {0x05, 0x24, 0x00, ErrorCode::invalid_argument, "the drive does not take the request"},
    {0x05, 0x1A, 0x00, ErrorCode::invalid_argument, "the drive does not take that length"},
    {0x05, 0x26, kAny, ErrorCode::invalid_argument, "the drive does not take the data"},
    {0x05, 0x2C, 0x00, ErrorCode::conflict, "the command is out of sequence"},
    {0x05, 0x25, 0x00, ErrorCode::unavailable, "there is no such logical unit"},
    // Seen where SATA drives have locked ranges, under either number.
    {0x05, 0x74, 0x71, ErrorCode::not_permitted, "the drive denies access; its range is locked"},
    {0x05, 0x74, 0x79, ErrorCode::not_permitted, "the drive denies access; its range is locked"},
    {0x05, 0x74, kAny, ErrorCode::conflict, "the drive's security state forbids it"},
    {0x05, kAny, kAny, ErrorCode::invalid_argument, "the drive refuses the request"},
    {0x06, kAny, kAny, ErrorCode::busy, "the drive was reset, and says so instead of answering"},
    {0x07, 0x20, 0x02, ErrorCode::not_permitted, "the drive denies access; its range is locked"},
    {0x07, 0x27, kAny, ErrorCode::not_permitted, "the drive is write protected"},
    {0x07, kAny, kAny, ErrorCode::not_permitted, "the drive protects its data"},
    {0x0B, 0x00, kAny, ErrorCode::conflict,
     "the drive aborted the command, which its security state forbids"},
    {0x0B, 0x2E, kAny, ErrorCode::timeout, "the drive did not end the command in time"},
    {0x0B, kAny, kAny, ErrorCode::io, "the command was aborted on its way"},
    {kAny, kAny, kAny, ErrorCode::io, "the drive reports an error"},
};

bool fits(int wanted, unsigned value) {
  return wanted == kAny || static_cast<unsigned>(wanted) == value;
}

std::uint8_t byte_at(ByteView bytes, std::size_t at) {
  return std::to_integer<std::uint8_t>(bytes[at]);
}

// The ATA Status Return descriptor, 09h.
void read_descriptors(ByteView sense, ScsiSense& out) {
  constexpr std::uint8_t kAtaReturn = 0x09;
  constexpr std::size_t kAtaReturnBytes = 12;
  if (sense.size() < 8) return;
  ByteView rest = sense.subspan(8);
  rest = rest.first(std::min<std::size_t>(rest.size(), byte_at(sense, 7)));
  while (rest.size() >= 2) {
    const std::size_t size = byte_at(rest, 1);
    if (size > rest.size() - 2) return;
    if (byte_at(rest, 0) == kAtaReturn && size == kAtaReturnBytes) {
      out.ata_error = byte_at(rest, 3);
      out.ata_status = byte_at(rest, 13);
    }
    rest = rest.subspan(2 + size);
  }
}

}  // namespace

std::optional<ScsiSense> parse_sense(ByteView sense) {
  if (sense.empty()) return std::nullopt;
  const unsigned format = byte_at(sense, 0) & 0x7F;
  ScsiSense out;
  if (format == 0x72 || format == 0x73) {
    if (sense.size() < 4) return std::nullopt;
    out = {static_cast<std::uint8_t>(byte_at(sense, 1) & 0x0F), byte_at(sense, 2),
           byte_at(sense, 3)};
    read_descriptors(sense, out);
    return out;
  }
  if ((format != 0x70 && format != 0x71) || sense.size() < 3) return std::nullopt;
  out.key = byte_at(sense, 2) & 0x0F;
  if (sense.size() >= 14) {
    out.additional = byte_at(sense, 12);
    out.qualifier = byte_at(sense, 13);
  }
  // ATA PASS-THROUGH INFORMATION AVAILABLE: the information field holds the registers.
  if (out.additional == 0x00 && out.qualifier == 0x1D) {
    out.ata_error = byte_at(sense, 3);
    out.ata_status = byte_at(sense, 4);
  }
  return out;
}

std::optional<Error> sense_error(const ScsiSense& sense, std::string_view path) {
  constexpr unsigned kRecovered = 0x01, kAborted = 0x0B, kError = 0x01, kDeviceFault = 0x20;
  unsigned key = sense.key;
  if (key <= kRecovered) {
    const unsigned status = sense.ata_status.value_or(0);
    if ((status & (kError | kDeviceFault)) == 0) return std::nullopt;
    key = kAborted;  // The translation has told the registers and not what they mean.
  }
  const Meaning* meaning = kMeanings;
  while (!fits(meaning->key, key) || !fits(meaning->additional, sense.additional) ||
         !fits(meaning->qualifier, sense.qualifier))
    ++meaning;
  std::string text = fmt::format("{}: {} (sense {:02X}/{:02X}/{:02X}", printable(path),
                                 meaning->message, sense.key, sense.additional, sense.qualifier);
  if (sense.ata_status)
    text += fmt::format(", ATA status {:02X} error {:02X}", *sense.ata_status, sense.ata_error);
  const std::uint64_t native = static_cast<std::uint64_t>(sense.key) << 16 |
                               static_cast<std::uint64_t>(sense.additional) << 8 | sense.qualifier;
  return Error{meaning->code, text + ")", kSenseOrigin, native};
}

}  // namespace keyward::sed
