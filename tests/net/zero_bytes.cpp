// SPDX-License-Identifier: MIT
// Texts that become C strings (SEMANTICS 101). A new function that takes one joins by one line.
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

namespace zero_bytes_test {

namespace {

using namespace std::string_literals;
using weft::Address;
using weft::Coro;
using weft::Stream;

Coro<void> no_handler(Stream) { co_return; }

struct Entry {
    const char* name;
    Coro<void> (*call)(std::string text);
};

// (A braced list in the same expression as an await is what g++ 12 gets wrong; these have none.)
#define CALL(...)                                                            \
    {                                                                        \
#__VA_ARGS__, [](std::string text) -> Coro<void> { __VA_ARGS__; co_return; } \
    }

const std::vector<Entry> entries = {
    CALL((void)Address::ip(text, 80)),
    CALL((void)Address::ip("fe80::1%" + text, 80)),
    CALL((void)Address::unix_path(text)),
    CALL((void)Address::parse(text + ":80")),
    CALL((void)Address::parse("unix:" + text)),
    CALL(co_await weft::getaddrinfo(text, 80)),
    CALL(co_await weft::open_connection(text, 80)),
    CALL(co_await weft::start_server(no_handler, text, 0)),
    CALL(co_await weft::open_unix_connection(text)),
    CALL(co_await weft::start_unix_server(no_handler, text)),
    CALL(static_cast<void>(co_await weft::io::open(text, O_RDONLY))),
    CALL(static_cast<void>(co_await weft::io::open(std::filesystem::path(text), O_RDONLY))),
};

Coro<std::string> refusal(const Entry& entry, std::string text) {
    try {
        co_await entry.call(std::move(text));
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::invalid_argument) co_return "another code: "s + error.what();
        co_return error.what();
    }
    co_return "accepted";
}

}  // namespace

WEFT_TEST_CASE("a text with a zero byte inside is refused, and the error shows the whole of it") {
    const std::string_view texts[] = {
        {"127.0.0.1\0.example.com", 22}, {"::1\0", 4}, {"localhost\0", 10},
        {"/etc/passwd\0.txt", 16},       {"a\0", 2},
    };
    for (const Entry& entry : entries) {
        for (const std::string_view text : texts) {
            const std::string said = co_await refusal(entry, std::string(text));
            CAPTURE(entry.name, said);
            CHECK(said.find(text.substr(0, text.find('\0'))) != std::string::npos);
            CHECK(said.find("\\x00") != std::string::npos);
        }
    }
}

WEFT_TEST_CASE("a text that begins with a zero byte is refused, but for a Unix address") {
    const std::string text("\0name", 5);
    for (const Entry& entry : entries) {
        if (std::string_view(entry.name).find("unix") != std::string_view::npos) continue;
        const std::string said = co_await refusal(entry, text);
        CAPTURE(entry.name, said);
        CHECK(said.find("\\x00name") != std::string::npos);
    }
}

WEFT_TEST_CASE("an abstract Unix address takes a leading zero byte, and others after it") {
    // (One program's alone: others may run this at the same time.)
    const std::string own = std::to_string(::getpid());
    for (const std::string& name :
         {std::string("\0weft-zero", 10) + own, std::string("\0weft\0zero", 10) + own}) {
        const Address address = Address::unix_path(name);
        const weft::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const int bound = ::bind(listener.get(), address.data(), address.size());
        REQUIRE(bound == 0);
        CHECK(Address::of_socket(listener.get()) == address);
        CHECK(Address::of_socket(listener.get()).size() == address.size());
        const int listening = ::listen(listener.get(), 1);
        REQUIRE(listening == 0);
        Stream stream = co_await weft::open_connection(address);
        CHECK(stream.peer_address() == address);
        CHECK(address.to_string() == "unix:@" + name.substr(1));
    }
}

WEFT_TEST_CASE("a path may be given as a C string, a std::string or a filesystem path") {
    const std::string text = "/dev/null";
    weft::Fd first = co_await weft::io::open("/dev/null", O_RDONLY);
    weft::Fd second = co_await weft::io::open(text, O_RDONLY);
    weft::Fd third = co_await weft::io::open(std::filesystem::path(text), O_RDONLY);
    CHECK((first && second && third));
}

}  // namespace zero_bytes_test
