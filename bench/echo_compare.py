#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How much does weft add to an echo? Its echo programs beside hand-written C (bench/baseline/), interleaved in one run.

Every round runs every program of a cell once, starting with another one each time; a ratio is the median of the ratios
within the rounds, so that a machine that slows down half-way slows both sides. "Best" is the raw form of the same backend with
the best median in that cell. "Of minima" is the ratio of the two fastest runs: where the machine has slow spells, and the two
disagree, trust neither and ask for more --repeats.
"""
import argparse
import ctypes
import datetime
import errno
import os
import platform
import statistics
import subprocess
import sys

RAW_QUIET = {
    "epoll": [("raw epoll", ["pairs_epoll"])],
    "uring": [("raw uring one-shot", ["pairs_uring", "--mode", "oneshot"]),
              ("raw uring multishot", ["pairs_uring", "--mode", "multishot"]),
              ("raw uring multishot direct", ["pairs_uring", "--mode", "multishot", "--direct"])],
}
RAW_SERVERS = {
    "epoll": [("raw epoll", ["echo_epoll"])],
    "uring": [("raw uring one-shot", ["echo_uring_oneshot"]),
              ("raw uring multishot", ["echo_uring_multishot"]),
              ("raw uring multishot direct", ["echo_uring_multishot", "--direct"])],
}
BACKENDS = ("epoll", "uring")
QUIET_CELLS = [(transport, size) for transport in ("tcp", "unix") for size in (64, 4096, 16384)]
SERVER_CELLS = [(size, connections) for size in (64, 16384) for connections in (1, 50, 500)]

TARGET_QUIET = 1.04
TARGET_CPU = 1.05
TARGET_THROUGHPUT = 0.96
TARGET_P50 = 1.10  # At one connection, of raw epoll whatever the backend.
TARGET_CALLS = {50: {"uring": 0.7, "epoll": 2.1}, 1: {"uring": 2.0, "epoll": 3.0}}
CALLS_TOLERANCE = 0.01  # Accepting and closing count too.

EXIT_REFUSED = 3
RUN_LIMIT_S = 120


class RunFailed(Exception):
    pass


class Program:
    def __init__(self, label, backend, command, is_weft):
        self.label, self.backend, self.command, self.is_weft = label, backend, command, is_weft
        self.environment = dict(os.environ, WEFT_BACKEND=backend) if is_weft else None
        self.is_judged = is_weft and "plain" not in label  # The other form is shown beside it.


class Report:
    """Lines for the terminal and, the same, for the markdown file."""

    def __init__(self):
        self.lines = []

    def say(self, line=""):
        print(line, flush=True)
        self.lines.append(line)

    def table(self, head, rows):
        widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
        align = lambda row: "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w)
                                              for i, (c, w) in enumerate(zip(row, widths))) + " |"
        self.say(align(head))
        self.say("|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|")
        for row in rows:
            self.say(align(row))
        self.say()


def ring_refusal():
    """None, or why this kernel does not give us a ring. io_uring_setup is 425 on every architecture but alpha."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(425, 2, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
        return None
    number = ctypes.get_errno()
    return f"io_uring_setup: {os.strerror(number)} ({errno.errorcode.get(number, number)})"


def find_programs(build):
    """Executables under the build directory by name, those nearest to its top first."""
    found = {}
    for folder, _, files in sorted(os.walk(build), key=lambda entry: entry[0].count(os.sep)):
        for name in files:
            path = os.path.join(folder, name)
            if name not in found and os.access(path, os.X_OK) and os.path.isfile(path):
                found[name] = path
    return found


def choose_programs(raw, weft_name, found, refusal, missing):
    programs = []
    for backend in BACKENDS:
        if backend == "uring" and refusal:
            continue
        entries = [(label, command, False) for label, command in raw[backend]] \
            + [(f"weft {backend}", [weft_name], True), (f"weft {backend}, plain reads", [weft_name, "--reads", "plain"], True)]
        for label, command, is_weft in entries:
            if command[0] in found:
                programs.append(Program(label, backend, [os.path.abspath(found[command[0]])] + command[1:], is_weft))
            else:
                missing.add(command[0])
    return programs


