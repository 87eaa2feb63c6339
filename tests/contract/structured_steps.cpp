// SPDX-License-Identifier: MIT
// Groups, gathers and races around real sockets, killed and cancelled after k turns, for every k.
// timeout: 300
#include <weft/weft.hpp>

#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace structured_steps_test {

using namespace std::chrono_literals;
using namespace support;
using probe::Alive;
using weft::Coro;
using weft::task_group;
using weft::TaskGroup;
namespace io = weft::io;

namespace {

void require(bool holds, const char* what) {
    if (!holds) throw std::logic_error(what);
}

// Structured children refer to what their parent owns: that is the point of them.
Coro<std::string> receive(int fd, std::size_t size, Alive) {
    const auto buffer = std::make_unique<char[]>(size);  // a late write is ASan's to find
    std::size_t done = 0;
    while (done < size) {
        const std::size_t got =
            co_await io::recv(fd, weft::MutableBuffer(buffer.get() + done, size - done));
        if (got == 0) break;
        done += got;
    }
    co_return std::string(buffer.get(), done);
}
Coro<void> echo(int fd, int messages, Alive alive) {
    for (int i = 0; i < messages; ++i) {
        const std::string text = co_await receive(fd, 5, alive);
        co_await send_all(fd, text);
    }
}
Coro<std::string> ask(int fd, int messages, Alive alive) {
    std::string last;
    for (int i = 0; i < messages; ++i) {
        co_await send_all(fd, "hello");
        last = co_await receive(fd, 5, alive);
    }
    co_return last;
}
Coro<int> breaks(weft::Duration after, Alive) {
    co_await weft::sleep(after);
    throw std::runtime_error("expected");
    co_return 0;
}
Coro<Fd> accept_one(int fd, Alive) {
    io::Accepted connection = co_await io::accept(fd);
    co_return std::move(connection.fd);
}
Coro<Fd> connect_to(const Address& address, Alive) {
    Fd client = new_socket(address.family());
    co_await io::connect(client.get(), address);
    co_return client;
}

// --- scenarios ---

Coro<void> echo_in_a_group(int& count) {
    const Alive alive(count);
    const Pair ends = unix_pair();
    auto body = [&](TaskGroup& group) -> Coro<std::string> {
        group.create_task(echo(ends.a.get(), 3, alive));
        auto asked = group.create_task(ask(ends.b.get(), 3, alive));
        co_return co_await asked;
    };
    const std::string last = co_await task_group(std::ref(body));
    require(last == "hello", "echo");
}

Coro<void> group_in_a_race(int& count) {
    const Alive alive(count);
    const Pair ends = unix_pair();
    auto body = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(echo(ends.a.get(), 1'000'000, alive));
        group.create_task(receive(ends.b.get(), 1, alive));
        co_await send_all(ends.b.get(), "hel");
    };
    auto winner = co_await weft::race(task_group(std::ref(body)), weft::sleep(1s));
    require(winner.index() == 1, "the group won");
}

Coro<void> operations_in_a_race(int& count) {
    const Alive alive(count);
    const Pair one = unix_pair();
    const Pair two = tcp_pair();
    char bytes[2][8];
    for (int i = 0; i < 3; ++i) {
        auto lost = co_await weft::race(io::recv(one.a.get(), weft::MutableBuffer(bytes[0], 8)),
                                        io::recv(two.a.get(), weft::MutableBuffer(bytes[1], 8)),
                                        weft::sleep(1s));
        require(lost.index() == 2, "nothing was sent");
        co_await send_all(i % 2 ? one.b.get() : two.b.get(), "x");
        auto won = co_await weft::race(io::recv(one.a.get(), weft::MutableBuffer(bytes[0], 8)),
                                       io::recv(two.a.get(), weft::MutableBuffer(bytes[1], 8)));
        require(won.index() == (i % 2 ? 0u : 1u) && *won == 1, "the wrong one");
    }
}

