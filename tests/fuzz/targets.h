// The fuzz targets: one function for each parser of bytes from outside. Each takes any bytes at all
// and CHECKs what must hold for them: what parses is written out again as the same bytes, or reads
// back as the same value; what is refused is refused by the code and text that people can use.
//
//   ci/fuzz                    # libFuzzer on each, with ASan and UBSan
//   keyward_fuzz_corpora DIR   # each file of DIR/<target>/ once; part of the default run
//
// A target keeps no state from one input to the next. One thread.
#pragma once

#include <array>
#include <string_view>

#include "base/bytes.h"

namespace keyward::fuzz {

void fuzz_config(ByteView input);          // keyward.toml, and each custodian's settings.
void fuzz_documents(ByteView input);       // The control store's JSON documents.
void fuzz_drive_bundle(ByteView input);    // The PINs of drives on their way to another node.
void fuzz_duration(ByteView input);        // "6W", and the dates that follow from it.
void fuzz_entry_blob(ByteView input);      // A stored entry that was tampered with.
void fuzz_helper(ByteView input);          // Requests to keyward-p11, and a module's answers.
void fuzz_identity_pages(ByteView input);  // What drives say of themselves, and sense data.
void fuzz_import(ByteView input);          // What `keyward entries import` reads.
void fuzz_json(ByteView input);            // Bodies of requests.
void fuzz_key_table_rows(ByteView input);  // A keystore whose rows were changed.
void fuzz_nvme_tcp(ByteView input);        // What a host sends to the emulator's NVMe/TCP target.
void fuzz_passphrase_blob(ByteView input);
void fuzz_pkcs11_blob(ByteView input);
void fuzz_tcg_emulator(ByteView input);  // The emulated drive's own input, session state included.
void fuzz_tcg_level0(ByteView input);    // A drive's Level 0 discovery.
void fuzz_tcg_packet(ByteView input);    // A drive's ComPackets.
void fuzz_tcg_session(ByteView input);   // A drive that answers anything at all to a session.
void fuzz_tcg_tokens(ByteView input);    // A drive's tokens, and the answers made of them.
void fuzz_token_uri(ByteView input);
void fuzz_tpm2_blob(ByteView input);
void fuzz_url(ByteView input);

struct Target {
  std::string_view name;  // Of its corpus too.
  void (*run)(ByteView input);
};

inline constexpr auto kTargets = std::to_array<Target>({
    {"config", fuzz_config},
    {"documents", fuzz_documents},
    {"drive_bundle", fuzz_drive_bundle},
    {"duration", fuzz_duration},
    {"entry_blob", fuzz_entry_blob},
    {"helper", fuzz_helper},
    {"identity_pages", fuzz_identity_pages},
    {"import", fuzz_import},
    {"json", fuzz_json},
    {"key_table_rows", fuzz_key_table_rows},
    {"nvme_tcp", fuzz_nvme_tcp},
    {"passphrase_blob", fuzz_passphrase_blob},
    {"pkcs11_blob", fuzz_pkcs11_blob},
    {"tcg_emulator", fuzz_tcg_emulator},
    {"tcg_level0", fuzz_tcg_level0},
    {"tcg_packet", fuzz_tcg_packet},
    {"tcg_session", fuzz_tcg_session},
    {"tcg_tokens", fuzz_tcg_tokens},
    {"token_uri", fuzz_token_uri},
    {"tpm2_blob", fuzz_tpm2_blob},
    {"url", fuzz_url},
});

inline std::string_view text_of(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes an input apart; after its end everything reads as zero.
class Input final {
 public:
  explicit Input(ByteView bytes) : rest_(bytes) {}

  unsigned byte() { return rest_.empty() ? 0 : std::to_integer<unsigned>(take(1).front()); }
  ByteView take(std::size_t size) {
    const ByteView front = rest_.first(size < rest_.size() ? size : rest_.size());
    rest_ = rest_.subspan(front.size());
    return front;
  }
  ByteView rest() const { return rest_; }

 private:
  ByteView rest_;
};

}  // namespace keyward::fuzz
