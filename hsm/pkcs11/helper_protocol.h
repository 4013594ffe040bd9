// The messages between Pkcs11Custodian and its helper process keyward-p11, in which the vendor's
// module runs: so its crash or hang is an error of one call, not of the daemon.
//
// One message of fixed size each way over a SOCK_SEQPACKET pair that only these two processes hold:
// there is no path, so nobody else can connect. A message of another size ends the helper. Both
// sides are built together and run on one machine, so integers are in its own byte order. PKCS#11
// handles never cross: an object is named by its CKA_ID each time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace keyward::hsm::pkcs11 {

// The helper's end of the socket pair.
inline constexpr int kHelperSocket = 3;
// CKA_ID: the key's id (16 bytes), then a nonce (16) of the attempt that made the object.
inline constexpr std::size_t kObjectIdBytes = 32;
using ObjectId = std::array<std::byte, kObjectIdBytes>;

enum class HelperOp : std::uint32_t {
  hello = 1,  // HelloRequest → HelloReply: loads the module, finds the token, logs in, self-test.
  generate,   // id, mechanism, data = CKA_LABEL: a new wrapping object.
  wrap,       // id, mechanism, iv, aad, data = plaintext → iv, data.
  unwrap,     // id, mechanism, iv, aad, data = ciphertext → data.
  list,       // first → ListedObject array in data, of all secret keys with an id of this size.
  destroy,    // id, data = CKA_LABEL: every object with both. None is success.
  confirm,    // id, data = the new CKA_LABEL.
  random,     // data_size → data.
  self_test,  // mechanism: wraps and unwraps with a session object.
};

// How an object seals a master key. The numbers stand in blobs on disk: never change one.
enum class Mechanism : std::uint32_t {
  automatic = 0,  // hello only: the first that passes the self-test.
  aes_gcm = 1,    // C_Encrypt, AES-256-GCM with additional data.
  key_wrap = 2,   // C_WrapKey, AES key wrap (RFC 3394). Authenticates no additional data.
};

inline constexpr std::size_t kGcmIvBytes = 12;
inline constexpr std::size_t kGcmTagBytes = 16;
inline constexpr std::size_t kKeyWrapGrowthBytes = 8;

struct HelperMessage {
  std::uint64_t seq;
  std::uint64_t native;  // Reply: the CK_RV behind an error.
  HelperOp op;
  std::uint32_t status;  // Reply: 0 for success, else 1 + ErrorCode; then `data` is the message.
  Mechanism mechanism;
  std::uint32_t first;  // list: how many objects to skip.
  std::uint32_t iv_size;
  std::uint32_t aad_size;
  std::uint32_t data_size;
  std::uint32_t reserved;
  ObjectId id;
  std::array<char, 32> origin;  // Reply: the function behind an error.
  std::array<std::byte, 16> iv;
  std::array<std::byte, 128> aad;
  std::array<std::byte, 3840> data;
};
static_assert(sizeof(HelperMessage) == 4096);
static_assert(std::is_trivially_copyable_v<HelperMessage>);

// Texts end with a NUL. An empty one of the token's four fields matches any token.
struct HelloRequest {
  std::array<char, 1024> module;
  std::array<char, 33> label;
  std::array<char, 17> serial;
  std::array<char, 33> manufacturer;
  std::array<char, 17> model;
  std::array<char, 256> pin;
  bool allow_network;
  // The last try of this PIN was not answered: try it only if the token counts no wrong one.
  bool is_pin_doubtful;
};
static_assert(sizeof(HelloRequest) <= sizeof(HelperMessage::data));

struct HelloReply {
  std::array<char, 33> label;
  std::array<char, 17> serial;
  std::array<char, 33> manufacturer;
  std::array<char, 17> model;
};

struct ListedObject {
  ObjectId id;
  std::array<char, 160> label;  // Cut when longer; ours are not.
};
inline constexpr std::size_t kListedPerMessage = sizeof(HelperMessage::data) / sizeof(ListedObject);

}  // namespace keyward::hsm::pkcs11