Coro<void> slots_of_clients(int& count) {
    const Alive alive(count);
    const Pair one = unix_pair();
    const Pair two = unix_pair();
    auto slots = co_await weft::gather(weft::return_exceptions, echo(one.a.get(), 2, alive),
                                       ask(one.b.get(), 2, alive), breaks(1s, alive),
                                       weft::wait_writable(two.a.get()));
    require(std::get<1>(slots).value() == "hello" && !std::get<2>(slots), "slots");
}

Coro<void> all_or_nothing(int& count) {
    const Alive alive(count);
    const Pair ends = unix_pair();
    char byte;
    bool failed = false;
    try {
        co_await weft::all(receive(ends.a.get(), 1, alive), breaks(1s, alive),
                           io::recv(ends.b.get(), weft::MutableBuffer(&byte, 1)));
    } catch (const std::runtime_error&) {
        failed = true;
    }
    require(failed, "no failure");
    auto results = co_await weft::gather(echo(ends.a.get(), 1, alive), ask(ends.b.get(), 1, alive));
    require(std::get<1>(results) == "hello", "echo");
}

Coro<void> nested_groups_that_fail(int& count) {
    const Alive alive(count);
    const Pair ends = unix_pair();
    auto inner = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(receive(ends.a.get(), 1, alive));
        group.create_task(breaks(1s, alive));
        co_await receive(ends.b.get(), 1, alive);
    };
    auto outer = [&](TaskGroup& group) -> Coro<void> {
        group.create_task(receive(ends.a.get(), 1, alive));
        group.create_task(breaks(2s, alive));
        co_await task_group(std::ref(inner));
    };
    std::size_t errors = 0;
    try {
        co_await task_group(std::ref(outer));
    } catch (const weft::ExceptionGroup& group) {
        errors = group.exceptions().size();
    }
    require(errors == 1, "errors");
}

Coro<void> server_that_stops_itself(int& count) {
    const Alive alive(count);
    const Listener listener = unix_listener();
    int served = 0;
    auto serve = [&](Fd connection, TaskGroup& group) -> Coro<void> {
        const Fd owned = std::move(connection);
        co_await echo(owned.get(), 2, alive);
        if (++served == 3) group.cancel();
    };
    auto visit = [&]() -> Coro<void> {
        const Fd client = co_await connect_to(listener.address, alive);
        co_await ask(client.get(), 2, alive);
        co_await receive(client.get(), 1, alive);
    };
    auto body = [&](TaskGroup& group) -> Coro<void> {
        for (int i = 0; i < 3; ++i) group.create_task(visit);
        for (;;) {
            Fd connection = co_await accept_one(listener.fd.get(), alive);
            group.create_task(serve, std::move(connection), std::ref(group));
        }
    };
    co_await task_group(std::ref(body));
    require(served == 3, "served");
}

Coro<void> started_server(int& count) {
    const Alive alive(count);
    auto serve = [&](weft::TaskStatus<Address> status) -> Coro<void> {
        const Listener listener = tcp_listener();
        co_await weft::yield();
        status.started(listener.address);
        const Fd connection = co_await accept_one(listener.fd.get(), alive);
        co_await echo(connection.get(), 1, alive);
    };
    auto body = [&](TaskGroup& group) -> Coro<std::string> {
        const Address address = co_await group.start<Address>(serve);
        const Fd client = co_await connect_to(address, alive);
        co_return co_await ask(client.get(), 1, alive);
    };
    const std::string last = co_await task_group(std::ref(body));
    require(last == "hello", "echo");
}

Coro<void> shielded_write(int& count) {
    const Alive alive(count);
    const auto ends = std::make_shared<Pair>(unix_pair());
    auto save = [](std::shared_ptr<Pair> to, Alive) -> Coro<void> {
        co_await weft::sleep(2s);
        co_await send_all(to->a.get(), "saved");
    };
    auto saving = weft::create_task(save, ends, alive);
    auto lost = co_await weft::race(weft::shield(saving), weft::sleep(1s));
    require(lost.index() == 1, "the shield won");
    const std::string text = co_await receive(ends->b.get(), 5, alive);
    require(text == "saved", "not saved");
}

