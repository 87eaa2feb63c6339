#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands to Redis by weft beside redis-benchmark, interleaved in one run: redis_compare.py FOLDER_OF_PROGRAMS [--repeats N]

Every round runs every program of a cell once against one redis-server, starting with another one each time. The table has
commands a second, median and best, CPU nanoseconds of the client for each, and ratios: the median of those within the rounds, and
for commands a second that of the best runs too. (Client and server share the machine with whoever else is there, who only ever
makes a run slower: where the two ratios disagree, the second is the one to trust.)
"""
import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CELLS = [(1, 1), (1, 16), (1, 64), (50, 1), (50, 16)]  # connections, commands under way on each
TARGET = 0.9  # of redis-benchmark's throughput


def own(port, connections, depth, count):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-c", str(connections), "-P", str(depth), "-n", str(count), "-t", "get", "-q"],
        check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(re.findall(r"([0-9.]+) requests per second", out)[-1]), cpu * 1e9 / count


def ours(program, backend, form, port, connections, depth, count):
    out = subprocess.run(
        [program, "--port", str(port), "--connections", str(connections), "--depth", str(depth), "--count", str(count),
         "--form", form],
        check=True, capture_output=True, text=True, env={**os.environ, "WEFT_BACKEND": backend}).stdout
    throughput, cpu = out.split()
    return float(throughput), float(cpu)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--port", type=int, default=7399)
    arguments = parser.parse_args()
    program = os.path.join(arguments.folder, "redis_weft")
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(["redis-server", "--port", str(arguments.port), "--save", "", "--bind", "127.0.0.1",
                                   "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            subprocess.run(["redis-cli", "-p", str(arguments.port), "set", "key:__rand_int__", "xxx"], check=True,
                           stdout=subprocess.DEVNULL)
            print("| connections | depth | client | commands/s | best | ratio | of the best | CPU ns each | ratio |")
            print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
            for connections, depth in CELLS:
                measure(program, arguments, connections, depth)
        finally:
            server.kill()
            server.wait()


def measure(program, arguments, connections, depth):
    count = max(40_000, min(400_000, connections * depth * 10_000))
    count -= count % (connections * depth)
    where = (arguments.port, connections, depth, count)
    clients = {
        "redis-benchmark": lambda: own(*where),
        "weft epoll": lambda: ours(program, "epoll", "tasks", *where),
        "weft uring": lambda: ours(program, "uring", "tasks", *where),
    }
    if depth > 1:
        clients["weft uring, a Batch"] = lambda: ours(program, "uring", "batch", *where)
    rounds = []
    names = list(clients)
    for number in range(arguments.repeats):
        turned = names[number % len(names):] + names[:number % len(names)]
        rounds.append({name: clients[name]() for name in turned})
    for name in names:
        middle = [statistics.median(one[name][which] for one in rounds) for which in (0, 1)]
        ratio = [statistics.median(one[name][which] / one["redis-benchmark"][which] for one in rounds) for which in (0, 1)]
        best = max(one[name][0] for one in rounds)
        of_best = best / max(one["redis-benchmark"][0] for one in rounds)
        verdict = "" if name == "redis-benchmark" else ", met" if of_best >= TARGET else ", missed"
        print(f"| {connections} | {depth} | {name} | {middle[0]:.0f} | {best:.0f} | {ratio[0]:.2f}x | {of_best:.2f}x{verdict} |"
              f" {middle[1]:.0f} | {ratio[1]:.2f}x |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
