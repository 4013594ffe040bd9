// A ThreadPool runs calls that block, so that the threads that read sockets never do.
//
//   ThreadPool writers(16);
//   writers.run([=] { keyring.put(…); });
//
// The queue needs no limit of its own: each connection has one request at a time. Safe from any
// thread. The destructor runs what was queued, then joins.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace keyward::daemon {

class ThreadPool final {
 public:
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();

  void run(std::move_only_function<void()> task);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace keyward::daemon
