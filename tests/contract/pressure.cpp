// SPDX-License-Identifier: MIT
// Under pressure: no descriptors left, bursts larger than the ring, starvation, spinning, huge
// lengths.
#include <weft/net/io.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace pressure_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

// UBSan's check of virtual calls opens a pipe of its own, and takes a failure for a bad pointer.
constexpr bool sanitizer_needs_descriptors = WEFT_ASAN != 0;

/// Three gigabytes of addresses without memory behind them until they are touched.
class Reserve {
public:
    static constexpr std::size_t size = std::size_t{3} << 30;
    Reserve()
        : at_(::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
    Reserve(const Reserve&) = delete;
    Reserve& operator=(const Reserve&) = delete;
    ~Reserve() {
        if (*this) ::munmap(at_, size);
    }
    explicit operator bool() const noexcept { return at_ != MAP_FAILED; }
    char* data() const noexcept { return static_cast<char*>(at_); }

private:
    void* at_;
};

}  // namespace

WEFT_TEST_CASE("without a descriptor left accept and open are EMFILE, and the loop lives",
               "[pressure]") {
    if (sanitizer_needs_descriptors) co_return;
    const Listener listener = tcp_listener();
    const Fd client = connected_to(listener.address);
    Pair ends = unix_pair();
    // The first file operation of a loop may need a descriptor for itself.
    const Fd first = co_await io::open("/dev/null", O_RDONLY);
    {
        const support::FewDescriptors none(0);
        const Failure accept = co_await failure([&] { return io::accept(listener.fd.get()); });
        CHECK(accept.error == EMFILE);
        CHECK(accept.names("accept fd "));
        const Failure open = co_await failure([&] { return io::open("/dev/null", O_RDONLY); });
        CHECK(open.error == EMFILE);
        CHECK(open.names("open"));
        auto reader = create_task(recv_some(ends.a.get(), 8));
        co_await turns(3);
        put(ends.b.get(), "alive");
        const std::string got = co_await std::move(reader);
        CHECK(got == "alive");
    }
    const io::Accepted connection = co_await io::accept(listener.fd.get());
    CHECK(connection.fd.get() >= 0);
}

TEST_CASE("a loop that cannot have the descriptors it needs is a named error", "[pressure]") {
    if (sanitizer_needs_descriptors) return;
    const weft::testing::DescriptorCensus before;
    for (int spare = 0; spare < 3; ++spare) {
        CAPTURE(spare);
        const support::FewDescriptors few(spare);
        std::string what = "none";
        try {
            weft::EventLoop loop(weft::testing::options());
        } catch (const std::system_error& error) {
            what = error.what();
        }
        const bool named = what == "none" || what.find("io_uring_setup") != std::string::npos ||
                           what.find("epoll_create1") != std::string::npos ||
                           what.find("eventfd") != std::string::npos;
        CAPTURE(what);
        CHECK(named);
        if (spare == 0) CHECK(what != "none");
    }
    CHECK(before.leaked() == "");
}

WEFT_TEST_CASE("the first file operation without a descriptor left is an error and not the end",
               "[pressure]") {
    if (sanitizer_needs_descriptors) co_return;
    Pair ends = unix_pair();
    {
        const support::FewDescriptors none(0);
        const Failure open = co_await failure([&] { return io::open("/dev/null", O_RDONLY); });
        CHECK(open.error == EMFILE);
    }
    const Fd fd = co_await io::open("/dev/null", O_RDONLY);
    CHECK(fd.get() >= 0);
}

WEFT_TEST_CASE("a burst of a thousand completions at once loses none", "[pressure]") {
    constexpr std::size_t count = 1000;
    std::vector<Pair> pairs;
    std::vector<weft::Task<std::string>> readers;
    for (std::size_t index = 0; index < count; ++index) {
        pairs.push_back(index % 2 ? unix_pair() : pipe_pair());
        readers.push_back(create_task(read_some(pairs.back().a.get(), 16)));
    }
    for (int round = 0; round < 3; ++round) {
        co_await turns(3);
        for (std::size_t index = 0; index < count; ++index)
            put(pairs[index].b.get(), std::to_string(index));
        std::size_t right = 0;
        for (std::size_t index = 0; index < count; ++index) {
            const std::string got = co_await readers[index];
            if (got == std::to_string(index)) ++right;
            readers[index] = create_task(read_some(pairs[index].a.get(), 16));
        }
        CHECK(right == count);
    }
    for (auto& reader : readers) reader.cancel();
    for (auto& reader : readers) co_await reader.wait();
}

