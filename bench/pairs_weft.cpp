// SPDX-License-Identifier: MIT
// The quiet form on weft: both ends of N socket pairs as tasks of one loop, with the options and
// the report of bench/baseline/pairs_*.c. --reads plain|chunks. The backend is WEFT_BACKEND's.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "measure.hpp"
#include "progress.hpp"

namespace {

using bench::Progress;

bool chunks = true;  // --reads plain: into the task's own buffer

weft::Coro<void> answer(weft::Stream stream, std::size_t size) {
    while (chunks) {
        const weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) co_return;
        co_await stream.write(chunk);
    }
    std::vector<char> buffer(size);
    while (const std::size_t count = co_await stream.read(buffer)) {
        co_await stream.write(weft::ConstBuffer(buffer.data(), count));
    }
}

void check_number(const char* data, long number) {
    if (std::memcmp(data, &number, sizeof number) != 0) {
        throw weft::RuntimeError("the echo is wrong");
    }
}

/// Sends from and, without chunks, receives into one buffer, as the client ends of the raw programs
/// do: a second one per pair would be measured as cache misses.
weft::Coro<void> ask(weft::Stream stream, std::size_t size, Progress& progress) {
    std::vector<char> buffer(size, 'x');
    while (progress.may_start()) {
        const long number = progress.started;
        std::memcpy(buffer.data(), &number, sizeof number);
        co_await stream.write(buffer);
        std::size_t got = 0;
        while (chunks && got < size) {
            const weft::Chunk chunk = co_await stream.read_chunk();
            if (chunk.empty()) throw weft::IncompleteReadError({}, size);
            if (got == 0) check_number(chunk.data(), number);
            got += chunk.size();
        }
        while (got < size) {
            const std::size_t count =
                co_await stream.read(weft::MutableBuffer(buffer.data() + got, size - got));
            if (count == 0) throw weft::IncompleteReadError({}, size);
            got += count;
        }
        if (!chunks) check_number(buffer.data(), number);
        progress.finish_one();
    }
}

weft::Coro<void> start_tcp_pair(weft::Server& server, std::vector<weft::Task<void>>& clients,
                                std::size_t size, Progress& progress) {
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());
    clients.push_back(weft::create_task(ask(std::move(stream), size, progress)));
}

weft::Coro<void> run_pairs(int argc, char** argv) {
    Progress progress;
    progress.pairs = bench::number_option(argc, argv, "--pairs", 50);
    progress.total = bench::number_option(argc, argv, "--echoes", 200'000);
    const auto size = static_cast<std::size_t>(bench::number_option(argc, argv, "--size", 64));
    chunks = bench::option(argc, argv, "--reads", "chunks") == "chunks";
    std::vector<weft::Task<void>> clients;

    if (bench::option(argc, argv, "--transport", "tcp") == "unix") {
        for (long pair = 0; pair < progress.pairs; ++pair) {
            int ends[2];
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
                throw std::system_error(errno, std::system_category(), "socketpair");
            }
            (void)weft::create_task(answer(weft::Stream(weft::Fd(ends[0])), size));
            clients.push_back(
                weft::create_task(ask(weft::Stream(weft::Fd(ends[1])), size, progress)));
        }
        for (auto& client : clients) co_await client;
        co_return;
    }
    auto handler = [size](weft::Stream stream) { return answer(std::move(stream), size); };
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    for (long pair = 0; pair < progress.pairs; ++pair) {
        co_await start_tcp_pair(server, clients, size, progress);
    }
    for (auto& client : clients) co_await client;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        weft::run([&] { return run_pairs(argc, argv); });
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 3;
    }
}
