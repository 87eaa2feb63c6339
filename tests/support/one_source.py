#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many small programs as one source: a compiler reads the headers, and makes what templates they share, once for all of them.

one_source.py OUTPUT FILES...: writes a program that is each of `FILES`, by the name that it is given first:
`OUTPUT 11_gather ARGUMENTS...` is 11_gather with these arguments.
"""
import pathlib
import re
import sys


def included(path):
    for line in path.read_text().splitlines():
        if match := re.match(r'#include (?:(<.*>)|"(.*)")', line):
            yield match[1] or f'"{path.resolve().parent / match[2]}"'


def includes(paths):
    """What `paths` include, so that it stands before the namespaces: their own lines of it then do nothing."""
    return [f"#include {each}" for each in sorted({each for path in paths for each in included(path)})]


def one_source(paths, folder):
    """A file in `folder` that includes each of `paths` in a namespace of its own."""
    parts = [f'namespace file_{path.stem} {{\n#include "{path.resolve()}"\n}}' for path in paths]
    source = pathlib.Path(folder, f"{len(paths)}.cpp")
    source.write_text("\n".join([*includes(paths), *parts, ""]))
    return source


def inside(text):
    """What stands in the namespace: without includes, and in there main is a function like others, which must return."""
    lines = ["" if line.startswith("#include") else line for line in text.splitlines()]
    main = next(number for number, line in enumerate(lines) if line.startswith("int main("))
    end = next(number for number in range(main, len(lines)) if re.match(r"(int main.*)?}$", lines[number]))
    lines[end] = lines[end][:-1] + "return 0; }"
    return "\n".join(lines)


def one_program(paths):
    parts = [
        f'namespace file_{path.stem} {{\n#line 1 "{path.resolve()}"\n{inside(path.read_text())}\n}}' for path in paths
    ]
    rows = [f'    if (name == "{path.stem}") return call(file_{path.stem}::main, count - 1, arguments + 1);' for path in paths]
    return "\n".join(
        [
            *includes(paths),
            "#include <string_view>",
            *parts,
            "namespace {",
            "[[maybe_unused]] int call(int (*main)(), int, char**) { return main(); }",
            "[[maybe_unused]] int call(int (*main)(int, char**), int count, char** arguments) { return main(count, arguments); }",
            "}  // namespace",
            "int main(int count, char** arguments) {",
            '    const std::string_view name = count > 1 ? arguments[1] : "";',
            *rows,
            "    return 2;",
            "}",
            "",
        ]
    )


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(one_program([pathlib.Path(each) for each in sys.argv[2:]]))
