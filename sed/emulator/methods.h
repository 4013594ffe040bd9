// Methods runs one method call in a regular session.
//
//   const MethodResult result = Methods(drive, session).run(call);
//
// First the AccessControl table says whether the session's authorities may (else NOT_AUTHORIZED);
// then the parameters are looked at (else INVALID_PARAMETER); then all or nothing is done.
#pragma once

#include "sed/emulator/session.h"

namespace keyward::sed::emulator {

class Methods final {
 public:
  Methods(Surroundings& drive, Session& session);

  MethodResult run(const Call& call);

 private:
  using Handler = MethodResult (Methods::*)(const Call&, const Grant&);
  struct Entry;
  static Handler handler_of(Uid method);

  MethodResult get(const Call& call, const Grant& grant);
  MethodResult set(const Call& call, const Grant& grant);
  MethodResult next(const Call& call, const Grant& grant);
  MethodResult authenticate(const Call& call, const Grant& grant);
  MethodResult random(const Call& call, const Grant& grant);
  MethodResult gen_key(const Call& call, const Grant& grant);
  MethodResult activate(const Call& call, const Grant& grant);
  MethodResult revert(const Call& call, const Grant& grant);
  MethodResult revert_sp(const Call& call, const Grant& grant);
  MethodResult erase(const Call& call, const Grant& grant);
  MethodResult get_acl(const Call& call) const;

  // The state that this session sees and changes: its transaction's, or the committed one.
  DriveState& state() { return session_.transaction ? *session_.transaction : drive_.state; }
  Sp& sp() { return state().sp(session_.sp); }
  void changed() { drive_.dirty = drive_.dirty || !session_.transaction; }

  Surroundings& drive_;
  Session& session_;
};

// Get and Set are large enough for files of their own: table_access.cc.
MethodResult get_cells(const Surroundings& drive, const Sp& sp, const Call& call,
                       const Grant& grant);
MethodResult set_cells(const Surroundings& drive, Sp& sp, const Call& call, const Grant& grant);
MethodResult get_table(const Surroundings& drive, const DriveState& state, const Call& call);
MethodResult set_table(Surroundings& drive, Session& session, const Call& call);

}  // namespace keyward::sed::emulator
