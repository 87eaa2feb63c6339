// SPDX-License-Identifier: MIT
// A forked child: no loop of its parent's runs there, it may run one of its own, and whatever it
// does the parent's goes on.
#include <weft/adapters/fd_watch.hpp>
#include <weft/net/datagram.hpp>
#include <weft/net/io.hpp>
#include <weft/net/server.hpp>
#include <weft/net/stream.hpp>
#include <weft/patterns/rate_limiter.hpp>
#include <weft/queue/queue.hpp>
#include <weft/signal/signal.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace fork_test {

using namespace support;
using weft::Coro;
using weft::create_task;
namespace io = weft::io;

namespace {

/// What the child has to say, sent through a pipe.
class Child {
public:
    Child() : pipe_(pipe_pair()), id_(checked(::fork(), "fork")) {}
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    bool here() const noexcept { return id_ == 0; }
    /// In the child: its last words.
    [[noreturn]] void end(const std::string& text) const {
        const bool written = ::write(pipe_.b.get(), text.data(), text.size()) >= 0;
        ::_exit(written ? 0 : 1);
    }
    /// In the parent.
    std::string words() {
        pipe_.b.reset();
        std::string text = text_to_end(pipe_.a.get());
        int status = 0;
        checked(::waitpid(id_, &status, 0), "waitpid");
        if (status != 0) text += " (the child ended with status " + std::to_string(status) + ")";
        return text;
    }

private:
    Pair pipe_;
    pid_t id_;
};

Coro<std::string> echo_once() {
    Pair ends = tcp_pair();
    auto reading = create_task(recv_some, ends.a.get(), std::size_t{64}, 0);
    co_await turns(2);
    co_await send_all(ends.b.get(), "fresh");
    co_await weft::sleep(std::chrono::milliseconds(1));
    std::string text = co_await std::move(reading);
    const Fd file = co_await io::open("/dev/zero", O_RDONLY);
    text += co_await read_some(file.get(), 3) == std::string(3, '\0') ? "!" : "?";
    co_return text;
}

template <class Act>
std::string refusal(Act act) {
    try {
        act();
    } catch (const weft::RuntimeError& error) {
        return error.what();
    }
    return "no refusal";
}

/// The parent's operations still work: one that waited during the fork, and new ones.
Coro<void> check_parent(Pair& ends, weft::Task<std::string>& waiting) {
    put(ends.b.get(), "parent");
    const std::string text = co_await waiting;
    CHECK(text == "parent");
    put(ends.b.get(), "again");
    const std::string more = co_await recv_some(ends.a.get(), 64);
    CHECK(more == "again");
    const std::string own = co_await echo_once();
    CHECK(own == "fresh!");
}

}  // namespace

WEFT_TEST_CASE("in a forked child no loop is running", "[fork]") {
    Pair ends = unix_pair();
    auto waiting = create_task(recv_some, ends.a.get(), std::size_t{64}, 0);
    co_await turns(3);
    Child child;
    if (child.here()) {
        if (weft::EventLoop::running()) child.end("a loop is running");
        child.end(refusal([] { (void)weft::get_running_loop(); }));
    }
    const std::string words = child.words();
    CHECK(words == "weft: no running event loop on this thread; weft::run(main()) runs one");
    co_await check_parent(ends, waiting);
}

WEFT_TEST_CASE("a forked child runs a loop of its own", "[fork]") {
    Pair ends = unix_pair();
    auto waiting = create_task(recv_some, ends.a.get(), std::size_t{64}, 0);
    co_await turns(3);
    Child child;
    if (child.here()) {
        std::string text;
        try {
            for (int count = 0; count < 3; ++count) text += weft::run(echo_once);
        } catch (const std::exception& error) {
            text = error.what();
        }
        child.end(text);
    }
    const std::string words = child.words();
    CHECK(words == "fresh!fresh!fresh!");
    co_await check_parent(ends, waiting);
}

