// SPDX-License-Identifier: MIT
// The quiet form with TLS on weft: both ends of N connections as tasks of one loop, with the
// options and the report of bench/baseline/pairs_tls_epoll.c. With --idle N it prints what each end
// of a connection costs that has shaken hands, talked, and waits. The backend is WEFT_BACKEND's.
#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "../tests/support/certificates.hpp"
#include "measure.hpp"
#include "progress.hpp"

namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Stream;

using bench::Progress;

Coro<void> answer(Stream stream, std::size_t size) {
    std::vector<char> buffer(size);
    while (const std::size_t count = co_await stream.read(buffer)) {
        co_await stream.write(weft::ConstBuffer(buffer.data(), count));
    }
}

Coro<void> ask(Stream stream, std::size_t size, Progress& progress) {
    std::vector<char> buffer(size, 'x');
    while (progress.may_start()) {
        const long number = progress.started;
        std::memcpy(buffer.data(), &number, sizeof number);
        co_await stream.write(buffer);
        std::size_t got = 0;
        while (got < size) {
            const std::size_t count =
                co_await stream.read(weft::MutableBuffer(buffer.data() + got, size - got));
            if (count == 0) throw weft::IncompleteReadError({}, size);
            got += count;
        }
        if (std::memcmp(buffer.data(), &number, sizeof number) != 0)
            throw weft::RuntimeError("the echo is wrong");
        progress.finish_one();
    }
}

/// What this process alone keeps in memory.
long private_bytes() {
    std::FILE* const file = std::fopen("/proc/self/smaps_rollup", "r");
    if (!file) return 0;
    char line[256];
    long bytes = 0;
    while (std::fgets(line, sizeof line, file)) {
        long kib = 0;
        if (std::sscanf(line, "Private_Dirty: %ld kB", &kib) == 1) bytes = kib * 1024;
    }
    std::fclose(file);
    return bytes;
}

Coro<void> talk_and_wait(Stream stream) {
    co_await stream.write("hello\n");
    for (;;) {
        const weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) co_return;
    }
}

Coro<void> run_all(int argc, char** argv) {
    Progress progress;
    progress.pairs = bench::number_option(argc, argv, "--pairs", 50);
    progress.total = bench::number_option(argc, argv, "--echoes", 50'000);
    const auto size = static_cast<std::size_t>(bench::number_option(argc, argv, "--size", 16384));
    const long idle = bench::number_option(argc, argv, "--idle", 0);

    const support::Authority authority{
        support::CertificateRequest("localhost").alt("DNS:localhost")};
    const support::Identity identity = authority.own_identity();
    weft::TlsContext context = weft::TlsContext::server();
    context.use_cert_chain(identity.chain, identity.key);
    weft::TlsOptions options(weft::TlsContext::client(weft::TlsRoots::none));
    options.context->add_roots(identity.chain);
    options.server_hostname = "localhost";

    std::vector<weft::Task<void>> clients;
    auto handler = [size, idle](Stream stream) {
        return idle > 0 ? talk_and_wait(std::move(stream)) : answer(std::move(stream), size);
    };
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0, context);
    long before = 0;
    const long few = idle / 10;
    for (long pair = 0; pair < (idle > 0 ? idle : progress.pairs); ++pair) {
        if (idle > 0 && pair == few) {
            co_await weft::sleep(50ms);
            before = private_bytes();
        }
        Stream stream = co_await weft::open_connection("127.0.0.1", server.port(), options);
        clients.push_back(weft::create_task(idle > 0 ? talk_and_wait(std::move(stream))
                                                     : ask(std::move(stream), size, progress)));
    }
    if (idle > 0) {
        co_await weft::sleep(50ms);
        std::printf(
            "idle=%ld bytes_each=%.0f\n", idle,
            static_cast<double>(private_bytes() - before) / static_cast<double>(2 * (idle - few)));
        for (auto& client : clients) client.cancel();
        co_return;
    }
    for (auto& client : clients) co_await client;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        weft::run([&] { return run_all(argc, argv); });
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 3;
    }
}