Coro<void> waits_in_a_loop(int& count) {
    const Alive alive(count);
    const auto ends = std::make_shared<Pair>(unix_pair());
    auto reads = [](std::shared_ptr<Pair> from, Alive counted) -> Coro<std::string> {
        co_return co_await receive(from->a.get(), 2, counted);
    };
    std::vector<weft::Task<std::string>> pending;
    for (int i = 0; i < 3; ++i) pending.push_back(weft::create_task(reads, ends, alive));
    while (!pending.empty()) {
        auto early = co_await weft::wait(pending, weft::first_completed, 1s);
        require(early.done.empty(), "nothing was sent");
        co_await send_all(ends->b.get(), "ab");
        auto found = co_await weft::wait(std::move(pending), weft::first_completed);
        require(!found.done.empty(), "nothing came");
        pending = std::move(found.pending);
    }
}

Coro<void> clients_as_they_complete(int& count) {
    const Alive alive(count);
    const auto listener = std::make_shared<Listener>(unix_listener());
    auto visit = [](std::shared_ptr<Listener> to, int seconds, Alive counted) -> Coro<int> {
        const Fd client = co_await connect_to(to->address, counted);
        co_await weft::sleep(seconds * 1s);
        co_return seconds;
    };
    std::vector<weft::Task<int>> tasks;
    for (const int seconds : {3, 1, 2}) {
        tasks.push_back(weft::create_task(visit, listener, seconds, alive));
    }
    auto completed = weft::as_completed(std::move(tasks), 1h);
    int last = 0;
    while (auto task = co_await completed.next()) {
        require(task.result() > last, "out of order");
        last = task.result();
    }
    require(last == 3, "not all");
}

Coro<void> happy_eyeballs(int& count) {
    const Alive alive(count);
    const Listener busy = unix_listener(0);
    const Fd filler = connected_to(busy.address);
    const Listener good = tcp_listener();
    std::vector<Coro<Fd>> attempts;
    attempts.push_back(connect_to(busy.address, alive));
    attempts.push_back(connect_to(busy.address, alive));
    attempts.push_back(connect_to(good.address, alive));
    auto winner = co_await weft::staggered_race(std::move(attempts), 250ms);
    require(winner->get() >= 0, "no connection");
}

Coro<void> pipeline(int& count) {
    const Alive alive(count);
    Pair first = pipe_pair();
    Pair second = pipe_pair();
    auto produce = [&]() -> Coro<void> {
        for (int i = 0; i < 3; ++i) co_await write_all(first.b.get(), "12345");
        co_await io::close(std::move(first.b));
    };
    auto copy = [&]() -> Coro<void> {
        for (;;) {
            const std::string text = co_await read_some(first.a.get(), 100);
            if (text.empty()) break;
            co_await write_all(second.b.get(), text);
        }
        co_await io::close(std::move(second.b));
    };
    auto results = co_await weft::all(produce, copy, read_exactly(second.a.get(), 100));
    require(std::get<2>(results).size() == 15, "bytes are missing");
}

Coro<void> groups_that_race(int& count) {
    const Alive alive(count);
    const Pair one = unix_pair();
    const Pair two = unix_pair();
    auto exchange = [&](TaskGroup& group, const Pair& ends, weft::Duration wait) -> Coro<int> {
        group.create_task(echo(ends.a.get(), 2, alive));
        co_await ask(ends.b.get(), 1, alive);
        co_await weft::sleep(wait);
        co_await ask(ends.b.get(), 1, alive);
        co_return 1;
    };
    auto winner = co_await weft::race(task_group(std::ref(exchange), std::cref(one), 2s),
                                      task_group(std::ref(exchange), std::cref(two), 1s));
    require(winner.index() == 1, "the slower one won");
}

Coro<void> winners_of_the_same_instant(int& count) {
    const Alive alive(count);
    const Listener one = unix_listener();
    const Listener two = unix_listener();
    const Fd first = connected_to(one.address);
    const Fd second = connected_to(two.address);
    // Both may accept; the loser's connection is closed, not leaked.
    auto operations = co_await weft::race(io::accept(one.fd.get()), io::accept(two.fd.get()));
    require(operations->fd.get() >= 0, "no connection");
    const Fd third = connected_to(one.address);
    const Fd fourth = connected_to(two.address);
    auto coroutines =
        co_await weft::race(accept_one(one.fd.get(), alive), accept_one(two.fd.get(), alive));
    require(coroutines->get() >= 0, "no connection");
}

