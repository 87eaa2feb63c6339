// SPDX-License-Identifier: MIT
#include "service.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft/http.hpp>
#include <weft/weft.hpp>

#include <cstdio>
#include <string>

#include "pages.hpp"

namespace demo {
namespace {

namespace http = weft::http;

weft::Coro<http::Response> front_page(http::Request&) {
    co_return http::Response("Ask for " + page_path(7) + "\n");
}

/// The work. While this task sleeps, all the others run: that is the whole point.
weft::Coro<http::Response> page(http::Request& request) {
    const int number = request.param<int>("number");
    // Only the one way to write the number is the page's path: not 007.
    if (number < 0 || number >= page_count || request.path() != page_path(number)) {
        throw http::HttpError(404, "There is no such page.\n");
    }
    co_await weft::sleep(work_per_page);
    co_return http::Response(page_text(number));
}

bool is_pipe(int fd) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

weft::Coro<void> end_of(int fd) {
    char ignored[64];
    while (co_await weft::io::read(fd, ignored) > 0) {
    }
}

}  // namespace

weft::Coro<void> run_service(std::uint16_t port) {
    http::Router router;
    router.get("/", &front_page).get("/pages/{number:int}", &page);
    http::ServerOptions options;
    options.max_head = 8 * 1024;
    http::Server server =
        co_await http::start_server(std::move(router), "127.0.0.1", port, options);
    const weft::BackendInfo& backend = weft::get_running_loop().backend_info();
    fmt::print("serving http://{}/ on {} ({})\n", server.address().to_string(), backend.name,
               backend.reason);
    std::fflush(stdout);

    if (is_pipe(STDIN_FILENO)) {
        co_await end_of(STDIN_FILENO);
    } else {
        co_await server.wait_closed();
    }
}

}  // namespace demo
