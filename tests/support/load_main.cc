// keyward-load drives a running keywardd and checks every answer.
//
//   keyward-load fill   --socket S --domain S3 --entries 1000000 --size 256
//   keyward-load mixed  --socket S --domain S3 --entries 1000000 --size 256 --clients 16 --seconds
//   20
//                       [--retry] [--write-percent 20] [--journal F]
//   keyward-load verify --socket S --domain S3 --entries 1000000 --size 256 [--journal F]
//
// An entry's value tells which entry it is and which write made it (id ‖ counter ‖ filler made from
// both), so a value that was never written, a stale one or another entry's is seen at once:
// acknowledged before the read ≤ counter read ≤ issued after it. Each entry has one writer. `mixed`
// ends by itself or at SIGTERM, prints one line of JSON, and writes the counters to the journal,
// from which `verify` reads every entry again. With --retry a broken connection is made again and a
// write whose answer was lost may or may not have happened.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/support/http_client.h"

namespace keyward::testing {
namespace {

using SteadyClock = std::chrono::steady_clock;

std::atomic<bool> stop_asked{false};

struct Options {
  std::string mode;
  std::string socket;
  std::string domain = "S3";
  std::string journal;
  std::uint32_t entries = 1000;
  std::size_t size = 256;
  unsigned clients = 16;
  unsigned write_percent = 20;
  double seconds = 5;
  bool retry = false;
  // Reads and writes per second over all clients; 0: as fast as it goes.
  double rate = 0;
};

std::string entry_name(std::uint32_t id) { return fmt::format("entry-{:08}", id); }

std::string target_of(const Options& options, std::uint32_t id) {
  return fmt::format("/api/v1/domains/{}/entries/{}", options.domain, entry_name(id));
}

void make_value(std::uint32_t id, std::uint32_t counter, std::size_t size, std::string& value) {
  value.resize(size);
  std::uint64_t state = (std::uint64_t{id} << 32 | counter) * 0x9e3779b97f4a7c15u + 1;
  for (std::size_t at = 8; at < size; at += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(value.data() + at, &state, std::min<std::size_t>(8, size - at));
  }
  std::memcpy(value.data(), &id, 4);
  std::memcpy(value.data() + 4, &counter, 4);
}

// The counter of a value of entry `id`, or nothing when it is no value of that entry.
std::optional<std::uint32_t> read_counter(std::uint32_t id, std::size_t size,
                                          std::string_view value) {
  if (value.size() != size) return std::nullopt;
  std::uint32_t counter = 0;
  std::memcpy(&counter, value.data() + 4, 4);
  std::string expected;
  make_value(id, counter, size, expected);
  if (value != expected) return std::nullopt;
  return counter;
}

// What was sent and what was acknowledged, for each entry.
struct Ledger {
  explicit Ledger(std::uint32_t entries) : issued(entries), acknowledged(entries) {}
  std::vector<std::atomic<std::uint32_t>> issued;
  std::vector<std::atomic<std::uint32_t>> acknowledged;

  void save(const std::string& path) const {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (std::size_t i = 0; i < issued.size(); ++i) {
      const std::uint32_t pair[2] = {acknowledged[i], issued[i]};
      out.write(reinterpret_cast<const char*>(pair), sizeof pair);
    }
  }
  void load(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    for (std::size_t i = 0; i < issued.size(); ++i) {
      std::uint32_t pair[2] = {0, 0};
      if (!in.read(reinterpret_cast<char*>(pair), sizeof pair)) return;
      acknowledged[i] = pair[0];
      issued[i] = pair[1];
    }
  }
};

struct Tally {
  std::uint64_t reads = 0, failed_reads = 0, wrong_values = 0, writes = 0, failed_writes = 0,
                reconnects = 0;
  std::vector<std::uint32_t> read_us, write_us;
  std::string first_problem;

  void problem(std::string text) {
    if (first_problem.empty()) first_problem = std::move(text);
  }
  void add(const Tally& other) {
    reads += other.reads;
    failed_reads += other.failed_reads;
    wrong_values += other.wrong_values;
    writes += other.writes;
    failed_writes += other.failed_writes;
    reconnects += other.reconnects;
    read_us.insert(read_us.end(), other.read_us.begin(), other.read_us.end());
    write_us.insert(write_us.end(), other.write_us.begin(), other.write_us.end());
    if (first_problem.empty()) first_problem = other.first_problem;
  }
};

class Client {
 public:
  Client(const Options& options, Ledger& ledger, unsigned index)
      : options_(options), ledger_(ledger), index_(index), http_(options.socket), random_(index) {}

