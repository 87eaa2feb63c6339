#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the house rules that a script can see. Each rule is one function; see RULES at the end."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = ROOT / "include" / "weft"
SPDX = "SPDX-License-Identifier: MIT"

# Headers that cost every user compile time; these parts of the library are not included by everybody.
# Of memory, algorithm and chrono, base/std_parts.hpp has the parts that the others need.
SLOW_HEADERS = {"iostream", "regex", "functional", "memory", "algorithm", "chrono", "iterator", "ostream", "sstream"}
SLOW_ALLOWED_IN = ("testing/", "base/std_parts.hpp")

MAX_MACROS = 8
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|HA" r"CK|XX" r"X)\b")
DEFINE = re.compile(r"^\s*#\s*define\s+(\w+)")
UNDEF = re.compile(r"^\s*#\s*undef\s+(\w+)")
ASSERTION = re.compile(r"\b(?:assert|WEFT_ASSERT)\s*\((.*)")
SIDE_EFFECT = re.compile(r"\+\+|--|[^=!<>+\-*/|&^]=[^=]|[+\-*/|&^]=(?!=)")


def starts_with_what_it_is(name, lines):
    """A header starts with its licence line and a comment that says what it is, then #pragma once."""
    comments = []
    for line in lines:
        if not line.startswith("//"):
            if line and line != "#pragma once":
                break
            continue
        comments.append(line)
    if not any(SPDX in line for line in comments):
        yield 1, f"the comment at the top lacks '// {SPDX}'"
    if not any(len(line.split()) >= 4 for line in comments if SPDX not in line):
        yield 1, "does not start with a comment that says what it is"
    if "#pragma once" not in lines:
        yield 1, "lacks #pragma once"


def no_slow_headers(name, lines):
    if name.startswith(SLOW_ALLOWED_IN):
        return
    for number, line in enumerate(lines, 1):
        match = re.match(r"\s*#\s*include\s*<(\w+)>", line)
        if match and match.group(1) in SLOW_HEADERS:
            yield number, f"<{match.group(1)}> costs every user compile time"


def macros_in_config_alone(name, lines):
    """Eight macros at most, in config.hpp. Elsewhere a macro is undefined again in the same file."""
    if name.startswith("testing/"):
        return
    defined = {}
    for number, line in enumerate(lines, 1):
        if match := DEFINE.match(line):
            defined.setdefault(match.group(1), number)
        elif (match := UNDEF.match(line)) and name != "base/config.hpp":
            defined.pop(match.group(1), None)
    if name != "base/config.hpp":
        for macro, number in defined.items():
            yield number, f"macro {macro} outside config.hpp"
        return
    for macro, number in defined.items():
        if not macro.startswith("WEFT_"):
            yield number, f"macro {macro} does not start with WEFT_"
    if len(defined) > MAX_MACROS:
        yield 1, f"{len(defined)} macros, {MAX_MACROS} at most: {' '.join(defined)}"


def assertions_only_look(name, lines):
    for number, line in enumerate(lines, 1):
        match = ASSERTION.search(line)
        if match and "static_assert" not in line and "#" not in line:
            text = re.sub(r'"[^"]*"|\[[^\]]*\]', "", match.group(1)).split("//")[0]
            if SIDE_EFFECT.search(text.split(");")[0]):
                yield number, "a side effect inside an assertion"


DIRECTIVE = re.compile(r"\S.*// (labels|builds|timeout|run|program|rungs|sanitizers): |^// .*\S (labels|builds|timeout|program|rungs|sanitizers): ")


def directives_have_lines_of_their_own(name, lines):
    """CMake reads `// labels: ...` at the start of a line only; a formatter may have joined it to another one."""
    if name.startswith(("tests/", "examples/")) and name.endswith(".cpp"):
        for number, line in enumerate(lines[:10], 1):
            if line.startswith("//") and DIRECTIVE.search(line):
                yield number, "a directive (labels, builds, timeout, program, rungs) that does not begin its line is not read"


def tests_have_a_namespace_of_their_own(name, lines):
    """Files of tests are compiled together, so what they define must not meet."""
    path = pathlib.PurePath(name)
    if not re.fullmatch(r"tests/(?!support|compile_fail|consumer|peers|fuzz)\w+/\w+\.cpp", name):
        return
    program = next((line for line in lines[:10] if line.startswith("// program: ")), "")
    if program.startswith("// program: own"):
        return
    for number, line in enumerate(lines, 1):
        if not program and re.search(r'extern "C"|RTLD_NEXT|thrown\.hpp|(counted|failing)_new\.hpp', line):
            yield number, "replaces a function for all tests of its program: `// program: own`"
    space = f"namespace {path.stem}_test"
    if space + " {" not in lines or lines[-1] != "}  // " + space:
        yield 1, f"what follows the includes stands in `{space}`, up to the end"


OVERRIDE_DEFINED_ELSEWHERE = re.compile(r"\)\s*(const\s*)?(noexcept\s*)?override;")