Coro<void> early_error_with_operations(int& count) {
    const Alive alive(count);
    const Pair ends = unix_pair();
    const auto buffer = std::make_unique<char[]>(100);
    for (int round = 0; round < 2; ++round) {
        bool failed = false;
        try {
            co_await weft::gather(io::recv(ends.a.get(), weft::MutableBuffer(buffer.get(), 100)),
                                  breaks(round * 1s, alive), weft::sleep(1h));
        } catch (const std::runtime_error&) {
            failed = true;
        }
        require(failed, "no failure");
    }
    co_await weft::yield();
}

Coro<void> spawners(int& count) {
    const Alive alive(count);
    const Pair ends = unix_pair();
    std::function<Coro<void>(TaskGroup&, int)> spawn = [&](TaskGroup& group,
                                                           int depth) -> Coro<void> {
        const Alive local(alive);
        co_await send_all(ends.a.get(), "x");
        if (depth > 0) {
            group.create_task(spawn, std::ref(group), depth - 1);
            co_await weft::gather(weft::sleep(1s), receive(ends.b.get(), 1, alive));
            group.create_task(spawn, std::ref(group), depth - 1);
        }
    };
    auto body = [&](TaskGroup& group) -> Coro<void> { co_await spawn(group, 2); };
    co_await task_group(std::ref(body));
}

using Scenario = Coro<void> (*)(int&);
struct Named {
    const char* name;
    Scenario run;
};

constexpr Named scenarios[] = {
    {"echo in a group", echo_in_a_group},
    {"a group in a race", group_in_a_race},
    {"operations in a race", operations_in_a_race},
    {"slots of clients", slots_of_clients},
    {"all or nothing", all_or_nothing},
    {"nested groups that fail", nested_groups_that_fail},
    {"a server that stops itself", server_that_stops_itself},
    {"a server that was started", started_server},
    {"a shielded write", shielded_write},
    {"waits in a loop", waits_in_a_loop},
    {"clients as they complete", clients_as_they_complete},
    {"happy eyeballs", happy_eyeballs},
    {"a pipeline", pipeline},
    {"groups that race", groups_that_race},
    {"winners of the same instant", winners_of_the_same_instant},
    {"an early error with operations", early_error_with_operations},
    {"spawners", spawners},
};

/// A task whose group or peer was cut off fails, and nobody is left to ask it.
Coro<void> run_quietly(Scenario run, int& count) {
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
    co_await run(count);
}

}  // namespace

TEST_CASE("structured tasks on a loop destroyed after k turns leak nothing, for every k",
          "[steps]") {
    for (const Named& scenario : scenarios) {
        CAPTURE(scenario.name);
        const weft::testing::DescriptorCensus before;
        int alive = 0;
        int left_behind = 0;
        const std::size_t steps = weft::testing::kill_at_every_step([&] {
            left_behind += alive;
            return run_quietly(scenario.run, alive);
        });
        CHECK(steps > 3);
        CHECK(alive == 0);
        CHECK(left_behind == 0);
        const std::string leaked = before.leaked();
        CHECK(leaked == "");
    }
}

TEST_CASE("structured tasks cancelled after k turns end and leak nothing, for every k", "[steps]") {
    for (const Named& scenario : scenarios) {
        CAPTURE(scenario.name);
        const weft::testing::DescriptorCensus before;
        int alive = 0;
        int left_behind = 0;
        std::size_t cancelled = 0;
        weft::testing::cancel_at_every_step(
            [&] {
                left_behind += alive;
                return run_quietly(scenario.run, alive);
            },
            [&](weft::Task<void>& task) {
                if (task.cancelled()) {
                    ++cancelled;
                } else {
                    std::move(task).result();  // completed all the same, and is right
                }
            });
        CHECK(cancelled > 0);
        CHECK(alive == 0);
        CHECK(left_behind == 0);
        const std::string leaked = before.leaked();
        CHECK(leaked == "");
    }
}

}  // namespace structured_steps_test