  Tally run(SteadyClock::time_point end) {
    const double pause_s = options_.rate > 0 ? options_.clients / options_.rate : 0;
    auto next = SteadyClock::now();
    while (!stop_asked && SteadyClock::now() < end) {
      if (pause_s > 0) {
        next += std::chrono::duration_cast<SteadyClock::duration>(
            std::chrono::duration<double>(pause_s));
        std::this_thread::sleep_until(next);
      }
      if (random_() % 100 < options_.write_percent) {
        write();
      } else {
        read(static_cast<std::uint32_t>(random_() % options_.entries));
      }
    }
    return std::move(tally_);
  }

  void read(std::uint32_t id) {
    const std::uint32_t at_least = ledger_.acknowledged[id];
    const auto begin = SteadyClock::now();
    const auto answer = call("GET", id, {});
    if (!answer) return;
    note(tally_.read_us, begin);
    ++tally_.reads;
    if (answer->status != 200) {
      ++tally_.failed_reads;
      tally_.problem(fmt::format("GET {}: {} {}", entry_name(id), answer->status, answer->body));
      return;
    }
    const auto counter = read_counter(id, options_.size, answer->body);
    if (!counter || *counter < at_least || *counter > ledger_.issued[id]) {
      ++tally_.wrong_values;
      tally_.problem(fmt::format("GET {}: write {} was acknowledged, {} issued, and {} came back",
                                 entry_name(id), at_least, ledger_.issued[id].load(),
                                 counter ? std::to_string(*counter) : "no value of this entry"));
    }
  }

  Tally& tally() { return tally_; }

 private:
  void write() {
    // Entry ids of one client are those that leave its index over: so each has one writer.
    std::uint32_t id = static_cast<std::uint32_t>(random_() % options_.entries);
    id -= id % options_.clients;
    id += index_;
    if (id >= options_.entries) return;
    const std::uint32_t counter = ++ledger_.issued[id];
    make_value(id, counter, options_.size, value_);
    const auto begin = SteadyClock::now();
    const auto answer = call("PUT", id, value_);
    if (!answer) return;
    note(tally_.write_us, begin);
    ++tally_.writes;
    if (answer->status / 100 == 2) {
      ledger_.acknowledged[id] = counter;
    } else {
      ++tally_.failed_writes;
      tally_.problem(fmt::format("PUT {}: {} {}", entry_name(id), answer->status, answer->body));
    }
  }

  std::optional<HttpAnswer> call(std::string_view method, std::uint32_t id, std::string_view body) {
    auto answer = http_.call(method, target_of(options_, id), body);
    const bool starting = answer && answer->status == 503;
    if (options_.retry && (!answer || starting)) {
      ++tally_.reconnects;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return std::nullopt;
    }
    if (!answer) {
      (method == "GET" ? tally_.failed_reads : tally_.failed_writes)++;
      tally_.problem(fmt::format("{} {}: the connection broke", method, entry_name(id)));
    }
    return answer;
  }

  static void note(std::vector<std::uint32_t>& list, SteadyClock::time_point begin) {
    const auto us =
        std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begin).count();
    list.push_back(static_cast<std::uint32_t>(us));
  }

