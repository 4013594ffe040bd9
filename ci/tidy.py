"""The checks behind ci/tidy. Each returns the list of what it found."""

import os
import re
import subprocess
import sys

FOLDERS = ("base", "crypto", "api", "hsm", "store", "sed", "engine", "daemon", "cli")
# Who may include whom: arrows go down only, and neighbours on a floor do not see each other.
MAY_INCLUDE = {
    "base": {"base"},
    "crypto": {"crypto", "base"},
    "api": {"api", "base"},
    "hsm": {"hsm", "crypto", "base"},
    "store": {"store", "crypto", "base"},
    "sed": {"sed", "crypto", "base"},
    "engine": {"engine", "hsm", "store", "sed", "api", "crypto", "base"},
    "daemon": {"daemon", "engine", "hsm", "store", "sed", "api", "crypto", "base"},
    "cli": {"cli", "sed", "api", "base"},  # sed for --direct and the emulator.
}
# Each foreign header has one folder (or few) that may know it.
FOREIGN = {
    r"sqlite3\.h": {"store"},
    r"tss2/": {"hsm"},
    r"libp11\.h|p11-kit/": {"hsm"},
    r"intel-ipsec-mb\.h": {"crypto"},
    r"openssl/": {"crypto"},
    r"boost/": {"daemon", "cli"},
    r"systemd/": {"daemon"},
    r"seccomp\.h": {"hsm", "sed"},
    r"CLI/": {"cli"},
}
# The emulator's headers are for what stands around an emulated drive; to the command, sed/ is those.
EMULATOR_USERS = ("sed/emulator/", "sed/transport/", "sed/device_node/", "sed/nvme_tcp/", "daemon/drives.cc", "cli/")
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
WAITS = re.compile(r"\b(sleep_for|wait_for|usleep|nanosleep)\s*\(|(?<!_)\bsleep\s*\(\s*\d")
# These wait by the operating system's means: the clocks themselves, and a process of its own.
WAITS_ALLOWED = ("base/clock.cc", "base/virtual_clock.cc", "hsm/pkcs11/helper/")
# libp11 leaves its errors in OpenSSL's queue.
FOREIGN_ALLOWED = (("hsm/pkcs11/helper/", "openssl/err.h"),)
TEST_CODE = re.compile(r"_test\.cc$|/testing/|_fixture\.(h|cc)$|test_support\.h$")
FUNCTION_LINES_MAX, FILE_LINES_MAX, COLUMNS_MAX = 70, 800, 100


def tracked():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True,
                         text=True, check=True).stdout
    return [f for f in out.splitlines() if os.path.exists(f)]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def include_arrows(sources):
    for path in sources:
        folder = path.split("/")[0]
        if folder not in FOLDERS:
            continue
        test = TEST_CODE.search(path)
        for number, line in enumerate(read(path).splitlines(), 1):
            match = re.match(r'#include "([a-z0-9_]+)/', line)
            if match and match[1] in FOLDERS and match[1] not in MAY_INCLUDE[folder]:
                yield f"{path}:{number}: {folder}/ may not include {match[1]}/"
            if path.startswith("sed/emulator/") and re.match(r'#include "sed/(?!emulator/|transport/)', line):
                yield f"{path}:{number}: the emulator shares no code with the host side"
            if not test and not path.startswith(EMULATOR_USERS) and line.startswith('#include "sed/emulator/'):
                yield f"{path}:{number}: only {', '.join(EMULATOR_USERS)} and tests know the emulator"
            match = re.match(r"#include <([^>]+)>", line)
            for pattern, allowed in FOREIGN.items():
                if match and any(path.startswith(place) and match[1] == header
                                 for place, header in FOREIGN_ALLOWED):
                    continue
                if match and not test and re.match(pattern, match[1]) and folder not in allowed:
                    yield f"{path}:{number}: <{match[1]}> belongs to {'/, '.join(sorted(allowed))}/"


def leftovers(files):
    for path in files:
        if not re.search(r"\.(h|cc|py|sh|cmake|md)$|CMakeLists\.txt$|^ci/", path) or path == "ci/tidy.py":
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if LEFTOVERS.search(line):
                yield f"{path}:{number}: left over: {line.strip()}"


def waits(sources):
    for path in sources:
        if path.startswith(WAITS_ALLOWED) or TEST_CODE.search(path):
            continue
        if path.split("/")[0] not in FOLDERS:
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if WAITS.search(line.split("//")[0]):
                yield f"{path}:{number}: waits go through Clock::wait_until: {line.strip()}"


def function_lengths(path):
    """Rough, as the code is clang-formatted: a body opens at the end of a line that starts in column 0
    or 2 and closes with a brace in the same column."""
    opened = None
    for number, line in enumerate(read(path).splitlines(), 1):
        if opened is None:
            match = re.match(r"^( {0,2})\S.*\)[^;{]*\{$", line)
            if match and not re.match(r"\s*(if|for|while|switch|namespace|class|struct|enum)\b", line):
                opened = (number, match[1])
        elif line.startswith(opened[1] + "}"):
            if number - opened[0] - 1 > FUNCTION_LINES_MAX:
                yield f"{path}:{opened[0]}: function of {number - opened[0] - 1} lines"
            opened = None


def budgets(sources):
    for path in sources:
        text = read(path)
        if text.count("\n") > FILE_LINES_MAX:
            yield f"{path}: {text.count(chr(10))} lines"
        if path.endswith("_test.cc"):
            continue
        yield from function_lengths(path)
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > COLUMNS_MAX and "http" not in line and 'R"(' not in line:
                yield f"{path}:{number}: {len(line)} columns"


def formatting(sources):
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], capture_output=True, text=True)
    return sorted({line.split(": error:")[0].rsplit(":", 1)[0] + ": not as clang-format has it"
                   for line in run.stderr.splitlines() if ": error:" in line})


def lint(sources):
    subprocess.run(["cmake", "--preset", "tidy"], check=True, capture_output=True)
    units = [s for s in sources if s.endswith(".cc") and s.split("/")[0] in FOLDERS
             and not s.endswith("_test.cc")]
    run = subprocess.run(["xargs", "-P", str(os.cpu_count()), "-n", "4", "clang-tidy-19", "-p",
                          "build/tidy", "--quiet"], input="\n".join(units), capture_output=True, text=True)
    return [line for line in run.stdout.splitlines() if re.search(r": (error|warning):", line)]


def main():
    files = tracked()
    sources = [f for f in files if f.endswith((".h", ".cc"))]
    errors = [*include_arrows(sources), *leftovers(files), *waits(sources), *formatting(sources)]
    if "--lint" in sys.argv:
        errors += lint(sources)
    warnings = list(budgets(sources))
    for text in warnings:
        print("warning:", text)
    for text in errors:
        print("error:", text)
    print(f"ci/tidy: {len(sources)} files, {len(errors)} errors, {len(warnings)} over budget")
    return 1 if errors else 0


sys.exit(main())
