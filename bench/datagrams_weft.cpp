// SPDX-License-Identifier: MIT
// UDP in the quiet form on weft: one server socket and N connected clients as tasks of one loop,
// with the options and the report of bench/baseline/datagrams_*.c. The backend is WEFT_BACKEND's.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "measure.hpp"
#include "progress.hpp"

namespace {

using bench::Progress;

weft::Coro<void> answer(weft::Datagram& server) {
    std::vector<char> buffer(65536);
    for (;;) {
        const weft::ReceivedDatagram got = co_await server.receive_from(buffer);
        co_await server.send_to(weft::ConstBuffer(buffer.data(), got.size), got.from);
    }
}

weft::Coro<void> ask(weft::Address to, std::size_t size, Progress& progress) {
    weft::Datagram client = weft::Datagram::connect(to);
    std::vector<char> buffer(size, 'x');
    while (progress.may_start()) {
        const long number = progress.started;
        std::memcpy(buffer.data(), &number, sizeof number);
        co_await client.send(buffer);
        const weft::ReceivedDatagram got = co_await client.receive_from(buffer);
        if (got.size < sizeof number || std::memcmp(buffer.data(), &number, sizeof number) != 0)
            throw weft::RuntimeError("the echo is wrong");
        progress.finish_one();
    }
}

weft::Coro<void> run_pairs(int argc, char** argv) {
    Progress progress;
    progress.pairs = bench::number_option(argc, argv, "--pairs", 50);
    progress.total = bench::number_option(argc, argv, "--echoes", 200'000);
    const auto size = static_cast<std::size_t>(bench::number_option(argc, argv, "--size", 64));
    weft::Datagram server = weft::Datagram::bind(weft::Address::ip("127.0.0.1", 0));
    weft::Task<void> answering = weft::create_task(answer, std::ref(server));
    std::vector<weft::Task<void>> clients;
    for (long pair = 0; pair < progress.pairs; ++pair)
        clients.push_back(weft::create_task(ask, server.local_address(), size, std::ref(progress)));
    for (auto& client : clients) co_await client;
    answering.cancel();
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
