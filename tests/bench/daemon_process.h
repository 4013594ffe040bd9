// A DaemonProcess is the product's own keywardd, started on the directory of a Node and stopped at
// the end of its scope; a RekeyLoop keeps a rekey running in it.
//
//   DaemonProcess daemon(directory);           // answers, and S3 is open
//   {
//     RekeyLoop rekeys(daemon.socket());
//     run_load({.socket = daemon.socket(), ...});
//   }                                          // waits until the last one has ended
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>

#include "tests/bench/measure.h"

namespace keyward::bench {

class DaemonProcess final {
 public:
  explicit DaemonProcess(const std::filesystem::path& directory);
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  const std::string& socket() const { return socket_; }
  double cpu_seconds() const { return cpu_seconds_of(process_); }
  std::uint64_t peak_kib() const { return peak_memory_kib(process_); }

 private:
  std::string socket_;
  pid_t process_ = -1;
};

class RekeyLoop final {
 public:
  explicit RekeyLoop(std::string socket);
  ~RekeyLoop();
  RekeyLoop(const RekeyLoop&) = delete;
  RekeyLoop& operator=(const RekeyLoop&) = delete;

  // Entries that have been re-encrypted so far.
  std::uint64_t entries_done() const { return finished_ + under_way_; }

 private:
  void run();

  const std::string socket_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> finished_{0};
  std::atomic<std::uint64_t> under_way_{0};
  std::jthread thread_;
};

}  // namespace keyward::bench
