// An emulated drive, a channel to it, and a clock that never waits: for tests of what is above the
// channel.
//
//   EmulatedTper tper({.family = Family::enterprise});
//   Session session = tper.start(sp::kAdmin).value();
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <optional>
#include <string>

#include "sed/emulator/emulated_drive.h"
#include "sed/tcg/channel.h"
#include "sed/tcg/scripted_drive_fixture.h"
#include "sed/tcg/session.h"

namespace keyward::sed::tcg {

inline SecretBytes secret_of(std::string_view text) {
  Bytes copy(as_bytes(text).begin(), as_bytes(text).end());
  return SecretBytes::take_from(copy).value();
}

class EmulatedTper final {
 public:
  explicit EmulatedTper(EmulatedDriveOptions options = {}) {
    std::string name = std::filesystem::temp_directory_path() / "keyward-tcg-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    options.backing_file = directory_ / "drive";
    options.sectors = 65536;
    options.shadow_mbr_bytes = 1u << 20;
    options.msid = kMsid;
    drive_ = EmulatedDrive::open(options).value();
    transport_ = drive_->connect();
    enterprise_ = options.family == Family::enterprise;
    reconnect();
  }
  ~EmulatedTper() {
    channel_.reset();
    transport_.reset();
    drive_.reset();
    std::filesystem::remove_all(directory_);
  }

  EmulatedDrive& drive() { return *drive_; }
  SecurityTransport& transport() { return *transport_; }
  Channel& channel() { return *channel_; }
  SteppingClock& clock() { return clock_; }

  // As a new process would: what the old channel knew is forgotten, and what it left open stays.
  Channel& reconnect(ChannelOptions options = {}) {
    channel_.emplace(
        Channel::open(*transport_, clock_, discover(*transport_).value(), std::move(options))
            .value());
    return *channel_;
  }

  Uid locking_sp() const { return enterprise_ ? sp::kEnterpriseLocking : sp::kLocking; }

  Result<Session> start(const Uid& provider, const Uid& authority = authority::kAnybody,
                        std::string_view pin = {}, Session::Mode mode = Session::Mode::write) {
    const SecretBytes secret = secret_of(pin);
    return Session::start(*channel_, provider,
                          {authority, authority == authority::kAnybody ? nullptr : &secret}, mode);
  }

  // The SID's PIN becomes "owner", the Locking SP active, so Admin1's is "owner" too.
  void take_ownership() {
    Session session = start(sp::kAdmin, authority::kSid, kMsid).value();
    session.set_pin(pin::kSid, secret_of("owner")).value();
    session.invoke(sp::kLocking, method::kActivate).value();
    session.close().value();
  }
  Session as_admin() { return start(sp::kLocking, authority::admin(1), "owner").value(); }

  static constexpr std::string_view kMsid = "MSID0123456789ABCDEFGHIJKLMNOPQR";

 private:
  std::filesystem::path directory_;
  std::unique_ptr<EmulatedDrive> drive_;
  std::unique_ptr<SecurityTransport> transport_;
  SteppingClock clock_;
  std::optional<Channel> channel_;
  bool enterprise_ = false;
};

}  // namespace keyward::sed::tcg
