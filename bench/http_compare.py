#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What does an HTTP hello cost on weft, beside hand-written C with the same parser? Processor time of the server for each
request under `wrk -t1 -cN`, interleaved; a ratio is the median of the ratios within the rounds.

http_compare.py BUILD/bench [--repeats 9] [--seconds 2] [--connections 64] [--program NAME=PATH]...
"""
import argparse
import os
import re
import signal
import statistics
import subprocess
import time


def run(program, backend, port, arguments):
    environment = dict(os.environ, WEFT_BACKEND=backend)
    server = subprocess.Popen([program, "--port", str(port)], env=environment, stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    wrk = subprocess.run(["wrk", "-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s", "--latency",
                          f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    server.send_signal(signal.SIGTERM)
    said = server.communicate(timeout=20)[0]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", wrk)[1])
    p99 = re.search(r"99%\s+(\S+)", wrk)[1]
    return float(said.split()[-1]), rate, p99


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--program", action="append", default=[], help="NAME=PATH: another server with --port and the same report")
    arguments = parser.parse_args()
    programs = [("raw epoll", "http_epoll", "epoll"), ("weft epoll", "http_weft", "epoll"), ("weft uring", "http_weft", "uring")]
    programs = [(name, os.path.join(arguments.folder, path), backend) for name, path, backend in programs]
    programs += [(*each.split("=", 1), "epoll") for each in arguments.program]
    results = {name: [] for name, _, _ in programs}
    port = 18100
    for round_number in range(arguments.repeats):
        for index in range(len(programs)):
            name, program, backend = programs[(index + round_number) % len(programs)]
            port += 1
            results[name].append(run(program, backend, port, arguments))
    raw = [result[0] for result in results["raw epoll"]]
    for name, rows in results.items():
        cpu = [row[0] for row in rows]
        ratio = statistics.median(own / base for own, base in zip(cpu, raw))
        print(f"{name:12} {statistics.median(cpu):7.3f} us CPU a request, min {min(cpu):7.3f}; {ratio:5.3f} of raw "
              f"(minima {min(cpu) / min(raw):5.3f}); {statistics.median(row[1] for row in rows):9.0f} requests/s; p99 {rows[-1][2]}")


if __name__ == "__main__":
    main()
