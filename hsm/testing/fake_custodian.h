// FakeCustodian keeps its objects in memory and keeps the custodians' contract to the letter:
// destroy() really makes every blob of the key useless, because each key is sealed with AES-GCM
// under an object key of its own that is then gone.
//
//   auto hardware = std::make_shared<FakeHardware>("serial 1");
//   FakeCustodian custodian("fake:a", hardware);
//   hardware->set_down(Error{ErrorCode::unavailable, "pulled out"});
//   FakeCustodian after_restart("fake:a", hardware);   // The same objects.
//
// Shipped, documented code for the tests of whoever uses custodians; not used by the product. Safe
// from any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/aead.h"
#include "hsm/custodian.h"

namespace keyward::hsm {

// The token that a FakeCustodian talks to. It outlives restarts, as real hardware does.
class FakeHardware final {
 public:
  explicit FakeHardware(std::string identity = "fake hardware 1")
      : identity_(std::move(identity)) {}

  // Every call answers `error` until set_up().
  void set_down(Error error);
  void set_up();
  // As when somebody plugs in another token: a custodian that has seen the old one answers
  // `conflict` from now on.
  void set_identity(std::string identity);
  // Takes away what is held for `context`, as an administrator could behind our back.
  void lose(const KeyContext& context);

  // The same objects in a token of their own, to go on in several ways from one moment.
  std::shared_ptr<FakeHardware> copy() const;
  std::vector<HeldObject> objects() const;
  std::size_t object_count() const;
  // Calls that reached the hardware, failed ones too: what is promised never to ask it is checked
  // by this.
  std::size_t calls() const;

 private:
  friend class FakeCustodian;
  struct Object {
    std::shared_ptr<const crypto::Aead> aead;
    bool confirmed = false;
  };

  mutable std::mutex mutex_;
  std::string identity_;
  std::optional<Error> down_;
  std::map<KeyContext, Object> objects_;
  std::size_t calls_ = 0;
};

class FakeCustodian final : public Custodian {
 public:
  explicit FakeCustodian(std::string_view id,
                         std::shared_ptr<FakeHardware> hardware = std::make_shared<FakeHardware>())
      : id_{std::string(id)}, hardware_(std::move(hardware)) {}

  FakeHardware& hardware() { return *hardware_; }

  const CustodianId& id() const override { return id_; }
  Result<std::string> identity() override;
  bool destroys() const override { return true; }
  Result<GeneratedKey> generate(const KeyContext& context) override;
  // `already_exists` when something is held for `context`, as in generate().
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override;
  Result<void> confirm(const KeyContext& context) override;
  Result<void> destroy(const KeyContext& context, DestroyScope scope) override;
  Result<std::vector<HeldObject>> list() override;
  Result<void> probe() override;

 private:
  // The hardware's lock is held. The first answer pins the identity.
  Result<void> reach();

  CustodianId id_;
  std::shared_ptr<FakeHardware> hardware_;
  std::optional<std::string> pinned_;  // Guarded by the hardware's mutex.
};

}  // namespace keyward::hsm