WEFT_TEST_CASE("a loop with other work takes completions by the dozen, not a few a turn",
               "[pressure]") {
    constexpr std::size_t count = 200;
    std::vector<Pair> pairs;
    std::vector<weft::Task<std::string>> reading;
    for (std::size_t index = 0; index < count; ++index) {
        pairs.push_back(unix_pair());
        reading.push_back(create_task(recv_some, pairs.back().a.get(), std::size_t{8}, 0));
    }
    co_await turns(3);
    for (const Pair& pair : pairs) put(pair.b.get(), "x");
    int needed = 0;
    const auto all_done = [&] {
        return std::all_of(reading.begin(), reading.end(), [](auto& task) { return task.done(); });
    };
    while (!all_done() && needed < 100) {
        ++needed;
        co_await weft::yield();
    }
    // (20 a turn with one entry each. A ring of two has no room for more than four completions.)
    const bool small_ring = std::getenv("WEFT_URING_ENTRIES") != nullptr;
    CHECK(needed < (small_ring ? 100 : 8));
    for (auto& task : reading) {
        const std::string text = co_await task;
        REQUIRE(text == "x");
    }
}

WEFT_TEST_CASE("a thousand cancels in one turn are all answered", "[pressure]") {
    Pair ends = unix_pair();
    std::vector<weft::Task<std::string>> readers;
    for (int index = 0; index < 1000; ++index)
        readers.push_back(create_task(recv_some(ends.a.get(), 1)));
    co_await turns(2);
    put(ends.b.get(), "0123456789");
    std::size_t received = 0;
    for (auto& reader : readers) reader.cancel();
    for (auto& reader : readers) {
        const End end = co_await ending(reader);
        if (end == End::value) received += reader.result().size();
    }
    CHECK(received + drain(ends.a.get()).size() == 10);
}

WEFT_TEST_CASE("a socket that always has data does not hold others back", "[pressure]") {
    Pair busy = unix_pair();
    Pair other = unix_pair();
    bool stop = false;
    long steps = 0;
    auto endless = [&]() -> weft::Coro<void> {
        char byte;
        while (!stop) {
            co_await io::send(busy.b.get(), "x");
            co_await io::recv(busy.a.get(), weft::MutableBuffer(&byte, 1));
            ++steps;
        }
    };
    long others = 0;
    auto ping = [&]() -> weft::Coro<void> {
        while (!stop) {
            ++others;
            co_await weft::yield();
        }
    };
    auto first = create_task(endless);
    auto second = create_task(ping);
    auto third = create_task(ping);
    auto reader = create_task(recv_some(other.a.get(), 8));
    co_await turns(2);
    put(other.b.get(), "seen");
    // Bounds in turns, each of which is one step of ours.
    int waited = 0;
    while (!reader.done() && waited < 100) {
        ++waited;
        co_await weft::yield();
    }
    CHECK(waited <= 4);
    const long before = steps;
    co_await turns(100);
    // A step goes on without a turn 64 times at most; each round here is two operations.
    CHECK(steps - before <= 100 * 64);
    CHECK(steps > before);
    CHECK(others >= 200);
    stop = true;
    co_await first;
    co_await second;
    co_await third;
    co_await reader;
}

TEST_CASE("a timer is not held back by an always-ready pair of tasks or socket", "[pressure]") {
    // Real time: what counts is that the sleep ends at all, within a bound in turns after it is
    // due.
    bool stop = false;
    weft::run([&]() -> weft::Coro<void> {
        Pair busy = unix_pair();
        auto endless = [&]() -> weft::Coro<void> {
            char byte;
            while (!stop) {
                co_await io::send(busy.b.get(), "x");
                co_await io::recv(busy.a.get(), weft::MutableBuffer(&byte, 1));
            }
        };
        int turns_after_due = -1;
        weft::EventLoop& loop = weft::get_running_loop();
        const weft::TimePoint due = loop.time() + std::chrono::milliseconds(2);
        auto watch = [&]() -> weft::Coro<void> {
            while (!stop) {
                if (weft::Clock::now() >= due) ++turns_after_due;
                co_await weft::yield();
            }
        };
        auto first = create_task(endless);
        auto second = create_task(watch);
        co_await weft::sleep_until(due);
        stop = true;
        CHECK(turns_after_due <= 3);
        co_await first;
        co_await second;
    });
}

