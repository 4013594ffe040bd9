#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "base/check.h"
#include "base/secret_arena.h"
#include "hsm/pkcs11/helper/sandbox.h"
#include "hsm/pkcs11/helper/server.h"
#include "tests/fuzz/targets.h"

// libp11 loses some memory when a login fails. Its process is ended then.
extern "C" const char* __lsan_default_suppressions() { return "leak:libp11\n"; }

namespace keyward::hsm::pkcs11 {

// In place of the helper's own, which would hold for the fuzzer as well.
Result<void> forbid_system_calls(Network) { return {}; }

}  // namespace keyward::hsm::pkcs11

namespace keyward::fuzz {
namespace {

using namespace hsm::pkcs11;

constexpr const char* kModule = KEYWARD_SCRIPTED_MODULE;

void begin_script(ByteView script) {
  using Begin = void (*)(const unsigned char*, std::size_t);
  void* module = ::dlopen(kModule, RTLD_NOW | RTLD_LOCAL);
  CHECK(module != nullptr, "the scripted module cannot be loaded");
  const auto begin = reinterpret_cast<Begin>(::dlsym(module, "scripted_module_begin"));
  CHECK(begin != nullptr, "the scripted module is another one");
  begin(reinterpret_cast<const unsigned char*>(script.data()), script.size());
}

void ask(Server& server, HelperMessage& request) {
  HelperMessage reply{};
  const HelperOp op = request.op;
  server.answer(request, reply);
  CHECK(reply.op == op && reply.seq == request.seq, "the answer to another request");
  CHECK(reply.data_size <= reply.data.size() && reply.iv_size <= reply.iv.size(),
        "an answer that is longer than a message");
  CHECK(std::ranges::count(reply.origin, '\0') > 0, "the origin has no end");
}

void greet(Server& server, Mechanism mechanism) {
  HelperMessage request{};
  request.op = HelperOp::hello;
  request.mechanism = mechanism;
  request.data_size = sizeof(HelloRequest);
  auto* hello = new (request.data.data()) HelloRequest{};
  std::strncpy(hello->module.data(), kModule, hello->module.size() - 1);
  std::strcpy(hello->label.data(), "fuzz");
  std::strcpy(hello->pin.data(), "1234");
  ask(server, request);
}

// As the custodian would ask.
HelperMessage plain_request(unsigned choice) {
  HelperMessage request{};
  request.op = static_cast<HelperOp>(2 + choice % 8);
  request.mechanism = static_cast<Mechanism>(1 + choice / 8 % 2);
  request.id.fill(static_cast<std::byte>(1 + choice / 16 % 4));
  request.iv_size = kGcmIvBytes;
  request.aad_size = 68;
  constexpr std::string_view kLabel = "keyward store S3 key announced";
  std::ranges::copy(std::as_bytes(std::span(kLabel)), request.data.begin());
  request.data_size =
      request.op == HelperOp::unwrap ? 48 : static_cast<std::uint32_t>(kLabel.size());
  return request;
}

// As somebody would who has broken into the daemon. A second hello is refused in any case.
HelperMessage raw_request(Input& input) {
  HelperMessage request{};
  const ByteView bytes = input.take(input.byte());
  if (!bytes.empty()) std::memcpy(&request, bytes.data(), bytes.size());
  return request;
}

}  // namespace

// Byte 0: the mechanism, and how many requests follow; a byte for each; then the module's script.
void fuzz_helper(ByteView bytes) {
  SecretArena::instance().set_memory_lock(MemoryLock::best_effort);
  Input input(bytes);
  const unsigned head = input.byte();
  const ByteView choices = input.take(head / 4 % 32);
  Input raw(choices);
  begin_script(input.rest());
  Server server;
  if (head >= 128) {
    HelperMessage early = raw_request(raw);
    if (early.op != HelperOp::hello) ask(server, early);
  }
  greet(server, static_cast<Mechanism>(head % 3));
  for (const std::byte choice : choices) {
    HelperMessage request = plain_request(std::to_integer<unsigned>(choice));
    ask(server, request);
  }
  HelperMessage late = raw_request(raw);
  ask(server, late);
}

}  // namespace keyward::fuzz
