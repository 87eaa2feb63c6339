// SPDX-License-Identifier: MIT
// Does a second loop serve as much as the first? One and two workers share a port; a request costs
// so many microseconds of a processor. The clients (one thread of their own) wait for each answer.
// Where the machine has other things to do, the throughput says little; processor time a request
// then says what two loops cost each other.
//   workers --work 300 --connections 32 --seconds 3
#include <time.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include <weft/weft.hpp>

#include "measure.hpp"

namespace {

/// What this thread has used.
double cpu_us() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

void compute(long rounds) {
    volatile std::uint32_t value = 1;
    for (long i = 0; i < rounds; ++i) value = value * 1664525U + 1013904223U;
}

/// Rounds of `compute` in a microsecond of an idle core.
double rounds_per_us() {
    constexpr long rounds = 20'000'000;
    const double begin = cpu_us();
    compute(rounds);
    return rounds / (cpu_us() - begin);
}

struct Served {
    double requests_per_second = 0;
    double cpu_us_a_request = 0;    // of the workers, kernel included
    std::vector<long> connections;  // of each worker
};

weft::Coro<void> ask(std::uint16_t port, const std::atomic<bool>& over, long& answers) {
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", port);
    while (!over) {
        co_await stream.write("x\n");
        if ((co_await stream.read_line()).empty()) co_return;
        ++answers;
    }
}

Served serve(std::size_t workers, long rounds, int connections, double seconds) {
    Served served;
    served.connections.resize(workers);
    std::atomic<std::uint16_t> port{0};
    std::atomic<std::size_t> listening{0};
    std::thread clients;
    std::vector<double> cpu(workers);
    long all_answers = 0;
    weft::run_workers(workers, [&](weft::Worker self) -> weft::Coro<void> {
        auto handle = [&, self](weft::Stream client) -> weft::Coro<void> {
            ++served.connections[self.index()];
            for (;;) {
                const std::string line = co_await client.read_line();
                if (line.empty()) co_return;
                compute(rounds);
                co_await client.write(line);
            }
        };
        weft::ServerOptions shared;
        shared.reuse_port = true;
        while (self.index() > 0 && port == 0) co_await weft::sleep(std::chrono::milliseconds(1));
        weft::Server server = co_await weft::start_server(handle, "127.0.0.1", port, shared);
        if (self.index() == 0) port = server.port();
        ++listening;
        if (self.index() == 0) {
            while (listening < self.count()) co_await weft::sleep(std::chrono::milliseconds(1));
            const weft::Remote here = weft::get_running_loop().remote();
            clients = std::thread([&, here] {
                std::atomic<bool> over{false};
                long answers = 0;
                weft::run([&]() -> weft::Coro<void> {
                    std::vector<weft::Task<void>> tasks;
                    for (int i = 0; i < connections; ++i)
                        tasks.push_back(weft::create_task(&ask, port.load(), std::cref(over),
                                                          std::ref(answers)));
                    co_await weft::sleep(std::chrono::milliseconds(200));
                    const long before = answers;
                    co_await weft::sleep(std::chrono::duration<double>(seconds));
                    served.requests_per_second = static_cast<double>(answers - before) / seconds;
                    over = true;
                    for (auto& task : tasks) co_await task;
                    all_answers = answers;
                });
                here.call_soon_threadsafe([] { weft::request_stop(); });
            });
        }
        co_await weft::wait_for_stop();
        co_await server.shutdown(std::chrono::seconds(1));
        cpu[self.index()] = cpu_us();
    });
    clients.join();
    for (const double each : cpu)
        served.cpu_us_a_request += each / static_cast<double>(all_answers);
    return served;
}

}  // namespace

int main(int argc, char** argv) {
    const long work_us = bench::number_option(argc, argv, "--work", 300);
    const int connections = static_cast<int>(bench::number_option(argc, argv, "--connections", 32));
    const auto seconds = static_cast<double>(bench::number_option(argc, argv, "--seconds", 3));
    const long rounds = static_cast<long>(static_cast<double>(work_us) * rounds_per_us());
    const Served one = serve(1, rounds, connections, seconds);
    const Served two = serve(2, rounds, connections, seconds);
    std::printf(
        "work_us=%ld connections=%d one_per_s=%.0f two_per_s=%.0f ratio=%.2f one_cpu_us=%.1f "
        "two_cpu_us=%.1f cpu_ratio=%.2f first_worker=%ld second_worker=%ld\n",
        work_us, connections, one.requests_per_second, two.requests_per_second,
        two.requests_per_second / one.requests_per_second, one.cpu_us_a_request,
        two.cpu_us_a_request, 2 * one.cpu_us_a_request / two.cpu_us_a_request, two.connections[0],
        two.connections[1]);
}