def overrides_are_inline_from_the_start(name, lines):
    """The first virtual function that is declared without `inline` is the class's key function: its vtable and all
    that this refers to then come out in every file that includes the header, used or not."""
    for number, line in enumerate(lines, 1):
        if OVERRIDE_DEFINED_ELSEWHERE.search(line) and not line.lstrip().startswith(("inline ", "//")):
            yield number, "an override that is defined further down is declared `inline`"


AWAITER = re.compile(r": (?:public|private) .*\b\w*(?:Suspension|Wait)\b")
ASKS_FOR_LEFTOVERS = re.compile(
    r"\b(?:check_leftover|take_leftover|finish_wait|finish_detachable|finish|checked|check|transferred|taken|has_item"
    r"|was_put)\(")


def awaiters_end_leftovers(name, lines):
    """What waits asks first whether its task is a leftover, itself or through what it derives from: see
    runtime/detail/leftover.hpp."""
    text = "\n".join(lines)
    for number, line in enumerate(lines, 1):
        if " await_resume()" in line and AWAITER.search(text) and not ASKS_FOR_LEFTOVERS.search(text):
            yield number, "an await_resume() that does not ask check_leftover()"
            return


def finished(name, lines):
    for number, line in enumerate(lines, 1):
        if match := UNFINISHED.search(line):
            yield number, f"'{match.group(1)}': finish it, or file it as an issue"


def files(*patterns):
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file())


HEADER_FILES = files("include/weft/**/*.hpp")
ALL_SOURCES = HEADER_FILES + files(
    *(f"{folder}/**/*{suffix}" for folder in ("tests", "examples", "bench", "cmake", "tools")
      for suffix in (".hpp", ".cpp", ".h", ".c", ".py", ".cmake", "CMakeLists.txt")),
    "CMakeLists.txt", "dev", ".ci/run", "tools/check_headers", "tests/consumer/run", "tests/compile_fail/check")

TORN_LABEL = re.compile(r"^\s*/// .*\S (Returns|Throws|Cancel|Lifetime|Thread|Source): |^\s*/// [A-Z]\w*$")


def labels_have_lines_of_their_own(name, lines):
    """A formatter may have joined or torn them."""
    for number, line in enumerate(lines, 1):
        if TORN_LABEL.search(line):
            yield number, "a label of a doc comment begins its line, and its text fills the line"


NAMESPACE = re.compile(r"^namespace ([\w:]+) \{$")
TYPE = re.compile(r"^(?:class|struct|enum class) (?:\[\[[\w:]+\]\] )*(\w+)\b(?!::)([^;]*)(;?)$")
# What is caught or looked at needs the whole type; Singleflight's default argument is std::hash.
NOT_FORWARD = re.compile(r": public (?:std::|RuntimeError)|^class \w+Error final|^class GeneratorExit|^struct \w+Statistics|^class Singleflight")


def types_of_users(lines):
    """(line number, name, is it a definition) for each class, struct and enumeration of weft and weft::io."""
    spaces = []
    for number, line in enumerate(lines, 1):
        if match := NAMESPACE.match(line):
            spaces.append(match.group(1))
        elif line.startswith("}  // namespace"):
            spaces.pop()
        elif spaces in (["weft"], ["weft::io"], ["weft", "io"]) and not NOT_FORWARD.search(line):
            if match := TYPE.match(line):
                yield number, match.group(1), not match.group(3)


def fwd_declares_all_types(name, lines):
    """What a public header defines is declared in fwd.hpp, and nothing else is."""
    declared = {type_name: number for number, type_name, _ in types_of_users((HEADERS / "fwd.hpp").read_text().splitlines())}
    if name == "fwd.hpp":
        defined = {type_name for path in HEADER_FILES for _, type_name, is_whole in types_of_users(path.read_text().splitlines()) if is_whole}
        for type_name, number in declared.items():
            if type_name not in defined:
                yield number, f"no header defines {type_name}"
    elif not name.startswith("testing/") and "/detail/" not in name:
        for number, type_name, is_whole in types_of_users(lines):
            if is_whole and type_name not in declared:
                yield number, f"{type_name} is not declared in fwd.hpp"


RULES = [
    (HEADER_FILES, fwd_declares_all_types),
    (HEADER_FILES, starts_with_what_it_is),
    (HEADER_FILES, no_slow_headers),
    (HEADER_FILES, macros_in_config_alone),
    (HEADER_FILES, assertions_only_look),
    (HEADER_FILES, overrides_are_inline_from_the_start),
    (HEADER_FILES, labels_have_lines_of_their_own),
    (HEADER_FILES, awaiters_end_leftovers),
    (ALL_SOURCES, finished),
    (ALL_SOURCES, directives_have_lines_of_their_own),
    (ALL_SOURCES, tests_have_a_namespace_of_their_own),
]


def main():
    problems = 0
    for paths, rule in RULES:
        for path in paths:
            base = HEADERS if paths is HEADER_FILES else ROOT
            lines = path.read_text(encoding="utf-8").splitlines()
            for number, message in rule(path.relative_to(base).as_posix(), lines):
                print(f"{path.relative_to(ROOT)}:{number}: {message}")
                problems += 1
    print(f"rules: {len(ALL_SOURCES)} files, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