// The kernel forgets a descriptor's registration with epoll only when the last copy of it is
// closed; but the backend used to take it out itself.
WEFT_TEST_CASE("a child that is forked at a coroutine's end runs a loop of its own", "[fork]") {
    for (const bool suspends : {false, true}) {
        std::string words;
        auto forks = [&words] {
            Child child;
            if (child.here()) child.end(weft::run(echo_once()));
            words = child.words();
        };
        // Destroyed with the parameters, after the end.
        auto keeps = [](std::unique_ptr<probe::AtExit<decltype(forks)>>, bool yields) -> Coro<int> {
            if (yields) co_await weft::yield();
            co_return 7;
        };
        auto parameter = std::make_unique<probe::AtExit<decltype(forks)>>(forks);
        const int result = co_await keeps(std::move(parameter), suspends);
        REQUIRE(result == 7);
        REQUIRE(words == "fresh!");
    }
}

WEFT_TEST_CASE("a forked child may use an event that has woken tasks of its parent", "[fork]") {
    auto event = std::make_unique<weft::Event>();
    auto waits = [&]() -> Coro<void> { co_await event->wait(); };
    auto again = [&]() -> Coro<void> {
        event->clear();
        auto waiting = create_task(waits);
        co_await weft::yield();
        event->set();
        co_await waiting;
    };
    std::string words;
    auto forks = [&]() -> Coro<void> {
        co_await event->wait();
        Child child;
        if (child.here()) {
            weft::run(again);
            event.reset();
            child.end("it has run");
        }
        words = child.words();
    };
    auto forking = create_task(forks);
    auto waiting = create_task(waits);
    co_await weft::yield();
    event->set();
    co_await forking;
    co_await waiting;
    REQUIRE(words == "it has run");
}

WEFT_TEST_CASE("what a forked child closes stays open, and awaited, in its parent", "[fork]") {
    Pair ends = unix_pair();
    weft::Stream stream(std::move(ends.a));
    auto reading = create_task([&]() -> Coro<std::string> {
        const weft::Chunk chunk = co_await stream.read_chunk();
        co_return std::string(chunk.view());
    });
    Pair others = tcp_pair();
    auto waiting = create_task(recv_some, others.a.get(), std::size_t{64}, 0);
    co_await turns(3);
    Child child;
    if (child.here()) {
        { const weft::Stream gone = std::move(stream); }
        others.a.reset();
        others.b.reset();
        ends.b.reset();
        child.end("closed");
    }
    const std::string words = child.words();
    CHECK(words == "closed");
    put(ends.b.get(), "chunk");
    const std::string text = co_await reading;
    CHECK(text == "chunk");
    co_await check_parent(others, waiting);
}

TEST_CASE("a forked child that goes on with its parent's loop is told so", "[fork]") {
    enum class Goes { to_sleep, on_receiving, to_its_end, with_a_future, out_by_an_exception };
    for (const Goes goes : {Goes::to_sleep, Goes::on_receiving, Goes::to_its_end,
                            Goes::with_a_future, Goes::out_by_an_exception}) {
        CAPTURE(static_cast<int>(goes));
        std::optional<Child> child;
        int steps_of_others = 0;
        std::string thrown;
        try {
            weft::run([&]() -> Coro<void> {
                Pair ends = unix_pair();
                auto waiting = create_task(recv_some, ends.a.get(), std::size_t{64}, 0);
                auto other = create_task([&]() -> Coro<void> {
                    for (;;) {
                        co_await weft::yield();
                        if (child && child->here()) ++steps_of_others;
                    }
                });
                auto promised = weft::get_running_loop().create_future<void>();
                co_await turns(3);
                child.emplace();
                if (child->here()) {
                    if (goes == Goes::to_sleep) co_await weft::sleep(std::chrono::hours(1));
                    if (goes == Goes::on_receiving) co_await recv_some(ends.a.get(), 1);
                    if (goes == Goes::with_a_future) co_await promised;
                    if (goes == Goes::out_by_an_exception) throw std::logic_error("of the child");
                    co_return;
                }
                co_await check_parent(ends, waiting);
            });
        } catch (const std::exception& error) {
            thrown = error.what();
        }
        REQUIRE(child);
        if (child->here()) child->end(thrown + "|" + std::to_string(steps_of_others));
        CHECK(thrown == "");
        const std::string words = child->words();
        CHECK(words == "weft: a forked child cannot go on with the event loop of its parent|0");
    }
}

