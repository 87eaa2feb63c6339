// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <unistd.h>

#include <string>
#include <utility>

#include <weft/weft.hpp>

namespace pty_test {
namespace {

using weft::Stream;

WEFT_TEST_CASE("a pseudo-terminal echoes and makes lines, a raw one hands on the bytes") {
    {
        weft::Pty pty = weft::open_pty();
        Stream program(std::move(pty.slave));
        co_await pty.master.write("ls\r");
        const std::string line = co_await program.read_line();
        const std::string echo = co_await pty.master.read_line();
        CHECK(line == "ls\n");
        CHECK(echo == "ls\r\n");
    }
    weft::PtyOptions options;
    options.raw = true;
    weft::Pty pty = weft::open_pty(options);
    Stream program(std::move(pty.slave));
    co_await pty.master.write("ls\r\x03");
    const std::string bytes = co_await program.read_exactly(4);
    CHECK(bytes == "ls\r\x03");
    co_await program.close();
    const std::string end = co_await pty.master.read_line();
    CHECK(end.empty());
}

WEFT_TEST_CASE("the path of a pseudo-terminal is that of its slave") {
    weft::Pty pty = weft::open_pty();
    char name[64];
    const int error = ::ttyname_r(pty.slave.get(), name, sizeof name);
    CHECK(error == 0);
    CHECK(pty.path == name);
    co_return;
}

}  // namespace
}  // namespace pty_test
