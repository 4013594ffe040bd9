// SelfCheck is a second interface, of keystores that have files of their own: what those files say
// beyond the entries.
//
//   if (auto* self = dynamic_cast<SelfCheck*>(&keystore); self && self->is_suspect()) {
//     TRY(keystore.reencryption().scan(decrypting_visitor, stop));
//     TRY(self->trust());
//   }
//
// Safe from any thread.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"

namespace keyward::store {

class SelfCheck {
 public:
  virtual ~SelfCheck() = default;

  // A sync had failed before it was opened, in this process or an earlier one. What could be
  // checked without keys was, and read from the disk for that; entries are read, and every change
  // is `io` until trust().
  virtual bool is_suspect() = 0;
  // The caller has decrypted every entry that a scan shows. Durable. `corrupt` when there are not
  // as many entries as the keystore counts. Changes nothing unless it is suspect.
  virtual Result<void> trust() = 0;

  // What lies in the files and should not: bytes in the unused parts of pages, files beside it that
  // no rekey reaches. One line for each, in words. Takes turns with the writer, for as long as it
  // takes to read the file; `io` after a failed sync, `cancelled` when stopped.
  virtual Result<std::vector<std::string>> find_residue(std::stop_token stop) = 0;
};

}  // namespace keyward::store
