// ImportReader reads entries from a descriptor and hands them on in batches of the import route's
// own form: for each entry, name and secret, each after its length in 4 bytes, big-endian.
//
//   ImportReader reader(STDIN_FILENO, ImportFormat::json_lines);
//   for (SecretBytes batch = TRY(reader.next_batch()); batch.size() > 0; …) send(batch);
//
// Secrets, also as base64, lie in locked memory only. `invalid_argument` names the record, counted
// from 1, and what is wrong with it; whole records before it are handed out first. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::cli {

enum class ImportFormat : std::uint8_t {
  binary,
  json_lines,  // {"name": "…", "secret": "<base64>"}, one a line.
};

class ImportReader final {
 public:
  ImportReader(int descriptor, ImportFormat format);

  // At most about 2 MiB; empty at the end.
  Result<SecretBytes> next_batch();

 private:
  // Whole records at the front of the input, as they are to be sent; appended to `batch_`.
  // False when the input holds no whole record.
  Result<bool> take_record();
  Result<bool> take_binary();
  Result<bool> take_json_line();
  Result<void> append_record(ByteView name, ByteView secret);
  Result<void> refill();
  ByteView input() const { return input_->reveal().subspan(begin_, end_ - begin_); }
  std::unexpected<Error> wrong(std::string_view what) const;

  int descriptor_;
  ImportFormat format_;
  std::optional<SecretBytes> input_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool at_end_ = false;
  std::uint64_t record_ = 1;
  std::optional<SecretBytes> batch_;
  std::size_t batch_size_ = 0;
  std::optional<Error> pending_error_;
};

// Parses one line into a name (std::string; names are not secret) and a secret. For tests too.
struct ImportLine {
  std::string name;
  SecretBytes secret;
};
Result<ImportLine> parse_import_line(ByteView line);

}  // namespace keyward::cli