def fields(line):
    try:
        return {key: float(value) for key, value in (pair.split("=", 1) for pair in line.split())}
    except ValueError:
        raise RunFailed(f"unexpected output: {line.strip()[:200]!r}")


def pinned(cpu):
    return lambda: os.sched_setaffinity(0, {cpu})


def failure(command, status, text):
    refused = ", the kernel refused the ring" if status == EXIT_REFUSED else ""
    return RunFailed(f"{os.path.basename(command[0])} exited with {status}{refused}: {text.strip()[-300:]}")


def run_quiet(program, transport, size, echoes, cpu):
    command = program.command + ["--transport", transport, "--size", str(size), "--echoes", str(echoes)]
    try:
        done = subprocess.run(command, env=program.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=RUN_LIMIT_S, preexec_fn=pinned(cpu))
    except subprocess.TimeoutExpired:
        raise RunFailed(f"no end after {RUN_LIMIT_S} s")
    if done.returncode != 0:
        raise failure(command, done.returncode, done.stderr)
    result = fields(done.stdout)
    return {"ns": result["ns_per_echo"], "cpu": result["cpu_ns_per_echo"], "calls": result["syscalls_per_echo"]}


def run_server(program, load, size, connections, messages, seconds, cpus):
    # The read buffer holds a message; for small ones it is a page, as a server's would be.
    command = program.command + ["--port", "0", "--size", str(max(size, 4096))]
    server = subprocess.Popen(command, env=program.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, preexec_fn=pinned(cpus[0]))
    try:
        first = server.stdout.readline().split()
        if len(first) != 2 or first[0] != "listening":
            raise failure(command, server.wait(10), server.stderr.read())
        load_command = [load, "--port", first[1], "--connections", str(connections), "--size", str(size), "--seconds",
                        str(seconds), "--messages", str(messages), "--cpu", str(cpus[1])]
        done = subprocess.run(load_command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        if done.returncode != 0:
            raise failure(load_command, done.returncode, done.stderr)
        out, err = server.communicate(timeout=10)  # Closes its stdin, which stops it.
        if server.returncode != 0:
            raise failure(command, server.returncode, err)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{os.path.basename(command[0])} or the load did not end in time")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    seen, served = fields(done.stdout), fields(out.strip().splitlines()[-1] if out.strip() else "")
    return {"cpu": served["cpu_us"] / seen["messages"], "calls": served["syscalls"] / seen["messages"],
            "rate": seen["msg_per_s"], "p50": seen["p50_us"], "p90": seen["p90_us"], "p99": seen["p99_us"],
            "p99.9": seen["p99.9_us"], "max": seen["max_us"]}


def run_cell(programs, repeats, run, note):
    """One list per program with a result, or None, for each round."""
    results = {program.label: [None] * repeats for program in programs}
    alive = list(programs)
    for round_number in range(repeats):
        shift = round_number % max(len(programs), 1)
        for program in programs[shift:] + programs[:shift]:
            if program not in alive:
                continue
            try:
                results[program.label][round_number] = run(program)
            except (RunFailed, OSError, KeyError) as error:
                alive.remove(program)
                note(f"{program.label}: {error!r}" if isinstance(error, KeyError) else f"{program.label}: {error}")
    return results


def column(results, label, key):
    return [result[key] for result in results.get(label, []) if result is not None]


def spread(values, digits):
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def best_raw(programs, results, backend, key, better):
    """The raw form of that backend with the best median; None when none ran."""
    medians = {p.label: statistics.median(column(results, p.label, key)) for p in programs
               if not p.is_weft and p.backend == backend and column(results, p.label, key)}
    return better(medians, key=medians.get) if medians else None


def ratio(results, label, reference, key):
    if reference is None:
        return None
    ratios = [a[key] / b[key] for a, b in zip(results[label], results[reference]) if a and b and b[key]]
    return statistics.median(ratios) if ratios else None


def ratio_of_minima(results, label, reference, key):
    own, other = column(results, label, key), column(results, reference, key)
    return min(own) / min(other) if own and other and min(other) else None


def show(value):
    return "-" if value is None else f"{value:.3f}"


class Verdicts:
    def __init__(self):
        self.rows = []

    def add(self, cell, what, value, target, at_most=True, tolerance=0.0, minima=None):
        if value is None:
            return
        met = value <= target + tolerance if at_most else value >= target
        self.rows.append([cell, what, f"{value:.3f}", show(minima), f"{'<=' if at_most else '>='} {target:g}", "met" if met else "MISSED"])


def quiet_form(options, programs, report, verdicts, cpu):
    report.say("## Quiet form: both ends in one thread, 50 pairs")
    report.say(f"{options.echoes} echoes per run, pinned to one CPU. Nanoseconds per echo, both ends: median (min..max). "
               f"Target for weft: <= {TARGET_QUIET} of the best raw form of the same backend.")
    report.say()
    for transport, size in QUIET_CELLS:
        notes = []
        results = run_cell(programs, options.repeats, lambda p: run_quiet(p, transport, size, options.echoes, cpu), notes.append)
        rows, cell = [], f"{transport} {size} B"
        for program in programs:
            best = best_raw(programs, results, program.backend, "ns", min)
            of_ns, of_cpu = ratio(results, program.label, best, "ns"), ratio(results, program.label, best, "cpu")
            of_minima = ratio_of_minima(results, program.label, best, "ns")
            rows.append([program.label, spread(column(results, program.label, "ns"), 0),
                         spread(column(results, program.label, "cpu"), 0),
                         spread(column(results, program.label, "calls"), 2).split(" ")[0], show(of_ns), show(of_minima), show(of_cpu)])
            if program.is_judged:
                verdicts.add(f"quiet {cell}", f"{program.label}: ns per echo / {best}", of_ns, TARGET_QUIET, minima=of_minima)
        report.say(f"### {cell}")
        report.table(["program", "ns per echo", "CPU ns per echo", "calls", "ns / best", "of minima", "CPU / best"], rows)
        for note in notes:
            report.say(f"- failed, left out: {note}")


def two_processes(options, programs, load, report, verdicts, cpus):
    report.say(f"## Two processes: server on CPU {cpus[0]}, load on CPU {cpus[1]}")
    report.say(f"At most {options.messages} messages ({options.messages_alone} at one connection) or {options.seconds} s per run; "
               f"one outstanding per connection. Median (min..max). Targets for weft, of the best raw server of the same "
               f"backend: CPU per message <= {TARGET_CPU}, throughput >= {TARGET_THROUGHPUT}; calls per message as listed at the end.")
    report.say()
    for size, connections in SERVER_CELLS:
        notes = []
        messages = options.messages_alone if connections == 1 else options.messages
        run = lambda p: run_server(p, load, size, connections, messages, options.seconds, cpus)
        results = run_cell(programs, options.repeats, run, notes.append)
        rows, cell = [], f"{size} B, {connections} connection{'s' if connections > 1 else ''}"
        for program in programs:
            label = program.label
            best_cpu = best_raw(programs, results, program.backend, "cpu", min)
            best_rate = best_raw(programs, results, program.backend, "rate", max)
            of_cpu, of_rate = ratio(results, label, best_cpu, "cpu"), ratio(results, label, best_rate, "rate")
            of_minima = ratio_of_minima(results, label, best_cpu, "cpu")
            rows.append([label, spread(column(results, label, "cpu"), 2), spread(column(results, label, "rate"), 0),
                         spread(column(results, label, "calls"), 2).split(" ")[0],
                         spread(column(results, label, "p50"), 1).split(" ")[0],
                         spread(column(results, label, "p99"), 1).split(" ")[0], show(of_cpu), show(of_minima), show(of_rate)])
            if not program.is_judged or not column(results, label, "cpu"):
                continue
            verdicts.add(cell, f"{label}: CPU per message / {best_cpu}", of_cpu, TARGET_CPU, minima=of_minima)
            verdicts.add(cell, f"{label}: throughput / {best_rate}", of_rate, TARGET_THROUGHPUT, at_most=False)
            if connections in TARGET_CALLS:
                raw_calls = best_raw(programs, results, program.backend, "calls", min)
                beside = f" ({raw_calls}: {statistics.median(column(results, raw_calls, 'calls')):.2f})" if raw_calls else ""
                verdicts.add(cell, f"{label}: calls per message{beside}", statistics.median(column(results, label, "calls")),
                             TARGET_CALLS[connections][program.backend], tolerance=CALLS_TOLERANCE)
            if connections == 1:
                of_p50 = ratio(results, label, "raw epoll", "p50") if "raw epoll" in results else None
                verdicts.add(cell, f"{label}: p50 / raw epoll", of_p50, TARGET_P50)
        report.say(f"### {cell}")
        report.table(["program", "CPU us per message", "messages per s", "calls", "p50 us", "p99 us", "CPU / best", "of minima",
                      "rate / best"], rows)
        for note in notes:
            report.say(f"- failed, left out: {note}")


def cpu_model():
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith(("model name", "Model", "Processor")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def describe_machine(report):
    report.say(f"- machine: {platform.machine()}, {cpu_model()}, {len(os.sched_getaffinity(0))} CPUs usable; "
               f"load average before: {os.getloadavg()[0]:.2f}")
    report.say(f"- kernel: {platform.system()} {platform.release()}")


def today():
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"


def add_options(parser):
    parser.add_argument("build", help="directory with the built programs, at any depth")
    parser.add_argument("--quick", action="store_true", help="fewer echoes and messages: figures to try the programs with")
    parser.add_argument("--markdown", metavar="FILE", help="also write the tables there")


def compare(options, report, only=None, repeats=5):
    """Both forms on every program under options.build, or the form named by `only`; the verdicts on weft's targets."""
    options.repeats = repeats
    options.echoes = 8000 if options.quick else 50000
    options.messages = 15000 if options.quick else 100000
    options.messages_alone = 5000 if options.quick else 30000
    options.seconds = 1 if options.quick else 3

    cpus = sorted(os.sched_getaffinity(0))
    server_cpu, load_cpu = cpus[0], cpus[min(1, len(cpus) - 1)]
    found, refusal, missing, verdicts = find_programs(options.build), ring_refusal(), set(), Verdicts()

    report.say(f"- repeats: {options.repeats}, interleaved, order rotated{'; quick' if options.quick else ''}")
    if refusal:
        report.say(f"- io_uring is refused here ({refusal}): its programs are left out")
    if server_cpu == load_cpu:
        report.say("- one CPU only: server and load share it, and the two-process figures say little")
    quiet_programs = choose_programs(RAW_QUIET, "pairs_weft", found, refusal, missing) if only != "two-process" else []
    servers = choose_programs(RAW_SERVERS, "echo_weft", found, refusal, missing) if only != "quiet" else []
    if only != "quiet" and "load" not in found:
        missing.add("load")
    for name in sorted(missing):
        report.say(f"- not built, left out: {name}")
    report.say()

    if quiet_programs:
        quiet_form(options, quiet_programs, report, verdicts, load_cpu)
    if servers and "load" in found:
        two_processes(options, servers, os.path.abspath(found["load"]), report, verdicts, (server_cpu, load_cpu))
    if verdicts.rows:
        report.say("## Targets")
        report.table(["cell", "figure", "value", "of minima", "target", ""], verdicts.rows)
        met = sum(row[-1] == "met" for row in verdicts.rows)
        report.say(f"{met} of {len(verdicts.rows)} met.")
    elif not quiet_programs and not servers:
        report.say("Nothing to run.")
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--only", choices=["quiet", "two-process"])
    options = parser.parse_args()
    if not os.path.isdir(options.build):
        parser.error(f"no directory {options.build}")
    report = Report()
    report.say("# Echo: weft beside raw C")
    describe_machine(report)
    report.say(f"- date: {today()}")
    compare(options, report, options.only, max(options.repeats, 1))
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(report.lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
