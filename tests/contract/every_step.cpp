// SPDX-License-Identifier: MIT
// Whole scenarios killed and cancelled after k turns, for every k: no leak, and no late kernel
// write.
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <memory>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace every_step_test {

using namespace support;
using weft::create_task;
using weft::testing::DescriptorCensus;
namespace io = weft::io;

namespace {

/// Memory of its own for each transfer, freed with the frame: a late write is ASan's to find.
weft::Coro<std::string> receive(int fd, std::size_t size) {
    const auto buffer = std::make_unique<char[]>(size);
    std::size_t done = 0;
    while (done < size) {
        const std::size_t got =
            co_await io::recv(fd, weft::MutableBuffer(buffer.get() + done, size - done));
        if (got == 0) break;
        done += got;
    }
    co_return std::string(buffer.get(), done);
}

// Children share what they use with the scenario: it may be cancelled while they still wait, and
// the last of them closes the descriptors.
template <class T>
using Shared = std::shared_ptr<T>;

template <class T>
Shared<T> shared(T value) {
    return std::make_shared<T>(std::move(value));
}

weft::Coro<void> echo(Shared<Pair> ends, int messages) {
    for (int index = 0; index < messages; ++index) {
        const std::string text = co_await receive(ends->b.get(), 5);
        co_await send_all(ends->b.get(), text);
    }
}

weft::Coro<std::string> receive_from(Shared<Pair> ends, std::size_t size) {
    co_return co_await receive(ends->a.get(), size);
}

void require(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

weft::Coro<void> socketpair_echo() {
    const auto ends = shared(unix_pair());
    auto server = create_task(echo(ends, 4));
    for (int index = 0; index < 4; ++index) {
        co_await send_all(ends->a.get(), "hello");
        const std::string back = co_await receive(ends->a.get(), 5);
        require(back == "hello", "the echo is wrong");
    }
    co_await server;
}

weft::Coro<void> serve_one(Shared<Listener> listener) {
    io::Accepted connection = co_await io::accept(listener->fd.get());
    for (int index = 0; index < 2; ++index) {
        const std::string text = co_await receive(connection.fd.get(), 5);
        co_await send_all(connection.fd.get(), text);
    }
    co_await io::close(std::move(connection.fd));
}

weft::Coro<void> visit(Shared<Listener> listener) {
    const Fd client = new_socket(listener->address.family());
    co_await io::connect(client.get(), listener->address);
    for (int index = 0; index < 2; ++index) {
        co_await send_all(client.get(), "hello");
        const std::string back = co_await receive(client.get(), 5);
        require(back == "hello", "the answer is wrong");
    }
    const std::string end = co_await receive(client.get(), 1);
    require(end.empty(), "no end of file");
}

weft::Coro<void> connect_and_exchange() {
    const auto listener = shared(tcp_listener());
    auto server = create_task(serve_one(listener));
    co_await visit(listener);
    co_await server;
}

weft::Coro<void> accepts_in_parallel() {
    const auto listener = shared(unix_listener());
    std::vector<weft::Task<void>> tasks;
    for (int index = 0; index < 6; ++index) tasks.push_back(create_task(serve_one(listener)));
    for (int index = 0; index < 6; ++index) tasks.push_back(create_task(visit(listener)));
    for (auto& task : tasks) co_await task;
}

weft::Coro<void> copy(Shared<Pair> from, Shared<Pair> to) {
    for (;;) {
        const std::string text = co_await read_some(from->a.get(), 30'000);
        if (text.empty()) break;
        co_await write_all(to->b.get(), text);
    }
    co_await io::close(std::move(to->b));
}

weft::Coro<void> pour(Shared<Pair> into, std::size_t size) {
    const std::string text(size, 'x');
    co_await write_all(into->b.get(), text);
    co_await io::close(std::move(into->b));
}

weft::Coro<void> through_pipes() {
    const auto first = shared(pipe_pair());
    const auto second = shared(pipe_pair(O_NONBLOCK));
    constexpr std::size_t size = 200'000;
    auto copier = create_task(copy(first, second));
    auto writer = create_task(pour(first, size));
    const std::string got = co_await read_exactly(second->a.get(), size + 1);
    require(got == std::string(size, 'x'), "the pipes changed the data");
    co_await writer;
    co_await copier;
}

weft::Coro<void> files() {
    Folder folder;
    const std::string path = folder.file("data");
    Fd fd = co_await io::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL);
    const std::string text(10'000, 'f');
    co_await io::write_at(fd.get(), text, 0);
    co_await io::fsync(fd.get());
    std::string back(text.size(), '\0');
    const std::size_t got = co_await io::read_at(fd.get(), back, 0);
    require(got == text.size() && back == text, "the file is wrong");
    co_await io::fdatasync(fd.get());
    co_await io::close(std::move(fd));
}

weft::Coro<void> poll_in(Shared<Pair> ends) { co_await io::poll(ends->a.get(), POLLIN); }

weft::Coro<void> several_on_one_descriptor() {
    const auto ends = shared(unix_pair());
    std::vector<weft::Task<std::string>> readers;
    for (int index = 0; index < 8; ++index) readers.push_back(create_task(receive_from(ends, 1)));
    auto ready = create_task(poll_in(ends));
    co_await turns(2);
    for (int index = 0; index < 9; ++index) co_await send_all(ends->b.get(), "x");
    for (auto& reader : readers) co_await reader;
    co_await ready;
}

weft::Coro<void> close_under_readers() {
    const auto ends = shared(unix_pair());
    std::vector<weft::Task<std::string>> readers;
    for (int index = 0; index < 4; ++index) readers.push_back(create_task(receive_from(ends, 9)));
    co_await turns(2);
    co_await io::close(std::move(ends->a));
    for (auto& reader : readers) {
        const End end = co_await ending(reader);
        require(end == End::closed, "a reader was not woken by the close");
    }
    const std::string last = co_await receive(ends->b.get(), 1);
    require(last.empty(), "the peer saw no end");
}

weft::Coro<void> fan_out() {
    std::vector<Shared<Pair>> pairs;
    std::vector<weft::Task<std::string>> readers;
    for (int index = 0; index < 50; ++index) {
        pairs.push_back(shared(unix_pair()));
        readers.push_back(create_task(receive_from(pairs.back(), 3)));
    }
    co_await turns(3);
    for (const auto& pair : pairs) co_await write_all(pair->b.get(), "abc");
    for (auto& reader : readers) {
        const std::string text = co_await reader;
        require(text == "abc", "a reader got something else");
    }
}

weft::Coro<void> sleeps_between() {
    const auto ends = shared(unix_pair());
    auto server = create_task(echo(ends, 3));
    for (int index = 0; index < 3; ++index) {
        co_await weft::sleep(std::chrono::hours(1));
        co_await send_all(ends->a.get(), "hello");
        const std::string back = co_await receive(ends->a.get(), 5);
        require(back == "hello", "the echo is wrong");
    }
    co_await server;
}

using Scenario = weft::Coro<void> (*)();
struct Named {
    const char* name;
    Scenario run;
};

/// A child whose peer was cut off fails, and nobody is left to ask it.
weft::Coro<void> run_quietly(Scenario run) {
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
    co_await run();
}

constexpr Named scenarios[] = {
    {"echo over a socket pair", socketpair_echo},
    {"connect, accept, exchange", connect_and_exchange},
    {"pipes", through_pipes},
    {"files", files},
    {"several operations on one descriptor", several_on_one_descriptor},
    {"close under pending reads", close_under_readers},
    {"fan-out of fifty reads", fan_out},
    {"accepts in parallel", accepts_in_parallel},
    {"sleeps between messages", sleeps_between},
};

}  // namespace

TEST_CASE("a loop destroyed after k turns leaks nothing, whatever runs on it, for every k",
          "[steps]") {
    for (const Named& scenario : scenarios) {
        CAPTURE(scenario.name);
        const DescriptorCensus before;
        const std::size_t steps =
            weft::testing::kill_at_every_step([&] { return run_quietly(scenario.run); });
        CHECK(steps > 3);
        const std::string leaked = before.leaked();
        CHECK(leaked == "");
    }
}

TEST_CASE("a scenario cancelled after k turns ends and leaks nothing, for every k", "[steps]") {
    for (const Named& scenario : scenarios) {
        CAPTURE(scenario.name);
        const DescriptorCensus before;
        std::size_t cancelled = 0;
        const std::size_t steps = weft::testing::cancel_at_every_step(
            [&] { return run_quietly(scenario.run); },
            [&](weft::Task<void>& task) {
                if (task.cancelled()) {
                    ++cancelled;
                } else {
                    std::move(task).result();  // completed all the same, and is right
                }
            });
        CHECK(cancelled > 0);
        CHECK(cancelled <= steps);
        const std::string leaked = before.leaked();
        CHECK(leaked == "");
    }
}

}  // namespace every_step_test
