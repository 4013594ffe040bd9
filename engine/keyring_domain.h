// A KeyringDomain is one domain of the Keyring: its keystore, and the entry keys that are open.
//
//   TRY(domain.unseal());                                   // asks the custodians
//   SecretBytes secret = TRY(domain.get(name, nullptr));            // asks nobody
//
// The Keyring's own; the rules are Keyring's. Safe from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/domain_status.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/keyring.h"
#include "store/control_store.h"
#include "store/entry_cipher.h"
#include "store/keystore.h"

namespace keyward::engine {

// By key and custodian.
using CheckedCopies = std::set<std::pair<KeyId, std::string>>;

class KeyringDomain final {
 public:
  KeyringDomain(Domain domain, const Keyring::Parts& parts)
      : domain_(std::move(domain)), parts_(parts) {}

  const Domain& name() const { return domain_; }

  // Opens the keystore and what of its live keys is not open. Its error says what is still closed,
  // and stands in status() until it succeeds.
  Result<void> unseal();
  // A keystore that was just made, in place of opening it.
  void adopt(std::shared_ptr<store::Keystore> keystore);
  // The keystore and all its live keys.
  bool is_open() const;
  // Asks for every copy of the live keys that a custodian without a person can open, raises an
  // event for one that does not open, and tells the custodians that the keys are in use. False when
  // one did not answer and is to be asked again; those in `checked`, to which this adds, are not.
  bool check_copies(CheckedCopies& checked);

  Result<SecretBytes> get(const EntryName& name, std::uint64_t* version = nullptr);
  Result<std::uint64_t> put(const EntryName& name, const SecretBytes& secret,
                            std::optional<std::uint64_t> if_version, const Caller& caller);
  Result<void> edit(std::span<const EntryEdit> edits, const Caller& caller);
  Result<std::vector<store::EntryInfo>> list(const std::optional<EntryName>& after,
                                             std::size_t count_max);
  api::DomainStatus status() const;

  Result<std::shared_ptr<store::Keystore>> keystore() const;
  Result<std::shared_ptr<store::EntryCipher>> cipher(const KeyId& key) const;
  Result<void> hold(const KeyId& key, const SecretBytes& secret);
  void forget(const KeyId& key);
  Result<void> reserve_encryptions(const KeyId& key, std::uint64_t count);
  Result<void> check_wanted() const;
  void trust_wanted();

  // From here on requests and jobs get `not_found`, and none that came before changes anything any
  // more. reopen() takes it back.
  Result<void> fence();
  void reopen();
  // Lets the keystore go; null when it was not open. adopt() takes it back.
  std::shared_ptr<store::Keystore> release();
  bool is_released() const;

 private:
  // An entry key, with the count of encryptions that may be made under it.
  struct HeldKey {
    std::shared_ptr<store::EntryCipher> cipher;
    std::uint64_t counted_before = 0;       // In the key table when this was made.
    std::atomic<std::uint64_t> allowed{0};  // Since then.
    std::mutex reserving;
  };
  struct WriteKey {
    store::KeyTable table;
    std::shared_ptr<HeldKey> held;
  };

  Result<void> unseal_row(const store::KeyTable& table, const store::KeyRow& row);
  Result<void> check_mac(const KeyId& key, const SecretBytes& secret);
  void verify_if_suspect(store::Keystore& keystore);
  bool check_copy(const store::KeyTable& table, const store::KeyRow& row, const SealedKey& copy);
  void note_unsealed(const std::optional<Error>& error);
  Result<std::shared_ptr<HeldKey>> make_held(const KeyId& key, const SecretBytes& secret) const;
  std::shared_ptr<HeldKey> find_held(const KeyId& key) const;
  Result<std::shared_ptr<HeldKey>> need_held(const KeyId& key) const;
  // For requests: `not_found` when it is being deleted, `unavailable` when it is locked.
  Result<std::shared_ptr<store::Keystore>> serving() const;
  Result<void> reserve(const KeyId& key, HeldKey& held, std::uint64_t count);
  Result<WriteKey> write_key(store::Keystore& keystore, std::uint64_t encryptions);
  Result<std::vector<store::EntryChange>> make_changes(store::Keystore& keystore,
                                                       const WriteKey& key,
                                                       std::span<const EntryEdit> edits);
  // Answers the changes as they were written.
  Result<std::vector<store::EntryChange>> write(std::span<const EntryEdit> edits,
                                                const store::AuditRecord& record);
  std::string rekey_error(const store::RekeyRow& rekey) const;

  const Domain domain_;
  const Keyring::Parts& parts_;

  std::mutex unsealing_;
  mutable std::shared_mutex mutex_;  // Guards what follows. Never held over a call that blocks.
  std::shared_ptr<store::Keystore> keystore_;
  std::map<KeyId, std::shared_ptr<HeldKey>> held_;
  std::map<KeyId, std::string> closed_;  // Live keys that do not open, and why.
  std::string locked_because_ = "it was not unsealed yet";
  bool tampered_ = false;
  bool fenced_ = false;
};

}  // namespace keyward::engine
