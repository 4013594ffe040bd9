// PowerCut is the VfsHook that models what a disk holds after the power has gone.
//
//   PowerCut power(directory, n);                       // goes at the Nth change of a file
//   auto vfs = Vfs::create({.hook = &power});
//   run_until_it_fails(*vfs);
//   for (LossModel loss : kLossModels) {
//     TRY(power.materialise(loss, seed, after));        // the files, as they may be found
//     open_and_check_every_promise(after);
//   }
//
// It keeps, for each file below the directory, the content as of its last sync and every write and
// truncation since. From the cut on every change fails and nothing reaches the files. Files that
// exist at its making count as synced. Making and removing a file count as durable at once: the
// back end syncs its directories itself. All is held in memory, so it is for stores of some
// megabytes. Shipped, documented code; not used by the product itself. Safe from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/sqlite/vfs.h"

namespace keyward::store {

enum class LossModel : std::uint8_t {
  all_kept,       // As after a kill: what was written is there.
  unsynced_lost,  // Only what was synced is there.
  unsynced_torn,  // Of what was not, any sectors in any order.
};
inline constexpr std::array kLossModels = {LossModel::all_kept, LossModel::unsynced_lost,
                                           LossModel::unsynced_torn};

class PowerCut final : public VfsHook {
 public:
  // `cut_at` counts changes from 1; 0 never cuts.
  PowerCut(std::string directory, std::size_t cut_at);

  VfsAnswer before(const VfsCall& call) override;

  bool has_cut() const;
  std::size_t calls() const;
  // Cuts now.
  void cut();
  // The disk never gets what was written to this file since its last sync, whatever is synced
  // later: as when the kernel drops the pages of a sync that failed, and reports success the next
  // time.
  void lose_unsynced(std::string_view path);
  // Writes the files into `destination`, an empty directory, as `loss` leaves them. Each seed tears
  // differently.
  Result<void> materialise(LossModel loss, std::uint64_t seed, const std::string& destination,
                           std::size_t sector_bytes = 512) const;

 private:
  struct Change {
    bool truncates = false;
    std::uint64_t offset = 0;  // The new size, for a truncation.
    Bytes data;
  };
  struct File {
    Bytes synced;
    std::vector<Change> pending;
  };

  struct Tear {
    std::mt19937_64 random;
    std::size_t sector_bytes;
  };

  static void apply(const Change& change, Bytes& content);
  static void apply_torn(const Change& change, Bytes& content, Tear& tear);
  static Bytes content_after(const File& file, LossModel loss, Tear& tear);
  void record(const VfsCall& call);

  const std::string directory_;
  const std::size_t cut_at_;
  mutable std::mutex mutex_;
  std::size_t count_ = 0;
  bool cut_ = false;
  std::map<std::string, File, std::less<>> files_;  // By path below the directory.
};

}  // namespace keyward::store
