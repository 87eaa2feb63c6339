// SPDX-License-Identifier: MIT
// A cache in Redis in front of something slow: what many ask for at once is made once, what one
// process changes the others hear of (publish and subscribe) and forget, and an hour of trouble at
// the cache costs time and no answers. Starts a redis-server of its own where no host is named.
//     redis_cache cache.example.com
// needs: weft::redis
#include <fmt/format.h>
#include <weft/fs.hpp>
#include <weft/process.hpp>
#include <weft/redis.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

using namespace std::chrono_literals;

/// Prices by article: first in this process, then in Redis, then made.
class Prices {
public:
    explicit Prices(const weft::redis::Options& options) : redis_(options) {}

    weft::Coro<std::string> get(std::string article) {
        if (const auto known = here_.find(article); known != here_.end()) co_return known->second;
        auto look = [this](std::string name) { return fetch(name); };
        std::string price = co_await asked_.run(article, look, article);
        co_return price;
    }

    weft::Coro<void> change(std::string article, std::string price) {
        co_await redis_.set("price:" + article, price, 1h);
        co_await redis_.publish("changed", article);
    }

    /// Runs beside everything else: forgets what others change.
    weft::Coro<void> listen(weft::Event& ready) {
        weft::redis::Subscription changes = co_await redis_.subscribe("changed");
        ready.set();
        for (;;) {
            const weft::redis::Message message = co_await changes.next();
            here_.erase(message.payload);
            fmt::print("{} has changed\n", message.payload);
        }
    }

    int made() const { return made_; }

private:
    weft::Coro<std::string> fetch(std::string article) {
        try {
            std::optional<std::string> cached = co_await redis_.get("price:" + article);
            if (!cached) {
                cached = co_await make(article);
                co_await redis_.set("price:" + article, *cached, 1h);
            }
            here_[article] = *cached;
            co_return *cached;
        } catch (const weft::redis::Error& error) {
            fmt::print("without the cache: {}\n", error.what());
        }
        std::string price = co_await make(article);
        co_return price;
    }

    weft::Coro<std::string> make(const std::string& article) {
        ++made_;
        co_await weft::sleep(20ms);  // something slow
        co_return fmt::format("{} EUR", article.size() * 10);
    }

    weft::redis::Client redis_;
    weft::Singleflight<std::string, std::string> asked_;
    std::map<std::string, std::string> here_;
    int made_ = 0;
};

weft::Coro<void> shop(weft::redis::Options options) {
    Prices prices(options);
    co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
        weft::Event listening;
        group.create_task([&] { return prices.listen(listening); });
        co_await listening.wait();
        auto ask = [&](int) { return prices.get("tea"); };
        const std::vector<int> customers(100);
        const std::vector<std::string> answers = co_await weft::map_limit(customers, 100, ask);
        fmt::print("100 asked for tea: {}, made {} time\n", answers.back(), prices.made());
        co_await prices.change("tea", "3 EUR");
        std::string tea = answers.back();
        while (tea == answers.back()) {  // until the message is there
            co_await weft::sleep(1ms);
            tea = co_await prices.get("tea");
        }
        fmt::print("tea: {}, still made {} time\n", tea, prices.made());
        group.cancel();
    });
    options.unix_path = "/nowhere/redis.sock";
    options.reconnect.attempts = 1;
    Prices alone(options);
    const std::string coffee = co_await alone.get("coffee");
    fmt::print("coffee: {}\n", coffee);
}

weft::Coro<void> with_a_server_of_our_own() {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    weft::redis::Options options;
    options.unix_path = folder.path() + "/redis.sock";
    weft::ProcessOptions quiet;
    quiet.out = weft::Stdio::null();
    std::optional<weft::Process> server;
    try {
        server.emplace(co_await weft::create_subprocess_exec(
            "redis-server", "--port", "0", "--save", "", "--unixsocket", options.unix_path, "--dir",
            folder.path(), quiet));
    } catch (const std::system_error& error) {
        fmt::print("skipped: {}\n", error.what());
        co_return;
    }
    weft::redis::Client redis(options);
    co_await redis.connect();  // tries until the server is there
    co_await shop(options);
}

int main(int argc, char** argv) {
    if (argc > 1) {
        weft::run(shop(weft::redis::Options(argv[1])));
    } else {
        weft::run(with_a_server_of_our_own());
    }
}
