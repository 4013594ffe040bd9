// What `keyward` does with the person in front of it: questions, secrets, progress.
//
//   if (!TRY(confirm("Are you sure you want to rekey the master key?", yes))) return kExitFailed;
//   SecretBytes secret = TRY(read_secret(STDIN_FILENO, "Secret: ", kSecretBytesMax));
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/rekey_status.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::cli {

// Prints the question with "(yes/[no]): " on stderr and reads one line; only "yes" is yes. With
// `yes_given` (the option --yes) it neither asks nor reads.
bool confirm(std::string_view question, bool yes_given);

// From a terminal: one line, without echo, without its end. From anything else: every byte up to
// end of file, newline and all, so that what goes in comes out. `invalid_argument` when it is empty
// or longer than `size_max`.
Result<SecretBytes> read_secret(int descriptor, std::string_view prompt, std::size_t size_max);

// Writes all of it; on a terminal a newline follows.
Result<void> write_secret(int descriptor, const SecretBytes& secret);

// "S3      [#####---------------]  27 %  270,000/1,000,000  251,000/s  3 s left". `width` is the
// bar's.
std::string progress_line(const api::RekeyStatus& status, std::size_t width = 20);

// Draws the lines over those that it drew before when stdout is a terminal; otherwise prints those
// that have changed.
class ProgressView final {
 public:
  ProgressView();
  void draw(const std::vector<api::RekeyStatus>& rows);

 private:
  bool terminal_;
  std::size_t lines_drawn_ = 0;
  std::vector<std::string> last_;
};

}  // namespace keyward::cli
