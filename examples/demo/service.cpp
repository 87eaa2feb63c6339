// SPDX-License-Identifier: MIT
#include "service.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft/weft.hpp>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "http.hpp"
#include "pages.hpp"

namespace demo {
namespace {

constexpr std::size_t largest_head_bytes = 8 * 1024;
constexpr std::size_t largest_ignored_body_bytes = 64 * 1024;

std::optional<int> page_number(std::string_view path) {
    constexpr std::string_view folder = "/pages/";
    if (!path.starts_with(folder)) return std::nullopt;
    int page = 0;
    std::from_chars(path.data() + folder.size(), path.data() + path.size(), page);
    // Only the one way to write the number is the page's path: not 007, not 7x.
    if (page < 0 || page >= page_count || path != page_path(page)) return std::nullopt;
    return page;
}

/// The work. While this task sleeps, all the others run: that is the whole point.
weft::Coro<Response> respond(const Request& request) {
    if (request.method != "GET" && request.method != "HEAD") {
        co_return Response(405, "Only GET and HEAD are served here.\n");
    }
    if (request.path == "/") co_return Response(200, "Ask for " + page_path(7) + "\n");
    const std::optional<int> page = page_number(request.path);
    if (!page) co_return Response(404, "There is no such page.\n");
    co_await weft::sleep(work_per_page);
    co_return Response(200, page_text(*page));
}

/// Closing a socket with unread data resets the connection, and the reset may overtake our last
/// answer. So: say that we are done, then read on until the client is done too.
weft::Coro<void> hang_up(weft::Stream& client) {
    co_await client.write_eof();
    char ignored[4096];
    for (std::size_t total = 0; total < largest_ignored_body_bytes;) {
        const std::size_t count = co_await client.read(ignored);
        if (count == 0) break;
        total += count;
    }
    co_await client.close();
}

/// Answers one request. False: it was the last one.
weft::Coro<bool> answer_one(weft::Stream& client) {
    Request request;
    std::optional<Response> response;
    try {
        const std::string head = co_await client.read_until(end_of_head);
        if (head.empty()) co_return false;  // the client has hung up
        request = parse_request(head);
    } catch (const BadMessage& error) {
        response.emplace(400, fmt::format("Bad request: {}.\n", error.what()));
    } catch (const weft::LimitOverrunError&) {
        response.emplace(431, fmt::format("More than {} bytes of head.\n", largest_head_bytes));
    }

    // After a head that is not understood, or before a body, nobody knows where the next one
    // begins.
    const bool keep_alive = !response && request.keep_alive && !request.has_body;
    if (!response) response = co_await respond(request);
    const std::string text = to_text(*response, request.method == "HEAD", keep_alive);
    co_await client.write(text);
    if (!keep_alive) co_await hang_up(client);
    co_return keep_alive;
}

/// One client, from its first request to its last. The server runs this as a task of its own for
/// each connection; `client` closes when the task ends.
weft::Coro<void> serve_client(weft::Stream client) {
    client.set_limit(largest_head_bytes);
    try {
        while (co_await answer_one(client)) {
        }
    } catch (const weft::IncompleteReadError&) {
        // The client hung up in the middle of a request,
    } catch (const std::system_error&) {
        // or before it had its answer. Nobody is left to be told.
    }
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
    weft::Server server = co_await weft::start_server(&serve_client, "127.0.0.1", port);
    const weft::BackendInfo& backend = weft::get_running_loop().backend_info();
    fmt::print("serving http://{}/ on {} ({})\n", server.address().to_string(), backend.name,
               backend.reason);
    std::fflush(stdout);

    if (is_pipe(STDIN_FILENO)) {
        co_await end_of(STDIN_FILENO);
    } else {
        co_await server.serve_forever();
    }
}

}  // namespace demo
