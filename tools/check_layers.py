#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the shape of include/weft: layers, cycles, who may touch the kernel, and length."""

import os
import pathlib
import re
import sys

# A header includes headers of its own layer or of a lower one, never in a cycle. A header of the top
# folder that is not named here is vocabulary; one in a subfolder must be named.
LAYERS = [
    ("words", "config error clock fd address buffer options detail/intrusive_list detail/outcome"
              " detail/callback detail/pointer_set detail/std_parts detail/ref detail/thread detail/buffer_pool"),
    ("kernel door", "backend/operation backend/attempt backend/uring backend/uring_flags"
                    " backend/uring_unix_ends backend/epoll backend/choose backend/backend"
                    " backend/forked detail/helper_thread"),
    ("engine", "loop coro handle detail/context detail/ready_queue detail/go_on detail/timer_heap detail/frame_allocator"
               " detail/inbox detail/promise_base detail/report detail/task_core detail/guard remote"
               " detail/cancel_way detail/event_loop detail/loop_callbacks detail/loop_cancel detail/loop_life detail/loop_reports"
               " detail/loop_turn detail/loop_world"),
    ("suspension", "io sleep task future chunk detail/future_state detail/ready_await detail/gate"
                   " detail/grant_wait detail/wait_queue"
                   " detail/reserving_queue"
                   " detail/holder detail/cancel_watch detail/element detail/ring_buffer detail/item_queue"
                   " detail/children detail/child_arguments detail/child_range detail/chunk_source"
                   " detail/stream_reads"),
    ("vocabulary", "* detail/timed_awaiter"),
    ("entry", "weft run src debug testing/*"),
]

# System headers that one place alone may include.
ONLY_IN = {
    "liburing.h": {"backend/uring", "backend/uring_unix_ends"},
    "linux/io_uring.h": {"backend/uring"},
    "sys/epoll.h": {"backend/epoll"},
}

MAX_LINES = 400
LONG_BECAUSE = "// Long because:"

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
ROOT = pathlib.Path(__file__).resolve().parent.parent / "include" / "weft"


def layer_of(name):
    for number, (_, names) in enumerate(LAYERS):
        for pattern in names.split():
            if name == pattern or (pattern.endswith("/*") and name.startswith(pattern[:-1])):
                return number
    if "/" in name:
        return None
    return next(number for number, (_, names) in enumerate(LAYERS) if "*" in names.split())


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


def main():
    problems = []
    graph = {}
    for path in sorted(ROOT.rglob("*.hpp")):
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        layer = layer_of(name)
        if layer is None:
            problems.append(f"{name}.hpp: has no layer; name it in LAYERS of tools/check_layers.py")
            continue
        if len(lines) > MAX_LINES and not any(line.strip().startswith(LONG_BECAUSE) for line in lines):
            problems.append(f"{name}.hpp: {len(lines)} lines; split it, or argue in a line '{LONG_BECAUSE} ...'")

        graph[name] = []
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            included = match.group(1)
            where = f"{name}.hpp:{number}"
            if included in ONLY_IN and name not in ONLY_IN[included]:
                problems.append(f"{where}: only {', '.join(ONLY_IN[included])} may include <{included}>")
            other = our_header(path, line, included)
            if other is None:
                continue
            graph[name].append(other)
            if not (ROOT / f"{other}.hpp").exists():
                problems.append(f"{where}: there is no {included}")
            elif layer_of(other) is not None and layer_of(other) > layer:
                problems.append(f"{where}: {name} ({LAYERS[layer][0]}) is below {other} ({LAYERS[layer_of(other)][0]})")

    cycle = find_cycle(graph)
    if cycle:
        problems.append("include cycle: " + " -> ".join(cycle))
    for problem in problems:
        print(problem)
    print(f"layers: {len(graph)} headers, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
