// A DeviceServer answers the system calls of programs that see device nodes (seccomp user
// notification): those on a node it serves itself, all others go on to the kernel.
//
//   DeviceServer server(std::move(nodes));
//   server.listen(std::move(listener));           // of install_filter()
//   while (…) server.serve_one();                 // when the listener can be read
//
// A call whose arguments cannot be looked at gets EIO and never goes on: the kernel would read an
// empty file. Paths and buffers can change after the look, so this is for tests and no boundary.
// One thread.
#pragma once

#include <linux/seccomp.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/file.h"
#include "sed/device_node/device_node.h"
#include "sed/device_node/node_paths.h"
#include "sed/device_node/open_files.h"

namespace keyward::sed {

class DeviceServer final {
 public:
  explicit DeviceServer(std::vector<DeviceNode> nodes);
  DeviceServer(const DeviceServer&) = delete;
  DeviceServer& operator=(const DeviceServer&) = delete;

  void listen(Descriptor listener);
  int listener() const { return listener_.get(); }
  // Waits for a call if there is none. `io` when the listener itself fails.
  Result<void> serve_one();

 private:
  struct Answer {
    // Absent: the kernel does the call. Negative: an errno.
    std::optional<long> value{};
    OpenFile* file = nullptr;  // The answer is a new descriptor of it.
    int descriptor_flags = 0;
  };
  struct Call;

  static Answer to_kernel() { return {}; }
  static Answer done(long value) { return {.value = value}; }

  Answer answer(Call& call);
  Answer on_path_call(Call& call);
  Answer on_descriptor_call(Call& call);
  Answer open(Call& call, int directory, std::uint64_t path, int flags);
  Answer access(Call& call, int directory, std::uint64_t path);
  Answer attributes(Call& call, std::uint64_t path);
  Answer read_link(Call& call, int directory, std::uint64_t path, std::uint64_t buffer,
                   std::size_t size);
  // `is_extended`: the structure of statx(2).
  Answer stat(Call& call, int directory, std::uint64_t path, int flags, std::uint64_t buffer,
              bool is_extended);
  Answer stat_node(Call& call, const DeviceNode& node, std::uint64_t buffer, bool is_extended);
  Answer on_node(Call& call, OpenFile& file);
  Answer copy_between(Call& call, int first, int second);
  Answer seek(Call& call, OpenFile& file);
  Answer transfer(Call& call, OpenFile& file);
  int buffer_of(Call& call, bool is_vector, CallerBuffer& buffer);
  Result<void> reply(const Call& call, const Answer& answer);
  bool still_waits(const Call& call) const;

  std::vector<DeviceNode> nodes_;
  OpenFiles files_;
  NodePaths paths_;
  Descriptor listener_;
  std::vector<std::uint64_t> request_, response_;  // As large as the kernel's structures.
};

}  // namespace keyward::sed
