// SPDX-License-Identifier: MIT
// A weft loop inside another loop, here a plain one of epoll(7): that one sleeps, and ours takes a
// turn when there is something to do. And the other way round: the descriptor of a library that
// knows nothing of weft, in a loop of weft.
#include <weft/weft.hpp>

#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

using namespace std::chrono_literals;

namespace {

weft::Coro<int> count_to(int last) {
    weft::Interval ticker(2ms);
    for (int number = 1; number <= last; ++number) {
        co_await ticker.tick();
        fmt::print("weft: {}\n", number);
    }
    co_return last;
}

/// The host: an epoll loop with work of its own, and with a guest.
int be_the_guest() {
    weft::Runner runner;  // for a proper end: see close()
    weft::EventLoop& guest = runner.get_loop();
    const weft::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, guest.fd(), &event);

    auto main = guest.create_task(count_to(3));
    while (!main.done()) {
        // Right before the wait: how long may the host sleep?
        const weft::TimePoint deadline = guest.next_deadline();
        int timeout = -1;
        if (deadline != weft::TimePoint::max()) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - guest.time());
            timeout = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
        }
        ::epoll_wait(epoll.get(), &event, 1, timeout);  // (and here its own descriptors)
        guest.run_once();
    }
    const int result = main.result();
    runner.close();  // tasks that are left are cancelled and awaited
    return result;
}

/// A library as there are many: "here is my descriptor, call me when it can be read from".
class TimerLibrary {
public:
    TimerLibrary() : timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) {
        itimerspec every{};
        every.it_interval.tv_nsec = every.it_value.tv_nsec = 2'000'000;
        ::timerfd_settime(timer_.get(), 0, &every, nullptr);
    }
    int descriptor() const { return timer_.get(); }
    void process() {
        std::uint64_t times = 0;
        if (::read(timer_.get(), &times, sizeof times) == sizeof times) ++calls_;
    }
    int calls() const { return calls_; }

private:
    weft::Fd timer_;
    int calls_ = 0;
};

weft::Coro<void> be_the_host() {
    weft::EventLoop& loop = weft::get_running_loop();
    TimerLibrary library;
    weft::Event enough;
    loop.add_reader(library.descriptor(), [&] {
        library.process();
        fmt::print("library: call {}\n", library.calls());
        if (library.calls() == 3) enough.set();
    });
    co_await enough.wait();
    loop.remove_reader(library.descriptor());
}

}  // namespace

int main() {
    if (be_the_guest() != 3) return 1;
    weft::run(be_the_host);
    fmt::print("done\n");
}
