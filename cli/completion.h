// Bash completion, made from the tree of commands itself, so that it cannot fall behind.
//
//   std::cout << bash_completion(app);      // `keyward completion bash`
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace keyward::cli {

std::string bash_completion(const CLI::App& app);

}  // namespace keyward::cli