WEFT_TEST_CASE("a million sleeps take few kernel entries", "[pressure]") {
    weft::EventLoop& loop = weft::get_running_loop();
    const std::uint64_t before = loop.kernel_entries();
    auto sleeper = [](int first) -> weft::Coro<void> {
        for (int index = 0; index < 1000; ++index)
            co_await weft::sleep(std::chrono::microseconds(first + index % 7));
    };
    std::vector<weft::Task<void>> tasks;
    for (int index = 0; index < 1000; ++index) tasks.push_back(create_task(sleeper, 1 + index % 5));
    for (auto& task : tasks) co_await task;
    CHECK(loop.kernel_entries() - before < 20'000);
}

TEST_CASE("short sleeps do not spin", "[pressure]") {
    weft::run([]() -> weft::Coro<void> {
        weft::EventLoop& loop = weft::get_running_loop();
        Pair ends = unix_pair();
        auto reader = create_task(recv_some(ends.a.get(), 8));
        co_await turns(2);
        for (const int microseconds : {50, 500, 5000}) {
            CAPTURE(microseconds);
            const std::uint64_t before = loop.kernel_entries();
            for (int index = 0; index < 10; ++index)
                co_await weft::sleep(std::chrono::microseconds(microseconds));
            CHECK(loop.kernel_entries() - before <= 40);
        }
        put(ends.b.get(), "x");
        co_await reader;
    });
}

TEST_CASE("waiting for what does not come does not spin", "[pressure]") {
    weft::run([]() -> weft::Coro<void> {
        weft::EventLoop& loop = weft::get_running_loop();
        // Each of these has a condition that holds all the time, and that nobody waits for.
        Pair half = unix_pair();
        checked(::shutdown(half.b.get(), SHUT_WR), "shutdown");
        fill(half.a.get());
        auto send = create_task(send_all(half.a.get(), "x"));
        Pair data = unix_pair();
        put(data.b.get(), "unread");
        fill(data.a.get());
        auto other = create_task(send_all(data.a.get(), "x"));
        BusyListener busy(unix_listener(0));
        const Fd client = new_socket(AF_UNIX, SOCK_NONBLOCK);
        auto connecting = create_task([&]() -> weft::Coro<void> {
            co_await io::connect(client.get(), busy.listener.address);
        });
        co_await turns(10);
        const std::uint64_t before = loop.kernel_entries();
        co_await weft::sleep(std::chrono::milliseconds(20));
        CHECK(loop.kernel_entries() - before <= 60);
        for (auto* task : {&send, &other, &connecting}) task->cancel();
        for (auto* task : {&send, &other, &connecting}) co_await task->wait();
    });
}

WEFT_TEST_CASE("lengths over 2 GiB are cut and not wrapped", "[pressure]") {
    const Reserve reserve;
    if (!reserve) co_return;  // no address space (a limit, or a sanitizer)
    const Fd file = nameless_file("small");
    const std::size_t from_file =
        co_await io::read(file.get(), weft::MutableBuffer(reserve.data(), Reserve::size));
    CHECK(from_file == 5);
    const std::size_t at =
        co_await io::read_at(file.get(), weft::MutableBuffer(reserve.data(), Reserve::size), 1);
    CHECK(at == 4);
    Pair ends = unix_pair();
    put(ends.b.get(), "small");
    const std::size_t received =
        co_await io::recv(ends.a.get(), weft::MutableBuffer(reserve.data(), Reserve::size));
    CHECK(received == 5);
    const Fd null = co_await io::open("/dev/null", O_WRONLY);
    const std::size_t written =
        co_await io::write(null.get(), weft::ConstBuffer(reserve.data(), Reserve::size));
    CHECK(written == 0x7ffff000);
    // Exactly 4 GiB: the low 32 bits are 0, which would look like an empty buffer.
    const std::size_t whole =
        co_await io::write(null.get(), weft::ConstBuffer(reserve.data(), std::size_t{1} << 32));
    CHECK(whole == 0x7ffff000);
}

}  // namespace pressure_test
