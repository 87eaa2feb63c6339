// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

namespace standard_streams_test {
namespace {

using weft::Coro;
using weft::Fd;
using weft::Stream;

/// Another file in the place of `number`, as long as this lives.
class Instead {
public:
    Instead(int number, int file) : number_(number), kept_(::fcntl(number, F_DUPFD_CLOEXEC, 100)) {
        ::dup2(file, number);
    }
    Instead(const Instead&) = delete;
    Instead& operator=(const Instead&) = delete;
    ~Instead() { ::dup2(kept_.get(), number_); }

private:
    int number_;
    Fd kept_;
};

WEFT_TEST_CASE("standard input and output are one connection, and stay open when that closes") {
    int in[2];
    int out[2];
    REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    Stream to_us{Fd(in[1])};
    Stream from_us{Fd(out[0])};
    int flags[2];
    bool open[2];
    std::string question;
    {
        const Fd in_end(in[0]);
        const Fd out_end(out[1]);
        const Instead input(0, in_end.get());
        const Instead output(1, out_end.get());
        Stream both = weft::standard_streams();
        co_await to_us.write("question\n");
        question = co_await both.read_line();
        co_await both.write("answer\n");
        flags[0] = ::fcntl(0, F_GETFL);
        flags[1] = ::fcntl(1, F_GETFL);
        co_await both.close();
        open[0] = ::fcntl(0, F_GETFD) >= 0;
        open[1] = ::fcntl(1, F_GETFD) >= 0;
    }
    const std::string answer = co_await from_us.read_line();
    const std::string end = co_await from_us.read_line();
    CHECK(question == "question\n");
    CHECK((flags[0] & O_NONBLOCK) == 0);
    CHECK((flags[1] & O_NONBLOCK) == 0);
    CHECK((open[0] && open[1]));
    CHECK(answer == "answer\n");
    CHECK(end.empty());
}

WEFT_TEST_CASE("standard error goes where the program's does; what the program has not is EBADF") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd write_end(ends[1]);
    Stream from{Fd(ends[0])};
    {
        const Instead error_output(2, write_end.get());
        Stream error = weft::standard_error();
        co_await error.write("oh\n");
    }
    const std::string line = co_await from.read_line();
    CHECK(line == "oh\n");
    // (Its number may have come again, as the loop's ring for instance.)
    for (const bool comes_again : {false, true}) {
        int error = 0;
        {
            const Instead input(0, write_end.get());
            ::close(0);
            if (comes_again) ::dup3(write_end.get(), 0, O_CLOEXEC);
            try {
                const Stream none = weft::standard_input();
            } catch (const std::system_error& failure) {
                error = failure.code().value();
            }
        }
        CHECK(error == EBADF);
    }
}

WEFT_TEST_CASE("an error of a standard stream names it, and no number of a duplicate") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    Fd read_end(ends[0]);
    const Fd write_end(ends[1]);
    std::string broken;
    {
        const Instead output(1, write_end.get());
        Stream out = weft::standard_output();
        read_end.reset();
        try {
            co_await out.write("x");
        } catch (const std::system_error& error) {
            broken = error.what();
        }
    }
    CHECK(broken == "write standard output: Broken pipe");
}

}  // namespace
}  // namespace standard_streams_test
