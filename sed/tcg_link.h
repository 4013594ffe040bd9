// A TcgLink is what every kind of TCG drive stands on: its transport, one channel, what is known of
// the drive, and the gate that every PIN goes through.
//
//   tcg::Session session = TRY(link.start(who::admin1(), pin, tcg::Session::Mode::write));
//   TRY(session.set(…));
//   TRY(session.close());
//
// Knowledge that does not fit the drive is noticed by its refusals, thrown away, and the drive
// asked anew. Owns transport and channel; one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "sed/drive.h"
#include "sed/knowledge.h"
#include "sed/tcg/channel.h"
#include "sed/tcg/session.h"
#include "sed/try_ledger.h"

namespace keyward::sed {

// Somebody who has a PIN. `name` is the one in the try ledger and of which the PIN is derived.
struct Authority {
  std::string name;
  tcg::Uid uid;
  tcg::Uid credential;  // The row of C_PIN.
  tcg::Uid provider;
};

namespace who {
Authority sid();
Authority psid();
Authority admin1();
Authority user(std::uint32_t n);         // From 1.
Authority band_master(std::uint32_t n);  // 0: of the global band.
Authority erase_master();
}  // namespace who

class TcgLink final {
 public:
  TcgLink(std::unique_ptr<SecurityTransport> transport, Clock& clock, const AttachOptions& options,
          const Knowledge& known);

  SecurityTransport& transport() { return *transport_; }
  const NodeId& node() const { return node_; }
  Knowledge& known() { return known_; }
  const Knowledge& known() const { return known_; }
  TryGate& gate() { return gate_; }
  const tcg::Quirks& quirks() const { return quirks_; }
  bool is_enterprise() const { return known_.ssc == tcg::Ssc::enterprise; }
  tcg::Uid locking_sp() const;

  Result<tcg::Channel*> channel();
  // Large packets from the next session on.
  Result<void> negotiate();

  // Level 0, asked anew: one command. `conflict` when the drive is of another kind than it was.
  Result<tcg::Discovery> discover();

  // Sends `pin` once, through the gate. `conflict` when the Locking SP is not active.
  Result<tcg::Session> start(const Authority& authority, const SecretBytes& pin,
                             tcg::Session::Mode mode);
  // The same with the PIN that `authority` has of this owner PIN.
  Result<tcg::Session> start_as(const Authority& authority, const SecretBytes& owner_pin,
                                tcg::Session::Mode mode);
  Result<tcg::Session> start_as_anybody(const tcg::Uid& provider);

  // The factory's PIN; `conflict`, with the ways on, when the drive does not tell it.
  Result<SecretBytes> read_msid();
  // How many tries this authority has in all, if the drive tells: noted in the ledger.
  Result<void> note_limit(tcg::Session& session, const Authority& authority);
  // True when an ATA password is set, which forbids that TCG takes the drive over.
  bool has_ata_password();

 private:
  Result<tcg::Session> start_once(const Authority& authority, const SecretBytes& pin,
                                  tcg::Session::Mode mode);
  // After a refusal that may come of what we know and is not so. True when asking again is worth
  // it.
  Result<bool> look_again(const tcg::Uid& provider);

  std::unique_ptr<SecurityTransport> transport_;
  Clock& clock_;
  NodeId node_;
  TryGate gate_;
  tcg::Quirks quirks_;
  Knowledge known_;
  std::optional<tcg::Channel> channel_{};
  bool doubts_ = false;  // The drive is asked anew before a session is started.
};

}  // namespace keyward::sed
