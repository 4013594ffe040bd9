#include "sed/ata/ata_security.h"

#include <algorithm>

#include "base/check.h"
#include "sed/tcg/byte_reader.h"

namespace keyward::sed::ata {
namespace {

constexpr std::uint16_t kInformation = 0x0000;
constexpr std::size_t kAnswerBytes = 16;
constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kParameterBytes = 36;
constexpr std::size_t kPasswordBytes = 32;

// Of word 128, and of byte 9 of SAT's answer.
constexpr unsigned kSupported = 1, kEnabled = 2, kLocked = 4, kFrozen = 8, kExpired = 16,
                   kEnhanced = 32, kMaximum = 0x100;

void take_flags(unsigned word, AtaStatus& status) {
  status.supported = (word & kSupported) != 0;
  status.enabled = (word & kEnabled) != 0;
  status.locked = (word & kLocked) != 0;
  status.frozen = (word & kFrozen) != 0;
  status.attempts_expired = (word & kExpired) != 0;
  status.enhanced_erase = (word & kEnhanced) != 0;
}

// ACS-3, 7.12.7.45: two minutes each; bit 15 says that bits 14:0 count, else bits 7:0 do.
std::uint32_t minutes_of(unsigned word) {
  constexpr unsigned kExtended = 0x8000;
  return 2 * ((word & kExtended) != 0 ? word & ~kExtended : word & 0xFF);
}

bool needs_password(Command command) {
  return command != Command::erase_prepare && command != Command::freeze_lock;
}

}  // namespace

Result<AtaStatus> parse_sat_status(ByteView answer) {
  tcg::ByteReader reader(answer);
  reader.skip(1);
  const std::size_t length = reader.u8();
  AtaStatus status;
  status.erase_minutes = minutes_of(reader.u16());
  status.enhanced_erase_minutes = minutes_of(reader.u16());
  status.master_id = reader.u16();
  status.maximum = (reader.u8() & 1) != 0;
  take_flags(reader.u8(), status);
  if (reader.ran_out() || length < kAnswerBytes - 2)
    return fail(ErrorCode::protocol, "the drive's answer about ATA Security is cut off");
  return status;
}

Result<AtaStatus> parse_identify(ByteView words) {
  if (words.size() < kBlockBytes)
    return fail(ErrorCode::protocol, "IDENTIFY DEVICE: the drive gives less than 512 bytes");
  const auto word = [&](std::size_t n) {
    return std::to_integer<unsigned>(words[2 * n]) | std::to_integer<unsigned>(words[2 * n + 1])
                                                         << 8;
  };
  AtaStatus status;
  take_flags(word(128), status);
  constexpr unsigned kSecurityBit = 2;  // Of words 82 and 85.
  status.supported = status.supported && (word(82) & kSecurityBit) != 0;
  status.enabled = status.enabled || (status.supported && (word(85) & kSecurityBit) != 0);
  status.maximum = (word(128) & kMaximum) != 0;
  status.master_id = static_cast<std::uint16_t>(word(92));
  status.erase_minutes = minutes_of(word(89));
  status.enhanced_erase_minutes = minutes_of(word(90));
  return status;
}

Result<AtaStatus> read_status(SecurityTransport& transport) {
  Bytes answer(kBlockBytes);
  const Result<std::size_t> size =
      transport.receive(Protocol::ata, kInformation, MutableByteView(answer));
  if (size) return parse_sat_status(ByteView(answer).first(std::min(*size, answer.size())));
  const ErrorCode code = size.error().code;
  if (code != ErrorCode::unsupported && code != ErrorCode::invalid_argument)
    return std::unexpected(size.error());
  return parse_identify(TRY(transport.identify(IdentifyPage::ata_device)));
}

// SAT-3, 12.5: flags, the password, and the master password's identifier.
Result<void> send(SecurityTransport& transport, Command command, const Arguments& arguments) {
  const auto specific = static_cast<std::uint16_t>(command);
  if (!needs_password(command)) return transport.send(Protocol::ata, specific, {});
  CHECK(arguments.password != nullptr && arguments.password->size() <= kPasswordBytes,
        "the command takes a password");
  SecretBytes list = TRY(SecretBytes::allocate(kParameterBytes));
  const MutableByteView out = list.reveal_mutable();
  out[0] = arguments.flag ? std::byte{1} : std::byte{0};
  out[1] = arguments.master ? std::byte{1} : std::byte{0};
  std::ranges::copy(arguments.password->reveal(), out.begin() + 2);
  out[34] = static_cast<std::byte>(arguments.master_id >> 8);
  out[35] = static_cast<std::byte>(arguments.master_id);
  return transport.send(Protocol::ata, specific, list.reveal());
}

}  // namespace keyward::sed::ata