  const Options& options_;
  Ledger& ledger_;
  unsigned index_;
  HttpClient http_;
  std::minstd_rand random_;
  Tally tally_;
  std::string value_;
};

std::uint32_t percentile(std::vector<std::uint32_t>& values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

std::string json_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

int report(Tally& tally, double seconds) {
  fmt::print(
      "{{\"reads\":{},\"failed_reads\":{},\"wrong_values\":{},\"writes\":{},\"failed_writes\":{},"
      "\"reconnects\":{},\"seconds\":{:.3f},\"read_p50_us\":{},\"read_p99_us\":{},"
      "\"write_p50_us\":{},\"write_p99_us\":{},\"first_problem\":\"{}\"}}\n",
      tally.reads, tally.failed_reads, tally.wrong_values, tally.writes, tally.failed_writes,
      tally.reconnects, seconds, percentile(tally.read_us, 0.5), percentile(tally.read_us, 0.99),
      percentile(tally.write_us, 0.5), percentile(tally.write_us, 0.99),
      json_escape(tally.first_problem));
  return tally.failed_reads + tally.wrong_values + tally.failed_writes == 0 ? 0 : 1;
}

void append_length(std::string& out, std::size_t length) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(length >> shift & 0xff);
}

// Loads write 0 of every entry through the import route, in requests of at most 10,000 entries or
// about 4 MiB.
int fill(const Options& options) {
  HttpClient http(options.socket);
  std::string value;
  const auto step = static_cast<std::uint32_t>(
      std::clamp<std::size_t>((4u << 20) / (options.size + 32), 1, 10'000));
  for (std::uint32_t first = 0; first < options.entries; first += step) {
    std::string body;
    const std::uint32_t end = std::min(first + step, options.entries);
    for (std::uint32_t id = first; id < end; ++id) {
      const std::string name = entry_name(id);
      append_length(body, name.size());
      body += name;
      make_value(id, 0, options.size, value);
      append_length(body, value.size());
      body += value;
    }
    const auto answer =
        http.call("POST", fmt::format("/api/v1/domains/{}/entries:import", options.domain), body);
    if (!answer || answer->status / 100 != 2) {
      fmt::print(stderr, "keyward-load: import failed: {}\n",
                 answer ? answer->body : "the connection broke");
      return 1;
    }
  }
  fmt::print("{{\"entries\":{}}}\n", options.entries);
  return 0;
}

// Runs `work(client, index)` on one thread for each client and adds up.
template <typename Work>
Tally run_clients(const Options& options, Ledger& ledger, Work&& work) {
  std::vector<Tally> tallies(options.clients);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.clients; ++i) {
    threads.emplace_back([&, i] {
      Client client(options, ledger, i);
      tallies[i] = work(client, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  Tally sum;
  for (const Tally& tally : tallies) sum.add(tally);
  return sum;
}

int mixed(const Options& options) {
  Ledger ledger(options.entries);
  if (!options.journal.empty()) ledger.load(options.journal);
  const auto begin = SteadyClock::now();
  const auto end = begin + std::chrono::duration_cast<SteadyClock::duration>(
                               std::chrono::duration<double>(options.seconds));
  Tally sum =
      run_clients(options, ledger, [&](Client& client, unsigned) { return client.run(end); });
  if (!options.journal.empty()) ledger.save(options.journal);
  return report(sum, std::chrono::duration<double>(SteadyClock::now() - begin).count());
}

int verify(const Options& options) {
  Ledger ledger(options.entries);
  if (!options.journal.empty()) ledger.load(options.journal);
  const auto begin = SteadyClock::now();
  Tally sum = run_clients(options, ledger, [&](Client& client, unsigned index) {
    for (std::uint32_t id = index; id < options.entries && !stop_asked; id += options.clients) {
      client.read(id);
    }
    return std::move(client.tally());
  });
  return report(sum, std::chrono::duration<double>(SteadyClock::now() - begin).count());
}

std::optional<Options> parse(int argc, char** argv) {
  if (argc < 2) return std::nullopt;
  Options options;
  options.mode = argv[1];
  std::map<std::string_view, std::string> values;
  for (int i = 2; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--retry") {
      options.retry = true;
    } else if (i + 1 < argc) {
      values[name] = argv[++i];
    } else {
      return std::nullopt;
    }
  }
  for (const auto& [name, value] : values) {
    if (name == "--socket") {
      options.socket = value;
    } else if (name == "--domain") {
      options.domain = value;
    } else if (name == "--journal") {
      options.journal = value;
    } else if (name == "--entries") {
      options.entries = static_cast<std::uint32_t>(std::stoul(value));
    } else if (name == "--size") {
      options.size = std::max<std::size_t>(8, std::stoul(value));
    } else if (name == "--clients") {
      options.clients = static_cast<unsigned>(std::stoul(value));
    } else if (name == "--write-percent") {
      options.write_percent = static_cast<unsigned>(std::stoul(value));
    } else if (name == "--seconds") {
      options.seconds = std::stod(value);
    } else if (name == "--rate") {
      options.rate = std::stod(value);
    } else {
      return std::nullopt;
    }
  }
  if (options.socket.empty() || options.entries == 0 || options.clients == 0) return std::nullopt;
  return options;
}

int run(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (options && options->mode == "fill") return fill(*options);
  if (options && options->mode == "mixed") return mixed(*options);
  if (options && options->mode == "verify") return verify(*options);
  fmt::print(stderr,
             "usage: keyward-load fill|mixed|verify --socket S [--domain D] [--entries N] "
             "[--size B] [--clients C] [--seconds T] [--rate R] [--write-percent P] [--journal F] "
             "[--retry]\n");
  return 2;
}

}  // namespace
}  // namespace keyward::testing

int main(int argc, char** argv) {
  std::signal(SIGTERM, [](int) { keyward::testing::stop_asked = true; });
  std::signal(SIGPIPE, SIG_IGN);
  return keyward::testing::run(argc, argv);
}
