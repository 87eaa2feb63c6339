// SPDX-License-Identifier: MIT
// Does starting and awaiting a child cost more than posix_spawn(3) and waitid(2) alone, also where
// this process is large? In turns within one process, /bin/true; the backend is WEFT_BACKEND's.
// Options: --count N children of each kind, --resident MIB of memory that is touched. Prints
// medians and 90th percentiles in microseconds, and what is left over: descriptors and children.
#include <dirent.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "measure.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

constexpr const char* program = "/bin/true";

void spawn_and_wait() {
    char* const arguments[] = {const_cast<char*>(program), nullptr};
    pid_t child = 0;
    if (::posix_spawn(&child, program, nullptr, nullptr, arguments, ::environ) != 0)
        throw std::runtime_error("posix_spawn");
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED) != 0 || info.si_status != 0)
        throw std::runtime_error("waitid");
}

weft::Coro<void> spawn_and_await() {
    weft::Process child = co_await weft::create_subprocess_exec(program);
    const weft::ExitStatus end = co_await child.wait();
    if (!end.ok()) throw std::runtime_error(end.to_string());
}

int open_descriptors() {
    DIR* const folder = ::opendir("/proc/self/fd");
    int count = 0;
    while (folder && ::readdir(folder)) ++count;
    ::closedir(folder);
    return count;
}

double at(std::vector<double>& samples, int percent) {
    std::sort(samples.begin(), samples.end());
    return samples[samples.size() * static_cast<std::size_t>(percent) / 100];
}

weft::Coro<void> measure(long count, long resident_mib) {
    const int before = open_descriptors();
    std::vector<double> ours, theirs;
    for (long index = 0; index < count; ++index) {
        const Clock::time_point first = Clock::now();
        if (index % 2 == 0) co_await spawn_and_await();
        const Clock::time_point second = Clock::now();
        spawn_and_wait();
        const Clock::time_point third = Clock::now();
        if (index % 2 == 1) co_await spawn_and_await();
        const Clock::time_point fourth = Clock::now();
        theirs.push_back(Microseconds(third - second).count());
        ours.push_back(Microseconds(index % 2 == 0 ? second - first : fourth - third).count());
    }
    siginfo_t info{};
    const bool children = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 || errno != ECHILD;
    std::printf(
        "resident_mib=%ld weft_p50_us=%.1f posix_p50_us=%.1f weft_p90_us=%.1f posix_p90_us=%.1f "
        "left_descriptors=%d left_children=%d\n",
        resident_mib, at(ours, 50), at(theirs, 50), at(ours, 90), at(theirs, 90),
        open_descriptors() - before, children ? 1 : 0);
}

}  // namespace

int main(int argc, char** argv) {
    const long count = bench::number_option(argc, argv, "--count", 1000);
    const long mib = bench::number_option(argc, argv, "--resident", 0);
    const std::size_t size = static_cast<std::size_t>(mib) << 20;
    if (size > 0) {
        // In small pages, as a heap that has grown has.
        void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::runtime_error("mmap");
        ::madvise(memory, size, MADV_NOHUGEPAGE);
        for (std::size_t page = 0; page < size; page += 4096) static_cast<char*>(memory)[page] = 1;
    }
    weft::run(measure(count, mib));
}
