#include "tests/bench/runs.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "tests/bench/contenders.h"
#include "tests/bench/daemon_process.h"
#include "tests/bench/load.h"
#include "tests/bench/node.h"

namespace keyward::bench {
namespace {

namespace fs = std::filesystem;

// Rows that are written durably one by one; the rest is extrapolated.
constexpr std::uint32_t kSyncedSample = 500;

void say(const std::string& text) {
  fmt::print(stderr, "{}\n", text);
  std::fflush(stderr);
}

Json make_node(const fs::path& directory, std::uint32_t entries, std::size_t size) {
  return in_child([&]() -> Json {
    Node::create(directory);
    Node node(directory, "auto");
    const Meter meter;
    node.fill("S3", 0, entries, size);
    return meter.read().to_json();
  });
}

// A second node with the same bytes in it.
void copy_node(const fs::path& from, const fs::path& to) {
  fs::copy(from, to, fs::copy_options::recursive);
}

// The engines of this processor, the fastest first, by the name that the configuration takes.
std::vector<std::string> engines() {
  const std::string fastest = Node::engine_name("auto");
  if (fastest == "openssl") return {"openssl"};
  return {fastest.substr(0, fastest.find('/')), "openssl"};
}

Json rekey_in_child(const fs::path& node, const std::string& engine) {
  return in_child([&] { return Node(node, engine).rekey(); });
}

struct Files {
  fs::path bare;
  fs::path lmdb;
  fs::path sqlcipher;
  fs::path node(const std::string& engine) const { return bare.parent_path() / engine; }
};

Files make_files(const RunOptions& options, Json& answer) {
  const Files files{options.directory / "bare.db", options.directory / "lmdb",
                    options.directory / "sqlcipher.db"};
  const std::vector<std::string> names = engines();
  say(fmt::format("making {} entries of {} bytes", options.entries, options.size));
  answer["import"] = make_node(files.node(names.front()), options.entries, options.size);
  for (std::size_t i = 1; i < names.size(); ++i)
    copy_node(files.node(names.front()), files.node(names[i]));
  fs::copy_file(Node::database(files.node(names.front())), files.bare);
  in_child([&]() -> Json {
    copy_into_lmdb(files.bare, files.lmdb);
    return {};
  });
  run_program({sqlcipher_program().string(), "fill", files.sqlcipher.string(),
               std::to_string(options.entries), std::to_string(options.size)});
  return files;
}

}  // namespace

Json run_rewrites(const RunOptions& options) {
  Json answer{{"entries", options.entries},
              {"size", options.size},
              {"synced_sample", std::min(kSyncedSample, options.entries)}};
  const Files files = make_files(options, answer);
  Json& contenders = answer["contenders"];
  for (unsigned round = 0; round < options.rounds; ++round) {
    say(fmt::format("rewriting, round {} of {}", round + 1, options.rounds));
    contenders["bare"].push_back(in_child([&] { return rewrite_bare(files.bare); }));
    contenders["row by row"].push_back(in_child([&] { return rewrite_row_by_row(files.bare); }));
    for (const std::string& engine : engines())
      contenders[engine].push_back(rekey_in_child(files.node(engine), engine));
    contenders["lmdb"].push_back(in_child([&] { return rewrite_lmdb(files.lmdb); }));
    for (const char* mode : {"delete", "wal"})
      contenders[fmt::format("sqlcipher, {}", mode)].push_back(
          run_program({sqlcipher_program().string(), "rekey", files.sqlcipher.string(), mode}));
    contenders["synced one by one"].push_back(in_child([&] {
      return rewrite_synced_one_by_one(files.bare, std::min(kSyncedSample, options.entries));
    }));
  }
  for (const auto& entry : fs::directory_iterator(options.directory)) fs::remove_all(entry.path());
  return answer;
}

// ---- Requests ----

namespace {

struct Kind {
  std::string name;
  bool put;
  unsigned clients;
  std::string target;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{{"get, 1 client", false, 1, ""},
                                     {"get, 16 clients", false, 16, ""},
                                     {"put, 1 client", true, 1, ""},
                                     {"put, 16 clients", true, 16, ""},
                                     {"status", false, 1, "/api/v1/rekeys?domain=S3"}};
  return all;
}

// All kinds once. `done` counts the entries that a rekey re-encrypts meanwhile.
void run_kinds(const RunOptions& options, const DaemonProcess& daemon, unsigned round,
               const RekeyLoop* rekeys, Json& answer) {
  for (const Kind& kind : kinds()) {
    const double cpu = daemon.cpu_seconds();
    const std::uint64_t before = rekeys == nullptr ? 0 : rekeys->entries_done();
    const LoadResult result = run_load({.socket = daemon.socket(),
                                        .clients = kind.clients,
                                        .put = kind.put,
                                        .target = kind.target,
                                        .entries = options.entries,
                                        .size = options.size,
                                        .seconds = options.seconds,
                                        .seed = round + 1});
    Json row = result.to_json();
    row["daemon_cpu_us"] =
        1e6 * (daemon.cpu_seconds() - cpu) / static_cast<double>(result.requests);
    if (rekeys != nullptr)
      row["rekeyed_per_second"] =
          static_cast<double>(rekeys->entries_done() - before) / options.seconds;
    need(result.failures == 0,
         fmt::format("{} of {} requests failed ({})", result.failures, result.requests, kind.name));
    answer[kind.name].push_back(std::move(row));
  }
}

Json measure_requests(const RunOptions& options, const fs::path& node) {
  Json answer{{"entries", options.entries}, {"seconds", options.seconds}};
  const DaemonProcess daemon(node);
  for (unsigned round = 0; round < options.rounds; ++round) {
    say(fmt::format("requests, round {} of {}", round + 1, options.rounds));
    run_kinds(options, daemon, round, nullptr, answer["idle"]);
    {
      const RekeyLoop rekeys(daemon.socket(), {"S3"});
      run_kinds(options, daemon, round, &rekeys, answer["rekeying"]);
    }
    const RekeyLoop rekeys(daemon.socket(), {"S3", "SIQ"});
    run_kinds(options, daemon, round, &rekeys, answer["rekeying two"]);
  }
  answer["daemon_peak_kib"] = daemon.peak_kib();
  return answer;
}

}  // namespace

Json run_requests(const RunOptions& options) {
  const fs::path node = options.directory / "requests";
  make_node(node, options.entries, options.size);
  in_child([&]() -> Json {
    Node second(node, "auto");
    second.add_domain("SIQ");
    second.fill("SIQ", 0, options.entries, options.size);
    return {};
  });
  Json answer = in_child([&] { return measure_requests(options, node); });
  fs::remove_all(node);
  return answer;
}

// ---- Scale ----

namespace {

Json measure_daemon(const RunOptions& options, const fs::path& node, std::uint32_t entries) {
  const DaemonProcess daemon(node);
  LoadResult status;
  {
    const RekeyLoop rekeys(daemon.socket(), {"S3"});
    status = run_load({.socket = daemon.socket(),
                       .target = "/api/v1/rekeys?domain=S3",
                       .entries = entries,
                       .seconds = options.seconds});
  }
  return {{"status", status.to_json()}, {"daemon_peak_kib", daemon.peak_kib()}};
}

Json measure_size(const RunOptions& options, const fs::path& node, std::uint32_t entries) {
  Json row{{"entries", entries}};
  for (unsigned round = 0; round < options.rounds; ++round) {
    row["open_s"].push_back(in_child([&]() -> Json { return Node::open_time(node); }));
    row["rekeys"].push_back(rekey_in_child(node, "auto"));
  }
  row.update(in_child([&] { return measure_daemon(options, node, entries); }));
  return row;
}

}  // namespace

Json run_scale(const RunOptions& options, const std::vector<std::uint32_t>& sizes) {
  const fs::path directory = options.directory / "scale";
  in_child([&]() -> Json {
    Node::create(directory);
    return {};
  });
  Json rows = Json::array();
  std::uint32_t filled = 0;
  for (const std::uint32_t size : sizes) {
    say(fmt::format("scale: {} entries", size));
    in_child([&]() -> Json {
      Node(directory, "auto").fill("S3", filled, size, options.size);
      return {};
    });
    filled = size;
    rows.push_back(measure_size(options, directory, size));
  }
  fs::remove_all(directory);
  return rows;
}

}  // namespace keyward::bench
