// keyward_fuzz_corpora DIR [target]: runs every target over its corpus, without libFuzzer, so that
// what fuzzing once found stays mended. A broken property ends the program; its input is named
// first.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

std::vector<std::filesystem::path> files_in(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(directory, missing))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

void replay_file(const Target& target, const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
  // The last one shown is the one that ended the program.
  std::fprintf(stderr, "%s/%s\n", target.name.data(), path.filename().c_str());
  target.run(std::as_bytes(std::span(content)));
}

// False when there is nothing to run.
bool replay(const Target& target, const std::filesystem::path& corpora) {
  const auto files = files_in(corpora / target.name);
  for (const auto& path : files) replay_file(target, path);
  fmt::print("{:<16} {:>5} inputs{}\n", target.name, files.size(),
             files.empty() ? ": its corpus is missing" : "");
  return !files.empty();
}

}  // namespace
}  // namespace keyward::fuzz

int main(int argc, char** argv) {
  using namespace keyward::fuzz;
  if (argc < 2) {
    std::fputs("usage: keyward_fuzz_corpora DIR [target]\n", stderr);
    return 2;
  }
  bool complete = true;
  for (const Target& target : kTargets)
    if (argc < 3 || target.name == argv[2]) complete = replay(target, argv[1]) && complete;
  return complete ? 0 : 1;
}
