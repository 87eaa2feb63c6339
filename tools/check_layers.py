#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the shape of include/weft: the order of its rooms, what is private to one, cycles, who may touch the kernel."""

import os
import pathlib
import re
import sys

# A folder is a room. A header includes headers of its own room or of one further down in this list.
ROOMS = [
    "http",
    "redis",
    "postgres",
    "mysql",
    "sqlite",
    "sql",
    "curl",
    "adapters",
    "testing",
    "patterns",
    "process",
    "streams",
    "together",
    "deadline",
    "fs",
    "net",
    "thread",
    "signal",
    "queue",
    "sync",
    "task",
    "runtime",
    "kernel",
    "base",
]
# What stands in include/weft itself: NAME.hpp is the umbrella of the room NAME, which includes its public headers. These
# three may include any; this one includes none of ours, and any may include it.
ABOVE_ALL = {"weft", "src", "tls_src"}
BELOW_ALL = {"fwd"}
ADAPTERS = {"http", "redis", "postgres", "mysql", "sqlite", "sql", "curl", "adapters"}  # on libraries that not everybody has
NOT_IN_WEFT = {"testing", "fs", "process"} | ADAPTERS
# Public headers that need a library which not everybody has, or cost much to include: no umbrella includes them.
APART = re.compile(r"net/tls|http/tls|deadline/std_stop_token")

# System headers that one place alone may include.
ONLY_IN = {
    "liburing.h": "kernel/detail/uring",
    "linux/io_uring.h": "kernel/detail/uring",
    "sys/epoll.h": "kernel/detail/epoll",
}

MAX_LINES = 400
LONG_BECAUSE = "// Long because:"

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
ROOT = pathlib.Path(__file__).resolve().parent.parent / "include" / "weft"


def room_of(name):
    """The room of a header; an umbrella (sync.hpp) belongs to the room that it names."""
    return name.split("/")[0]


def may_include(name, other):
    room, other_room = room_of(name), room_of(other)
    if room in BELOW_ALL:
        return False
    if room in ABOVE_ALL or other_room in BELOW_ALL:
        return True
    return other_room in ROOMS and ROOMS.index(other_room) >= ROOMS.index(room)


def our_header(path, line, included):
    """The name of the header of ours that `line` of `path` includes; None for one of another project."""
    if included.startswith("weft/"):
        return included.removeprefix("weft/").removesuffix(".hpp")
    if '"' not in line:
        return None
    target = pathlib.Path(os.path.normpath(path.parent / included))
    if not target.is_relative_to(ROOT):
        return included
    return target.relative_to(ROOT).with_suffix("").as_posix()


def find_cycle(graph):
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name):] + [name]
        if name in done:
            return None
        path.append(name)
        for other in graph.get(name, ()):
            cycle = visit(other)
            if cycle:
                return cycle
        path.pop()
        done.add(name)
        return None

    for name in sorted(graph):
        cycle = visit(name)
        if cycle:
            return cycle
    return None


def problems_of_include(name, path, line, included):
    if included in ONLY_IN and not name.startswith(ONLY_IN[included]):
        yield f"only {ONLY_IN[included]}* may include <{included}>"
    other = our_header(path, line, included)
    if other is None:
        return
    if not (ROOT / f"{other}.hpp").exists():
        yield f"there is no {included}"
    elif not may_include(name, other):
        yield f"{name} is below {other}"
    elif "/" in name and "/" not in other and other not in BELOW_ALL:
        yield f"{other} is an umbrella; name the headers that are needed"
    elif "/detail/" in other and room_of(other) != room_of(name):
        yield f"{other} is private to {room_of(other)}"


def problems_of_umbrellas(graph):
    """Each room has one, it includes every public header of the room, and <weft/weft.hpp> includes it."""
    for room in ROOMS:
        public = sorted(name for name in graph if room_of(name) == room and name.count("/") == 1 and not APART.match(name))
        if not public and room in ADAPTERS:
            continue
        if room not in graph:
            yield f"{room}.hpp: the room {room} has no umbrella"
            continue
        yield from (f"{room}.hpp: does not include {name}.hpp" for name in public if name not in graph[room])
        if room not in NOT_IN_WEFT and room not in graph["weft"]:
            yield f"weft.hpp: does not include {room}.hpp"


def main():
    problems = []
    graph = {}
    for path in sorted(ROOT.rglob("*.hpp")):
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        if room_of(name) not in ROOMS and name not in ABOVE_ALL | BELOW_ALL:
            problems.append(f"{name}.hpp: stands in no room; name it in ROOMS of tools/check_layers.py")
            continue
        if len(lines) > MAX_LINES and not any(line.strip().startswith(LONG_BECAUSE) for line in lines):
            problems.append(f"{name}.hpp: {len(lines)} lines; split it, or argue in a line '{LONG_BECAUSE} ...'")
        graph[name] = []
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            problems += (f"{name}.hpp:{number}: {problem}"
                         for problem in problems_of_include(name, path, line, match.group(1)))
            other = our_header(path, line, match.group(1))
            if other is not None:
                graph[name].append(other)

    problems += problems_of_umbrellas(graph)
    cycle = find_cycle(graph)
    if cycle:
        problems.append("include cycle: " + " -> ".join(cycle))
    for problem in problems:
        print(problem)
    print(f"layers: {len(graph)} headers, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
