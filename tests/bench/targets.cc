#include "tests/bench/targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

namespace keyward::bench {
namespace {

using Path = std::initializer_list<const char*>;

// The median over `rounds` of the number at `path` in each.
double middle(const Json& rounds, Path path) {
  std::vector<double> values;
  for (const Json& round : rounds) {
    const Json* at = &round;
    for (const char* name : path) at = &at->at(name);
    values.push_back(at->get<double>());
  }
  return median(std::move(values));
}

// `floor` is a rewrite without encryption.
void judge_engine(const Json& contenders, const std::string& engine, const std::string& floor,
                  std::vector<Target>& targets) {
  const Json& ours = contenders.at(engine);
  const bool portable = engine == "openssl";
  for (const char* time : {"wall_s", "cpu_s"}) {
    const bool wall = time == std::string_view("wall_s");
    const double bare = middle(contenders.at(floor), {"usage", time});
    const std::string end =
        fmt::format("bare rewrite {}, {}, {}", floor == "bare" ? "in one statement" : floor, engine,
                    wall ? "wall" : "CPU");
    targets.push_back({"re-encryption / " + end, middle(ours, {"reencrypt", time}) / bare,
                       !portable ? 1.15 : (wall ? 1.45 : 1.5)});
    targets.push_back(
        {"verify / " + end, middle(ours, {"verify", time}) / bare, portable ? 1.0 : 0.5});
  }
}

void judge_rewrites(const Json& rewrites, std::vector<Target>& targets) {
  const Json& contenders = rewrites.at("contenders");
  const std::string best = contenders.contains("ipsec-mb") ? "ipsec-mb" : "openssl";
  for (const char* engine : {"ipsec-mb", "openssl"})
    for (const char* floor : {"row by row", "bare"})
      if (contenders.contains(engine)) judge_engine(contenders, engine, floor, targets);
  const Json& ours = contenders.at(best);
  const double entries = rewrites.at("entries");
  const double wall = middle(ours, {"reencrypt", "wall_s"});
  const double cpu = middle(ours, {"reencrypt", "cpu_s"});
  targets.push_back({"bytes written / bytes of blobs",
                     middle(ours, {"reencrypt", "bytes_written"}) /
                         (entries * rewrites.at("blob_bytes").get<double>()),
                     2.45});
  const Json& sqlcipher = contenders.at("sqlcipher, delete");
  targets.push_back({"SQLCipher's rekey / re-encryption, wall",
                     middle(sqlcipher, {"usage", "wall_s"}) / wall, 3, true});
  targets.push_back({"SQLCipher's rekey / re-encryption, CPU",
                     middle(sqlcipher, {"usage", "cpu_s"}) / cpu, 5, true});
  const double per_row = middle(contenders.at("synced one by one"), {"usage", "wall_s"}) /
                         rewrites.at("synced_sample").get<double>();
  targets.push_back(
      {"one sync an entry (extrapolated) / re-encryption", per_row * entries / wall, 400, true});
  targets.push_back({"LMDB's rewrite / re-encryption, wall",
                     middle(contenders.at("lmdb"), {"usage", "wall_s"}) / wall, 0.45, true});
  targets.push_back(
      {"peak memory of the rekey", middle(ours, {"peak_kib"}) / 1024, 64, false, "MiB"});
}

void judge_requests(const Json& requests, std::vector<Target>& targets) {
  const Json& idle = requests.at("idle");
  const Json& busy = requests.at("rekeying");
  const auto slower = [&](const char* kind, const char* what) {
    return middle(busy.at(kind), {what}) / middle(idle.at(kind), {what});
  };
  for (const char* kind : {"put, 1 client", "put, 16 clients"}) {
    targets.push_back(
        {fmt::format("{}: p99 while rekeying / idle", kind), slower(kind, "p99_us"), 3});
    targets.push_back({fmt::format("{}: p99 while rekeying", kind),
                       middle(busy.at(kind), {"p99_us"}) / 1000, 10, false, "ms"});
  }
  targets.push_back({"put, 16 clients: p99 while two keystores are rekeyed / idle",
                     middle(requests.at("rekeying two").at("put, 16 clients"), {"p99_us"}) /
                         middle(idle.at("put, 16 clients"), {"p99_us"}),
                     3});
  for (const char* kind : {"get, 1 client", "get, 16 clients"}) {
    targets.push_back(
        {fmt::format("{}: p50 while rekeying / idle", kind), slower(kind, "p50_us"), 1.2});
    targets.push_back(
        {fmt::format("{}: p99 while rekeying / idle", kind), slower(kind, "p99_us"), 4});
  }
  const Json& gets = idle.at("get, 16 clients");
  targets.push_back(
      {"gets a second, 16 clients", middle(gets, {"per_second"}), 30'000, true, "/s"});
  targets.push_back({"get, 16 clients: p99", middle(gets, {"p99_us"}) / 1000, 1.5, false, "ms"});
  targets.push_back({"peak memory of keywardd", requests.at("daemon_peak_kib").get<double>() / 1024,
                     64, false, "MiB"});
}

void judge_scale(const Json& scale, std::vector<Target>& targets) {
  const Json& first = scale.front();
  const Json& last = scale.back();
  const std::string entries = fmt::format("{} entries", last.at("entries").get<std::uint64_t>());
  const auto per_entry = [](const Json& row) {
    return middle(row.at("rekeys"), {"reencrypt", "cpu_s"}) / row.at("entries").get<double>();
  };
  targets.push_back({"CPU an entry at " + entries + " / at the size before",
                     per_entry(last) / per_entry(scale.at(scale.size() - 2)), 1.1});
  targets.push_back(
      {"peak memory of the rekey, " + entries + " / the fewest",
       middle(last.at("rekeys"), {"peak_kib"}) / middle(first.at("rekeys"), {"peak_kib"}), 1.1});
  targets.push_back({"peak memory of keywardd, " + entries,
                     last.at("daemon_peak_kib").get<double>() / 1024, 64, false, "MiB"});
  targets.push_back({"status over the socket while rekeying, p99, " + entries,
                     last.at("status").at("p99_us").get<double>() / 1000, 1, false, "ms"});
  targets.push_back(
      {"opening the keystore, " + entries, 1000 * middle(last.at("open_s"), {}), 50, false, "ms"});
}

// ---- Printing ----

void print_rewrite(const std::string& name, const Json& usage_rounds, const char* part,
                   double entries) {
  fmt::print("  {:<34} {:>8.3f} s {:>8.3f} s {:>9.2f} µs {:>10.1f} MB\n", name,
             middle(usage_rounds, {part, "wall_s"}), middle(usage_rounds, {part, "cpu_s"}),
             1e6 * middle(usage_rounds, {part, "cpu_s"}) / entries,
             middle(usage_rounds, {part, "bytes_written"}) / 1e6);
}

void print_rewrites(const Json& rewrites) {
  const double entries = rewrites.at("entries");
  fmt::print("\n{} entries of {} bytes, medians of {}\n",
             rewrites.at("entries").get<std::uint64_t>(), rewrites.at("size").get<std::uint64_t>(),
             rewrites.at("contenders").at("bare").size());
  fmt::print("  {:<34} {:>10} {:>10} {:>12} {:>13}\n", "", "wall", "CPU", "CPU/entry", "written");
  for (const auto& [name, rounds] : rewrites.at("contenders").items()) {
    if (rounds.front().contains("reencrypt")) {
      for (const char* part : {"reencrypt", "verify", "whole"})
        print_rewrite(fmt::format("keyward, {}: {}", name, part), rounds, part, entries);
    } else if (name == "synced one by one") {
      const double sample = rewrites.at("synced_sample");
      print_rewrite(fmt::format("{} (sample of {})", name, sample), rounds, "usage", sample);
    } else {
      print_rewrite(name, rounds, "usage", entries);
    }
  }
}

void print_requests(const Json& requests) {
  fmt::print("\nrequests on the Unix socket, {} entries, medians of {}\n",
             requests.at("entries").get<std::uint64_t>(), requests.at("idle").at("status").size());
  fmt::print("  {:<28} {:>10} {:>9} {:>9} {:>12} {:>14}\n", "", "a second", "p50 µs", "p99 µs",
             "daemon CPU", "rekeyed/s");
  for (const char* state : {"idle", "rekeying", "rekeying two"}) {
    for (const auto& [kind, rounds] : requests.at(state).items()) {
      fmt::print("  {:<28} {:>10.0f} {:>9.0f} {:>9.0f} {:>9.1f} µs",
                 fmt::format("{}, {}", kind, state), middle(rounds, {"per_second"}),
                 middle(rounds, {"p50_us"}), middle(rounds, {"p99_us"}),
                 middle(rounds, {"daemon_cpu_us"}));
      if (rounds.front().contains("rekeyed_per_second"))
        fmt::print(" {:>14.0f}", middle(rounds, {"rekeyed_per_second"}));
      fmt::print("\n");
    }
  }
}

void print_scale(const Json& scale) {
  fmt::print("\n  {:>10} {:>14} {:>13} {:>11} {:>12} {:>12} {:>10}\n", "entries", "re-encryption",
             "verify", "rekey peak", "daemon peak", "status p99", "open");
  for (const Json& row : scale) {
    const double entries = row.at("entries");
    fmt::print(
        "  {:>10.0f} {:>11.2f} µs {:>10.2f} µs {:>7.1f} MiB {:>8.1f} MiB {:>9.2f} ms {:>7.1f} ms\n",
        entries, 1e6 * middle(row.at("rekeys"), {"reencrypt", "wall_s"}) / entries,
        1e6 * middle(row.at("rekeys"), {"verify", "wall_s"}) / entries,
        middle(row.at("rekeys"), {"peak_kib"}) / 1024,
        row.at("daemon_peak_kib").get<double>() / 1024,
        row.at("status").at("p99_us").get<double>() / 1000, 1000 * middle(row.at("open_s"), {}));
  }
}

}  // namespace

Json Target::to_json() const {
  return {{"what", what},         {"value", value}, {"limit", limit},
          {"at_least", at_least}, {"unit", unit},   {"met", is_met()}};
}

std::vector<Target> judge(const Json& results) {
  std::vector<Target> targets;
  if (results.contains("rewrites")) judge_rewrites(results.at("rewrites"), targets);
  if (results.contains("requests")) judge_requests(results.at("requests"), targets);
  if (results.contains("scale")) judge_scale(results.at("scale"), targets);
  return targets;
}

void print_report(const Json& results, const std::vector<Target>& targets) {
  if (results.contains("rewrites")) print_rewrites(results.at("rewrites"));
  if (results.contains("requests")) print_requests(results.at("requests"));
  if (results.contains("scale")) print_scale(results.at("scale"));
  fmt::print("\n");
  for (const Target& target : targets)
    fmt::print("{} {:<62} {:>10.2f} {} {} {}\n", target.is_met() ? "  ok   " : "  SHORT",
               target.what, target.value, target.at_least ? "≥" : "≤", target.limit, target.unit);
  const auto missed =
      std::ranges::count_if(targets, [](const Target& one) { return !one.is_met(); });
  fmt::print("\n{} of {} targets met, {} fall short\n",
             targets.size() - static_cast<std::size_t>(missed), targets.size(), missed);
}

}  // namespace keyward::bench
