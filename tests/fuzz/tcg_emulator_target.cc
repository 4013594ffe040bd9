#include <stdlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>

#include "base/check.h"
#include "base/text.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/tcg/method_answer.h"
#include "sed/tcg/packet.h"
#include "sed/tcg/uids.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace sed;
using namespace sed::tcg;

constexpr std::string_view kMsid = "fuzz-msid";
constexpr std::string_view kPsid = "FUZZPSID";
constexpr std::string_view kOwner = "owner";
constexpr std::size_t kActsMax = 64;

// What acts choose from, so that few bytes of input get far.
const std::array kObjects = {kThisSp,
                             sp::kAdmin,
                             sp::kLocking,
                             sp::kEnterpriseLocking,
                             pin::kSid,
                             pin::kMsid,
                             pin::admin(1),
                             pin::user(1),
                             pin::band_master(0),
                             pin::band_master(1),
                             pin::kEraseMaster,
                             range::kGlobal,
                             range::opal(1),
                             range::band(1),
                             uid(table::kAes256, 1),
                             uid(table::kAes256, 0x00030001),
                             kMbrControl,
                             kMbr,
                             kDataStore,
                             kLockingInfo,
                             kTPerInfo,
                             authority::user(1),
                             authority::kPsid,
                             authority::kAdminSpAdmin1,
                             ace::set_read_locked(1),
                             ace::kDataStoreGet,
                             uid(table::kAuthority, 0),
                             uid(0x0000'0007'0000'0000)};
const std::array kMethods = {method::kGet,           method::kSet,
                             method::kEnterpriseGet, method::kEnterpriseSet,
                             method::kNext,          method::kAuthenticate,
                             method::kGenKey,        method::kEnterpriseAuthenticate,
                             method::kActivate,      method::kRevert,
                             method::kRevertSp,      method::kErase,
                             method::kRandom,        method::kGetAcl,
                             method::kReactivate,    uid(0)};
const std::array kAuthorities = {
    authority::kAnybody,       authority::kSid,         authority::kPsid,
    authority::admin(1),       authority::user(1),      authority::band_master(0),
    authority::band_master(1), authority::kEraseMaster, authority::kAdminSpAdmin1,
    authority::kAdmins,        authority::kMakers,      uid(0)};
constexpr std::array<std::string_view, 4> kPins = {kMsid, kOwner, kPsid, ""};

template <typename Array>
const auto& choose(const Array& from, unsigned byte) {
  return from[byte % from.size()];
}

// A directory for the drive's files, in memory where there is one.
class Directory final {
 public:
  Directory() {
    const bool memory = std::filesystem::is_directory("/dev/shm");
    std::string name = memory ? "/dev/shm/keyward-fuzz-XXXXXX" : "/tmp/keyward-fuzz-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr, "no directory for the drive");
    path = name;
  }
  ~Directory() { std::filesystem::remove_all(path); }

  std::filesystem::path path;
};

EmulatedDriveOptions options_of(Input& input, const std::filesystem::path& directory) {
  const unsigned kind = input.byte();
  const unsigned more = input.byte();
  EmulatedDriveOptions options;
  options.backing_file = directory / "drive";
  options.family = static_cast<Family>(kind % 5);
  options.bus = static_cast<Bus>(kind / 5 % 3);
  options.sectors = 64;
  options.data_store_bytes = 8192;
  options.shadow_mbr_bytes = 8192;
  options.ranges = 2;
  options.admins = 1;
  options.users = 2;
  options.alignment_sectors = (more & 1) != 0 ? 8 : 0;
  options.max_sessions = (more & 2) != 0 ? 2 : 1;
  options.max_com_packet = (more & 4) != 0 ? 1024 : 65536;
  options.sid_is_msid = (more & 8) == 0;
  options.try_limit = (more & 16) != 0 ? 2 : 5;
  options.msid = kMsid;
  options.psid = kPsid;
  return options;
}

class Bench final {
 public:
  explicit Bench(Input& input)
      : input_(input), options_(options_of(input, directory_.path)), drive_(open()) {}

  void run() {
    for (std::size_t n = 0; n < kActsMax && !input_.rest().empty(); ++n) act(input_.byte());
  }

  // Whatever was done to it, the drive still opens, and its label brings it back.
  void check_that_it_lives() {
    drive_->set_faults({});
    reopen();
    if (options_.family == Family::ata_security || has_ata_password()) return;
    CHECK(start(sp::kAdmin, authority::kPsid, kPsid) == 0, "the PSID is no longer taken");
    CHECK(call(sp::kAdmin, method::kRevert, {}) == 0, "the PSID does not revert the drive");
    reopen();
    if (!options_.sid_is_msid) return;
    CHECK(start(sp::kAdmin, authority::kSid, kMsid) == 0, "the SID's PIN is not the factory's");
  }

 private:
  std::unique_ptr<EmulatedDrive> open() {
    auto drive = EmulatedDrive::open(options_);
    CHECK(drive.has_value(), "the drive does not open any more");
    return *std::move(drive);
  }
  void reopen() {
    drive_.reset();
    drive_ = open();
    session_ = {};
  }

  // Then it is locked, and takes no TCG command.
  bool has_ata_password() {
    const Result<Bytes> words = drive_->identify(IdentifyPage::ata_device);
    return words && ((*words)[2 * 128] & std::byte{2}) != std::byte{0};
  }

  std::uint16_t com_id() const { return options_.family == Family::enterprise ? 0x07FE : 0x1000; }

  void act(unsigned what) {
    switch (what % 12) {
      case 0:
        return send_raw();
      case 1:
        return receive_raw();
      case 2:
        return static_cast<void>(speak({}, tokens_of_input()));
      case 3:
        return static_cast<void>(speak(session_, tokens_of_input()));
      case 4: {
        const Uid provider = choose(kObjects, 1 + input_.byte() % 3);
        const Uid authority = choose(kAuthorities, input_.byte());
        return static_cast<void>(start(provider, authority, choose(kPins, input_.byte())));
      }
      case 5: {
        const Uid object = choose(kObjects, input_.byte());
        const Uid method = choose(kMethods, input_.byte());
        return static_cast<void>(call(object, method, tokens_of_input()));
      }
      case 6:
        return set_pin();
      case 7:
        return lose_power(input_.byte());
      case 8:
        return ata_security();
      case 9:
        return move_sectors();
      case 10: {
        const unsigned token = input_.byte();
        const Bytes step = {static_cast<std::byte>(0xFA + token % 3), std::byte{0}};
        return static_cast<void>(speak(session_, ByteView(step).first(token % 3 == 0 ? 1 : 2)));
      }
      default:
        return drive_->set_faults(faults());
    }
  }

  EmulatorFaults faults() {
    EmulatorFaults faults;
    const unsigned kind = input_.byte();
    faults.cut_at_command = kind / 4 % 4;
    faults.cut = static_cast<PowerCut>(kind % 3);
    faults.dropped_replies = kind / 16 % 2;
    faults.outstanding_polls = kind / 32 % 2;
    if (kind >= 128) faults.next_method_status = static_cast<std::uint8_t>(input_.byte());
    return faults;
  }

  ByteView tokens_of_input() { return input_.take(input_.byte()); }
  std::uint16_t number() { return static_cast<std::uint16_t>(input_.byte() << 8 | input_.byte()); }

  void send_raw() {
    const auto protocol = static_cast<std::uint8_t>(input_.byte());
    const std::uint16_t specific = number();
    // A byte is too little for a payload's size: what there is, with zeros behind it.
    Bytes payload(std::size_t{input_.byte()} * 4);
    const ByteView content = input_.take(payload.size());
    std::ranges::copy(content, payload.begin());
    static_cast<void>(drive_->security_send(protocol, specific, payload));
  }

  void receive_raw() {
    const auto protocol = static_cast<std::uint8_t>(input_.byte());
    const std::uint16_t specific = number();
    Bytes buffer(std::size_t{input_.byte()} * 8);
    static_cast<void>(drive_->security_receive(protocol, specific, buffer));
  }

  // What the drive says, unless it is "not yet" or nothing.
  Bytes speak(SessionNumbers session, ByteView tokens) {
    Bytes packet(kEnvelopeBytes + (tokens.size() + 3) / 4 * 4);
    TokenWriter head;  // The envelopes of nothing, and then their lengths.
    Bytes whole(com_packet_bytes(0));
    write_com_packet({com_id(), 0}, session, head, whole);
    std::copy_n(whole.begin(), kEnvelopeBytes, packet.begin());
    std::ranges::copy(tokens, packet.begin() + kEnvelopeBytes);
    const auto put = [&](std::size_t value, std::size_t at) {
      for (std::size_t n = 0; n < 4; ++n)
        packet[at + n] = static_cast<std::byte>(value >> (8 * (3 - n)));
    };
    put(packet.size() - kComPacketHeaderBytes, 16);
    put(packet.size() - kComPacketHeaderBytes - kPacketHeaderBytes, 40);
    put(tokens.size(), 52);
    if (drive_->security_send(1, com_id(), packet) != BusStatus::good) return {};
    Bytes buffer(65536);
    for (int n = 0; n < 3; ++n) {
      if (drive_->security_receive(1, com_id(), buffer) != BusStatus::good) return {};
      const Result<ComPacket> answer = parse_com_packet(buffer);
      CHECK(answer.has_value(), "the drive's own packet is malformed");
      if (answer->packets.size() == 1) return answer->packets[0].tokens;
    }
    return {};
  }

  // The method's status, or -1.
  int ask(SessionNumbers session, const TokenWriter& request, MethodAnswer& answer) {
    Bytes tokens(request.size());
    request.copy_to(tokens);
    const Bytes said = speak(session, tokens);
    if (said.empty()) return -1;
    Result<MethodAnswer> parsed = parse_method_answer(said);
    CHECK(parsed.has_value(), "the drive's own answer is malformed");
    answer = *std::move(parsed);
    return static_cast<int>(answer.status);
  }

  int start(const Uid& provider, const Uid& authority, std::string_view pin) {
    const bool texts = options_.family == Family::enterprise;
    const auto name = [&](std::uint64_t number, std::string_view text) {
      return texts ? tcg::text(text) : tcg::number(number);
    };
    TokenWriter request;
    request.control(Control::call).uid(kSessionManager).uid(method::kStartSession);
    List arguments = {tcg::number(1), bytes(provider), tcg::number(1)};
    if (authority != authority::kAnybody) {
      arguments.push_back(named(name(0, "HostChallenge"), text(pin)));
      arguments.push_back(named(name(3, "HostSigningAuthority"), bytes(authority)));
    }
    end(request, std::move(arguments));
    MethodAnswer answer;
    const int status = ask({}, request, answer);
    if (status == 0 && answer.results.size() >= 2 && answer.results[1].as_number() != nullptr)
      session_ = {static_cast<std::uint32_t>(*answer.results[1].as_number()), 1};
    return status;
  }

  static void end(TokenWriter& request, List arguments) {
    request.value(list(std::move(arguments))).control(Control::end_of_data);
    request.value(list({tcg::number(0), tcg::number(0), tcg::number(0)}));
  }

  // A call with arguments from the input, which may be nonsense.
  int call(const Uid& object, const Uid& method, ByteView arguments) {
    TokenWriter request;
    request.control(Control::call).uid(object).uid(method);
    Bytes tokens(request.size());
    request.copy_to(tokens);
    tokens.push_back(std::byte{0xF0});
    tokens.insert(tokens.end(), arguments.begin(), arguments.end());
    for (const unsigned byte : {0xF1u, 0xF9u, 0xF0u, 0u, 0u, 0u, 0xF1u})
      tokens.push_back(static_cast<std::byte>(byte));
    const Bytes said = speak(session_, tokens);
    const Result<MethodAnswer> answer = parse_method_answer(said);
    return answer ? static_cast<int>(answer->status) : -1;
  }

  void set_pin() {
    const Uid object = choose(kObjects, 4 + input_.byte() % 7);
    const std::string_view pin = choose(kPins, input_.byte());
    TokenWriter request;
    MethodAnswer answer;
    if (options_.family == Family::enterprise) {
      request.control(Control::call).uid(object).uid(method::kEnterpriseSet);
      end(request, {list({}), list({list({named(text("PIN"), text(pin))})})});
    } else {
      request.control(Control::call).uid(object).uid(method::kSet);
      end(request, {named(1, list({named(3, text(pin))}))});
    }
    static_cast<void>(ask(session_, request, answer));
  }

  void lose_power(unsigned kind) {
    if (kind % 3 == 0) return drive_->power_cycle();
    if (kind % 3 == 1) return drive_->hardware_reset();
    reopen();
  }

  void ata_security() {
    const auto command = static_cast<AtaSecurityCommand>(0xF1 + input_.byte() % 6);
    Bytes words(512);
    std::ranges::copy(input_.take(input_.byte() % 40), words.begin());
    const bool without =
        command == AtaSecurityCommand::erase_prepare || command == AtaSecurityCommand::freeze_lock;
    static_cast<void>(drive_->ata_security(command, without ? ByteView{} : ByteView(words)));
  }

  void move_sectors() {
    const unsigned what = input_.byte();
    Bytes sectors(options_.sector_bytes * (1 + what % 4));
    if (what < 128)
      static_cast<void>(drive_->read(input_.byte() % 80, sectors));
    else
      static_cast<void>(drive_->write(input_.byte() % 80, sectors));
    for (unsigned page = 0; page < 7; ++page)
      static_cast<void>(drive_->identify(static_cast<IdentifyPage>(page)));
  }

  Input& input_;
  Directory directory_;
  EmulatedDriveOptions options_;
  std::unique_ptr<EmulatedDrive> drive_;
  SessionNumbers session_{};
};

}  // namespace

// Bytes 0 and 1: the drive. Then acts, each a byte and what belongs to it.
void fuzz_tcg_emulator(ByteView bytes) {
  Input input(bytes);
  Bench bench(input);
  bench.run();
  bench.check_that_it_lives();
}

}  // namespace keyward::fuzz