TEST_CASE("a forked child is told so too where chunks are about to be received in its turn",
          "[fork]") {
    // So many and so large that on epoll the last one waits for its reader's turn.
    constexpr std::size_t crowd = 9;
    const std::string data(std::size_t{16} * 1024, 'd');
    std::optional<Child> child;
    std::string thrown = "it went on";
    std::size_t got = 0;
    try {
        weft::run([&]() -> Coro<void> {
            std::vector<weft::Stream> near;
            std::vector<Fd> far;
            std::vector<weft::Task<void>> reading;
            auto reads = [&](weft::Stream& from) -> Coro<void> {
                const weft::Chunk chunk = co_await from.read_chunk();
                got += chunk.size();
            };
            near.reserve(crowd);
            for (std::size_t i = 0; i < crowd; ++i) {
                Pair ends = unix_pair();
                near.emplace_back(std::move(ends.a));
                far.push_back(std::move(ends.b));
                reading.push_back(create_task(reads, std::ref(near.back())));
            }
            bool all_sent = false;
            // Ready in each turn, and before what the turn's events make ready.
            auto forks = create_task([&]() -> Coro<void> {
                while (!all_sent) co_await weft::yield();
                child.emplace();
                if (child->here()) co_await turns(1'000);
            });
            co_await turns(3);
            for (const Fd& to : far) put(to.get(), data);
            all_sent = true;
            co_await forks;
            if (child->here()) co_return;
            for (auto& task : reading) co_await task;
        });
    } catch (const std::exception& error) {
        thrown = error.what();
    }
    REQUIRE(child);
    if (child->here()) child->end(thrown);
    CHECK(got == crowd * data.size());
    const std::string words = child->words();
    CHECK(words == "weft: a forked child cannot go on with the event loop of its parent");
}

TEST_CASE("a loop that was made before the fork is refused in the child, and goes quietly there",
          "[fork]") {
    std::optional<weft::EventLoop> loop(std::in_place);
    weft::Remote remote = loop->remote();
    Pair ends = unix_pair();
    auto waiting = loop->create_task(recv_some(ends.a.get(), 64));
    auto pending = loop->create_future<int>();
    loop->run_once();
    loop->run_once();
    std::optional<Child> child(std::in_place);
    if (child->here()) {
        std::string text;
        try {
            text += refusal([&] { loop->run_once(); }) + "\n";
            text += refusal([&] { loop->run_until_complete(pending); }) + "\n";
            text += refusal([&] { loop->call_soon([] {}); }) + "\n";
            text += refusal([&] { (void)loop->create_task(echo_once()); }) + "\n";
            text += refusal([&] { remote.call_soon_threadsafe([] {}); }) + "\n";
            waiting.cancel();
            pending.set_result(3);
            loop->close();
            loop.reset();
            text += weft::run(echo_once);
        } catch (const std::exception& error) {
            text = error.what();
        }
        child->end(text);
    }
    const std::string words = child->words();
    const std::string why = ": the event loop belongs to the parent of this forked process\n";
    CHECK(words == "run" + why + "run" + why + "call_soon" + why + "create_task" + why +
                       "call_soon_threadsafe: the event loop is closed\nfresh!");
    put(ends.b.get(), "kept");
    const std::string text = loop->run_until_complete(waiting);
    CHECK(text == "kept");
    child.reset();
}

WEFT_TEST_CASE("children that are forked while files and connections are under way disturb nobody",
               "[fork]") {
    for (int round = 0; round < 20; ++round) {
        const Fd file = nameless_file(std::string(100'000, 'x'));
        Pair ends = tcp_pair();
        auto reading = create_task(read_exactly, ends.a.get(), std::size_t{300'000});
        auto writing = create_task([&]() -> Coro<void> {
            const std::string text(100'000, 'y');
            for (int count = 0; count < 3; ++count) co_await send_all(ends.b.get(), text);
        });
        auto storing = create_task([&]() -> Coro<std::size_t> {
            const std::string text(70'000, 'z');
            const std::size_t wrote = co_await io::write_at(file.get(), text, 5);
            co_await io::fsync(file.get());
            co_return wrote;
        });
        co_await turns(round % 5);
        Child child;
        if (child.here()) {
            ends.a.reset();
            child.end(weft::run(echo_once));
        }
        const std::size_t stored = co_await storing;
        CHECK(stored == 70'000);
        const std::string got = co_await reading;
        CHECK(got == std::string(300'000, 'y'));
        co_await writing;
        const std::string words = child.words();
        CHECK(words == "fresh!");
    }
}

// --- what outlives the run ---

namespace {

using Kept = std::shared_ptr<void>;

/// Beside it a task that waits in `wait(*it)`, and begins to before this returns.
template <class T, class Wait>
Coro<Kept> awaited(std::shared_ptr<T> it, Wait wait) {
    (void)create_task(wait, std::ref(*it));
    co_await turns(3);
    co_return it;
}

/// The other ends, which stay open.
std::vector<Fd>& far_ends() {
    static std::vector<Fd> all;
    return all;
}
Fd near_end() {
    Pair ends = unix_pair(SOCK_STREAM | SOCK_NONBLOCK);
    far_ends().push_back(std::move(ends.b));
    return std::move(ends.a);
}

/// `make` has it on the loop's mind: a timer is set, something is watched, a task waits.
struct Outlives {
    const char* name;
    Coro<Kept> (*make)();
};

const Outlives outlives[] = {
    {"Alarm",
     []() -> Coro<Kept> {
         const auto it = std::make_shared<weft::Alarm>([] {});
         it->set_after(std::chrono::hours(1));
         co_return it;
     }},
    {"FdWatch",
     []() -> Coro<Kept> {
         static const Fd end = near_end();
         const auto it = std::make_shared<weft::FdWatch>(end.get(), [](weft::FdEvents) {});
         it->want(weft::FdEvents::read);
         co_await turns(3);
         co_return it;
     }},
    {"FdWatch whose turn comes next",
     []() -> Coro<Kept> {
         static const Fd end = near_end();
         const auto it = std::make_shared<weft::FdWatch>(end.get(), [](weft::FdEvents) {});
         it->want(weft::FdEvents::read_write);
         co_await turns(3);
         co_return it;
     }},
    {"TimerHandle",
     []() -> Coro<Kept> {
         auto* const it = new weft::TimerHandle(
             weft::get_running_loop().call_later(std::chrono::hours(1), [] {}));
         co_return Kept(it, [](weft::TimerHandle* timer) {
             timer->cancel();
             delete timer;
         });
     }},
    {"Stream",
     [] {
         return awaited(std::make_shared<weft::Stream>(near_end()),
                        [](weft::Stream& it) -> Coro<void> { (void)co_await it.read_chunk(); });
     }},
    {"Stream that has been read",
     []() -> Coro<Kept> {
         const auto it = std::make_shared<weft::Stream>(near_end());
         put(far_ends().back().get(), "x");
         (void)co_await it->read_chunk();
         co_await turns(3);
         co_return it;
     }},
    {"Datagram",
     [] {
         auto ends = weft::Datagram::pair();
         static weft::Datagram other = std::move(ends.second);
         return awaited(std::make_shared<weft::Datagram>(std::move(ends.first)),
                        [](weft::Datagram& it) -> Coro<void> {
                            char byte[1];
                            (void)co_await it.receive_from(byte);
                        });
     }},
    {"Server",
     []() -> Coro<Kept> {
         auto handler = [](weft::Stream) -> Coro<void> { co_return; };
         weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
         const auto it = std::make_shared<weft::Server>(std::move(server));
         co_await turns(3);
         co_return it;
     }},
    {"SignalStream",
     [] {
         return awaited(std::make_shared<weft::SignalStream>(weft::SignalSet(SIGUSR1)),
                        [](weft::SignalStream& it) -> Coro<void> { (void)co_await it.next(); });
     }},
    {"RateLimiter",
     [] {
         return awaited(std::make_shared<weft::RateLimiter>(0.001),
                        [](weft::RateLimiter& it) -> Coro<void> {
                            co_await it.acquire();
                            co_await it.acquire();
                        });
     }},
    {"Event",
     [] {
         return awaited(std::make_shared<weft::Event>(),
                        [](weft::Event& it) -> Coro<void> { co_await it.wait(); });
     }},
    {"Lock",
     [] {
         return awaited(std::make_shared<weft::Lock>(), [](weft::Lock& it) -> Coro<void> {
             co_await it.acquire();
             co_await it.acquire();
         });
     }},
    {"Queue",
     [] {
         return awaited(std::make_shared<weft::Queue<int>>(),
                        [](weft::Queue<int>& it) -> Coro<void> { (void)co_await it.get(); });
     }},
    {"Event that is set",
     []() -> Coro<Kept> {
         auto* const it = new weft::Event;
         auto waits = [](weft::Event& event) -> Coro<void> { co_await event.wait(); };
         for (int count = 0; count < 3; ++count) (void)create_task(waits, std::ref(*it));
         co_await turns(3);
         co_return Kept(it, [](weft::Event* event) {
             event->set();
             delete event;
         });
     }},
    {"Semaphore that is released",
     []() -> Coro<Kept> {
         auto* const it = new weft::Semaphore(0);
         auto waits = [](weft::Semaphore& of) -> Coro<void> { co_await of.acquire(); };
         for (int count = 0; count < 3; ++count) (void)create_task(waits, std::ref(*it));
         co_await turns(3);
         co_return Kept(it, [](weft::Semaphore* of) {
             of->release();
             delete of;
         });
     }},
    {"Future that is set",
     []() -> Coro<Kept> {
         auto* const it = new weft::Future<int>(weft::create_future<int>());
         auto waits = [](weft::Future<int> of) -> Coro<void> { (void)co_await of; };
         for (int count = 0; count < 3; ++count) (void)create_task(waits, *it);
         it->add_done_callback([](const weft::Future<int>&) {});
         co_await turns(3);
         co_return Kept(it, [](weft::Future<int>* of) {
             if (!of->done()) of->set_result(3);  // (the end of the run cancels it)
             delete of;
         });
     }},
    {"Task that is cancelled",
     []() -> Coro<Kept> {
         auto sleeps = []() -> Coro<void> { co_await weft::sleep(std::chrono::hours(1)); };
         auto* const it = new weft::Task<void>(create_task(sleeps));
         auto waits = [](weft::Task<void> of) -> Coro<void> { co_await of; };
         (void)create_task(waits, *it);
         co_await turns(3);
         co_return Kept(it, [](weft::Task<void>* task) {
             task->cancel("of the child");
             delete task;
         });
     }},
};

}  // namespace

TEST_CASE("in a forked child what outlives the run may go after it", "[fork]") {
    for (const Outlives& row : outlives) {
        INFO(row.name);
        std::optional<Child> child;
        Kept kept;
        try {
            weft::run([&]() -> Coro<void> {
                kept = co_await row.make();
                child.emplace();
            });
        } catch (const weft::RuntimeError&) {  // in the child
        }
        REQUIRE(child);
        kept.reset();
        if (child->here()) child->end("gone");
        const std::string words = child->words();
        CHECK(words == "gone");
    }
}

TEST_CASE("in a forked child what has known its parent's loop may go after that loop", "[fork]") {
    for (const Outlives& row : outlives) {
        INFO(row.name);
        auto loop = std::make_unique<weft::EventLoop>();
        auto make = [&row]() -> Coro<Kept> { co_return co_await row.make(); };
        Kept kept = loop->run_until_complete(make());
        Child child;
        loop.reset();
        kept.reset();
        if (child.here()) child.end("gone");
        const std::string words = child.words();
        CHECK(words == "gone");
    }
}

}  // namespace fork_test
