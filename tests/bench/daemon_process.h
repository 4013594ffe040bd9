// A DaemonProcess is the product's own keywardd, started on the directory of a Node and stopped at
// the end of its scope; a RekeyLoop keeps rekeys running in it.
//
//   DaemonProcess daemon(directory);           // answers, and S3 is open
//   {
//     RekeyLoop rekeys(daemon.socket(), {"S3"});
//     run_load({.socket = daemon.socket(), ...});
//   }                                          // waits until the last one has ended
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

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
  RekeyLoop(std::string socket, std::vector<std::string> domains);
  ~RekeyLoop();
  RekeyLoop(const RekeyLoop&) = delete;
  RekeyLoop& operator=(const RekeyLoop&) = delete;

  // Entries that have been re-encrypted so far, about: it is asked for every 10 ms.
  std::uint64_t entries_done() const { return entries_done_; }

 private:
  void run(const std::string& domain);

  const std::string socket_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> entries_done_{0};
  std::vector<std::jthread> threads_;
};

}  // namespace keyward::bench
