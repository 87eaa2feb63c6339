// SPDX-License-Identifier: MIT
// A program that was started without its standard ends: what prints, or reads, does not meet ours.
#include <weft/fs.hpp>
#include <weft/process.hpp>
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <string>
#include <utility>

#include "../support/descriptors.hpp"

namespace standard_numbers_test {

using weft::Coro;

namespace {

/// 0, or a number from 1 on: after how many looks one of the three was somebody's.
class Looks {
public:
    void look() noexcept {
        ++count_;
        for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
            if (found_ == 0 && ::fcntl(number, F_GETFD) >= 0) found_ = count_;
        }
    }
    int found() const noexcept { return found_; }

private:
    int count_ = 0;
    int found_ = 0;
};

Coro<void> opens_everything(Looks& looks) {
    looks.look();  // 1: the loop's own
    auto handler = [](weft::Stream client) -> Coro<void> { co_await client.write("x"); };
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    looks.look();
    weft::Stream client = co_await weft::open_connection("127.0.0.1", server.port());
    const std::string got = co_await client.read_exactly(1);
    looks.look();  // 3
    const weft::Pipe pipe = weft::pipe();
    looks.look();
    const weft::Socket socket(AF_INET, SOCK_STREAM);
    looks.look();
    weft::File file = co_await weft::temporary_file();
    looks.look();  // 6
    auto number = [] { return 1; };
    co_await weft::to_thread(number);
    weft::ProcessOptions options;
    options.out = weft::Stdio::pipe();
    weft::Process child = co_await weft::create_subprocess_exec("echo", "hello", options);
    looks.look();
    co_await child.wait();
    server.close();
    looks.look();
}

}  // namespace

TEST_CASE("nothing that is opened has the number of a standard end that is closed") {
    const pid_t child = support::checked(::fork(), "fork");
    if (child == 0) {
        for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(number);
        Looks looks;
        try {
            weft::run(opens_everything(looks));
        } catch (const std::exception&) {
            ::_exit(100);
        }
        ::_exit(looks.found());
    }
    int status = 0;
    support::checked(::waitpid(child, &status, 0), "waitpid");
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace standard_numbers_test
