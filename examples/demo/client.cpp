// SPDX-License-Identifier: MIT
#include "client.hpp"

#include <fmt/format.h>
#include <weft/http.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "pages.hpp"
#include "progress_line.hpp"

namespace demo {
namespace {

namespace http = weft::http;
using Seconds = std::chrono::duration<double>;

/// Shared: when the whole is cancelled, a fetch may end later than who started it.
using Progress = std::shared_ptr<ProgressLine>;

constexpr int pages_in_turn = 20;
constexpr std::chrono::seconds patience{60};

/// Asks for a page, and looks at what comes.
weft::Coro<void> fetch(http::Client& client, std::string url, int page, Progress progress) {
    http::ClientResponse response = co_await client.get(url + page_path(page));
    const std::string body = co_await response.text();
    if (response.status() != 200 || body != page_text(page)) {
        throw std::runtime_error(
            fmt::format("page {}: unexpected answer {} '{}'", page, response.status(), body));
    }
    progress->advance();
}

/// One connection for all, one page after the other.
weft::Coro<void> fetch_in_turn(http::Client& client, std::string url, int pages,
                               Progress progress) {
    for (int page = 0; page < pages; ++page) co_await fetch(client, url, page, progress);
}

/// A task and a connection for each page, all at the same time.
weft::Coro<void> fetch_at_once(http::Client& client, std::string url, int pages,
                               Progress progress) {
    co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
        for (int page = 0; page < pages; ++page)
            group.create_task(fetch(client, url, page, progress));
        co_return;
    });
}

/// Runs one of the two above and says how long it took.
template <class Fetch>
weft::Coro<Seconds> measure(Fetch fetch, http::Client& client, std::string url, std::string what,
                            int pages) {
    weft::EventLoop& loop = weft::get_running_loop();
    auto progress = std::make_shared<ProgressLine>(what, pages);
    const weft::TimePoint began = loop.time();
    co_await fetch(client, url, pages, progress);
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

    http::ClientOptions options;
    options.max_per_host = page_count;
    http::Client client(options);
    const std::string url = "http://" + service.to_string();
    const Seconds in_turn =
        co_await measure(fetch_in_turn, client, url, "one by one ", pages_in_turn);
    const Seconds at_once = co_await measure(fetch_at_once, client, url, "all at once", page_count);
    giving_up.cancel();

    const Seconds all_in_turn = in_turn / pages_in_turn * page_count;
    fmt::print("That is {:.0f} times as fast, on one thread.\n", all_in_turn / at_once);
    fmt::print("demo: {} requests of {} ms in {:.3f} s (one by one: {} s), backend {}\n",
               page_count, work_per_page.count(), at_once.count(),
               Seconds(work_per_page * page_count).count(), backend.name);
}

}  // namespace demo
