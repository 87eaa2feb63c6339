// SPDX-License-Identifier: MIT
// Servers on Unix sockets: their file comes and goes with them, and nobody else's does.
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

#include "../support/descriptors.hpp"

namespace unix_server_test {

namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Server;
using weft::Stream;

Coro<void> echo_line(Stream client) {
    const std::string line = co_await client.read_line();
    co_await client.write(line);
}

Coro<bool> serves(std::string path) {
    Stream stream = co_await weft::open_unix_connection(path);
    co_await stream.write("hello\n");
    const std::string line = co_await stream.read_line();
    co_return line == "hello\n";
}

Coro<int> error_of(Coro<Server> start) {
    try {
        co_await std::move(start);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

bool exists(const std::string& path) {
    struct stat file;
    return ::lstat(path.c_str(), &file) == 0;
}

/// What a server leaves behind that is killed.
void leave_socket(const std::string& path) {
    const auto left = support::listen_at(weft::Address::unix_path(path), 1);
}

}  // namespace

WEFT_TEST_CASE("a server on a Unix socket serves, and its file goes when it closes") {
    support::Folder folder;
    const std::string path = folder.file("socket");
    Server server = co_await weft::start_unix_server(&echo_line, path);
    CHECK(server.address() == weft::Address::unix_path(path));
    const bool served = co_await serves(path);
    CHECK(served);
    CHECK(exists(path));
    server.close();
    CHECK_FALSE(exists(path));
    co_await server.wait_closed();
    std::optional<Server> second(co_await weft::start_unix_server(&echo_line, path));
    CHECK(exists(path));
    second.reset();
    CHECK_FALSE(exists(path));
}

WEFT_TEST_CASE("a path that is somebody else's by now stays") {
    support::Folder folder;
    const std::string path = folder.file("socket");
    Server first = co_await weft::start_unix_server(&echo_line, path);
    ::unlink(path.c_str());
    Server second = co_await weft::start_unix_server(&echo_line, path);
    first.close();
    CHECK(exists(path));
    const bool served = co_await serves(path);
    CHECK(served);
    second.close();
    CHECK_FALSE(exists(path));
}

WEFT_TEST_CASE("a socket that was left behind is replaced; one that somebody listens on is not") {
    support::Folder folder;
    const std::string path = folder.file("socket");
    leave_socket(path);
    REQUIRE(exists(path));
    Server server = co_await weft::start_unix_server(&echo_line, path);
    const int taken = co_await error_of(weft::start_unix_server(&echo_line, path));
    CHECK(taken == EADDRINUSE);
    const bool served = co_await serves(path);
    CHECK(served);
}

WEFT_TEST_CASE("a file that is no socket is left alone") {
    support::Folder folder;
    const std::string path = folder.file("file");
    { const weft::Fd file = co_await weft::io::open(path, O_CREAT | O_WRONLY); }
    const int taken = co_await error_of(weft::start_unix_server(&echo_line, path));
    CHECK(taken == EADDRINUSE);
    CHECK(exists(path));
}

WEFT_TEST_CASE("an abstract name needs no file") {
    const std::string name = std::string(1, '\0') + "weft-unix-" + std::to_string(::getpid());
    Server server = co_await weft::start_unix_server(&echo_line, name);
    const bool served = co_await serves(name);
    CHECK(served);
    const int taken = co_await error_of(weft::start_unix_server(&echo_line, name));
    CHECK(taken == EADDRINUSE);
}

WEFT_TEST_CASE("a server on a Unix socket stops in order") {
    support::Folder folder;
    const std::string path = folder.file("socket");
    Server server = co_await weft::start_unix_server(&echo_line, path);
    Stream waits = co_await weft::open_unix_connection(path);
    co_await weft::sleep(1ms);
    co_await server.shutdown(10s);
    CHECK_FALSE(exists(path));
    char buffer[8];
    const std::size_t count = co_await waits.read(buffer);
    CHECK(count == 0);
}

WEFT_TEST_CASE("a path with a zero byte inside, empty, or too long is refused") {
    const int zero =
        co_await error_of(weft::start_unix_server(&echo_line, std::string("/tmp/x\0y", 8)));
    CHECK(zero == EINVAL);
    const int empty = co_await error_of(weft::start_unix_server(&echo_line, ""));
    CHECK(empty == EINVAL);
    const int too_long =
        co_await error_of(weft::start_unix_server(&echo_line, std::string(200, 'x')));
    CHECK(too_long == ENAMETOOLONG);
}

}  // namespace unix_server_test
