#include "cli/completion.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

namespace keyward::cli {
namespace {

// One line of the case statement for each command: its path, then every word that may follow.
void add_cases(const CLI::App& app, const std::string& path, std::string& cases) {
  std::string words;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    words += sub->get_name() + " ";
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  if (!words.empty()) words.pop_back();
  cases += fmt::format("    \"{}\") words=\"{}\" ;;\n", path, words);
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    add_cases(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), cases);
  }
}

// What stands before and after the cases.
constexpr std::string_view kBegin =
    R"bash(# bash completion for keyward, made by: keyward completion bash
_keyward() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local path="" word words=""
  case "$previous" in
    --domain)
      words=$(keyward cluster domains list --json 2>/dev/null |
        sed -n 's/.*"domain":"\([A-Z0-9_]*\)".*/\1/p')
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      return ;;
    --without)
      words=$(keyward custodians list --json 2>/dev/null | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      return ;;
  esac
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ "$word" == -* || "$word" == keymanager ]] || path="${path:+$path }$word"
  done
  # Words that are no command, a domain's name say, are cut off from the end.
  while :; do
    case "$path" in
)bash";

constexpr std::string_view kEnd = R"bash(    *" "*) path="${path% *}"; continue ;;
    esac
    break
  done
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _keyward keyward
)bash";

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::string cases;
  add_cases(app, "", cases);
  return fmt::format("{}{}{}", kBegin, cases, kEnd);
}

}  // namespace keyward::cli
