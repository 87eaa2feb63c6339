// SPDX-License-Identifier: MIT
#include "client.hpp"

#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "http.hpp"
#include "pages.hpp"
#include "progress_line.hpp"

namespace demo {
namespace {

using Seconds = std::chrono::duration<double>;

/// Shared: when the whole is cancelled, a fetch may end later than who started it.
using Progress = std::shared_ptr<ProgressLine>;

constexpr int pages_in_turn = 20;
constexpr std::chrono::seconds patience{60};

/// Asks for a page on an open connection, and looks at what comes.
weft::Coro<void> fetch(weft::Stream& service, int page) {
    co_await service.write(
        fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", page_path(page)));
    const std::string head = co_await service.read_until(end_of_head);
    const ResponseHead response = parse_response(head);
    const std::string body = co_await service.read_exactly(response.content_length);
    if (response.status != 200 || body != page_text(page)) {
        throw std::runtime_error(
            fmt::format("page {}: unexpected answer {} '{}'", page, response.status, body));
    }
}

/// One connection for all, one page after the other.
weft::Coro<void> fetch_in_turn(weft::Address address, int pages, Progress progress) {
    weft::Stream service = co_await weft::open_connection(address);
    for (int page = 0; page < pages; ++page) {
        co_await fetch(service, page);
        progress->advance();
    }
}

weft::Coro<void> fetch_alone(weft::Address address, int page, Progress progress) {
    weft::Stream service = co_await weft::open_connection(address);
    co_await fetch(service, page);
    progress->advance();
}

/// A task and a connection for each page, all at the same time.
weft::Coro<void> fetch_at_once(weft::Address address, int pages, Progress progress) {
    std::vector<weft::Task<void>> fetches;
    fetches.reserve(static_cast<std::size_t>(pages));
    for (int page = 0; page < pages; ++page) {
        fetches.push_back(weft::create_task(fetch_alone(address, page, progress)));
    }
    // First all of them, so that no failure is left unseen when the first one is thrown.
    for (const auto& fetching : fetches) co_await fetching.wait();
    std::exception_ptr failure;
    for (const auto& fetching : fetches) {
        const std::exception_ptr own = fetching.exception();
        if (!failure) failure = own;
    }
    if (failure) std::rethrow_exception(failure);
}

/// Runs one of the two above and says how long it took.
template <class Fetch>
weft::Coro<Seconds> measure(Fetch fetch, weft::Address address, std::string what, int pages) {
    weft::EventLoop& loop = weft::get_running_loop();
    auto progress = std::make_shared<ProgressLine>(what, pages);
    const weft::TimePoint began = loop.time();
    co_await fetch(address, pages, progress);
    const Seconds took = loop.time() - began;
    progress.reset();  // off the screen
    fmt::print("  {}  {:>4} requests in {:7.3f} s, {:6.0f} a second\n", what, pages, took.count(),
               pages / took.count());
    std::fflush(stdout);
    co_return took;
}

}  // namespace

weft::Coro<void> run_client(weft::Address service) {
    weft::EventLoop& loop = weft::get_running_loop();
    const weft::BackendInfo& backend = loop.backend_info();
    fmt::print("A service that takes {} ms for each page, and a client, in two processes.\n",
               work_per_page.count());
    fmt::print("Both run on {} ({}).\n", backend.name, backend.reason);
    std::fflush(stdout);

    // Whatever happens, this ends: a service that does not answer is given up.
    weft::TimerHandle giving_up = loop.call_later(patience, [client = weft::current_task()] {
        client.cancel("the service does not answer");
    });

    const Seconds in_turn = co_await measure(fetch_in_turn, service, "one by one ", pages_in_turn);
    const Seconds at_once = co_await measure(fetch_at_once, service, "all at once", page_count);
    giving_up.cancel();

    const Seconds all_in_turn = in_turn / pages_in_turn * page_count;
    fmt::print("That is {:.0f} times as fast, on one thread.\n", all_in_turn / at_once);
    fmt::print("demo: {} requests of {} ms in {:.3f} s (one by one: {} s), backend {}\n",
               page_count, work_per_page.count(), at_once.count(),
               Seconds(work_per_page * page_count).count(), backend.name);
}

}  // namespace demo
