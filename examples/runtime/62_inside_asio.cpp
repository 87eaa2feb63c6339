// SPDX-License-Identifier: MIT
// needs: asio.hpp
// A weft loop in a program whose loop is Asio's: its descriptor and its deadline wait there, and
// each of them lets it take a turn.
#include <weft/weft.hpp>

#include <fmt/core.h>

#include <asio.hpp>
#include <chrono>
#include <functional>

using namespace std::chrono_literals;

namespace {

class WeftInAsio {
public:
    explicit WeftInAsio(asio::io_context& host)
        : host_(host), readable_(host, runner_.get_loop().fd()), timer_(host) {}
    ~WeftInAsio() {
        readable_.release();  // the descriptor is the loop's own
    }
    weft::EventLoop& loop() { return runner_.get_loop(); }
    /// After whatever else has touched the loop: what was begun is seen, and the waits are set
    /// anew.
    void look() {
        const weft::TimePoint deadline = loop().next_deadline();
        if (deadline <= loop().time()) {
            if (!posted_) asio::post(host_, [this] { take_turn(); });
            posted_ = true;
            return;
        }
        if (deadline != weft::TimePoint::max()) {
            timer_.expires_at(deadline);
            timer_.async_wait([this](const std::error_code& error) {
                if (!error) take_turn();
            });
        }
        if (waits_) return;
        waits_ = true;
        readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                             [this](const std::error_code& error) {
                                 waits_ = false;
                                 if (!error) take_turn();
                             });
    }
    void close() {
        timer_.cancel();
        readable_.cancel();
        runner_.close();
    }

private:
    void take_turn() {
        posted_ = false;
        if (loop().is_closed()) return;
        loop().run_once();
        if (!host_.stopped()) look();
    }

    weft::Runner runner_;
    asio::io_context& host_;
    asio::posix::stream_descriptor readable_;
    asio::steady_timer timer_;
    bool waits_ = false;
    bool posted_ = false;
};

weft::Coro<void> work(asio::io_context& host) {
    for (int step = 1; step <= 3; ++step) {
        co_await weft::sleep(2ms);
        const int squared = co_await weft::to_thread([step] { return step * step; });
        fmt::print("weft: {}\n", squared);
    }
    host.stop();
}

}  // namespace

int main() {
    asio::io_context host;
    WeftInAsio weft_in_asio(host);
    asio::steady_timer own(host, 3ms);
    own.async_wait([](const std::error_code&) { fmt::print("Asio\n"); });
    auto task = weft_in_asio.loop().create_task(work(host));
    weft_in_asio.look();
    host.run();
    weft_in_asio.close();
    fmt::print("done\n");
}
