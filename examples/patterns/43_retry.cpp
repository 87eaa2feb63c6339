// SPDX-License-Identifier: MIT
// A service that fails now and then and must not be asked too often: retry and RateLimiter.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

using namespace std::chrono_literals;

class Service {
public:
    weft::Coro<int> price(const std::string& article) {
        co_await limiter_.acquire();  // each call counts, the repeated ones too
        const int call = ++calls_;
        co_await weft::sleep(1ms);
        fmt::print("call {}: {}\n", call, article);
        if (article == "nothing") throw std::invalid_argument("no such article");
        if (call % 3 != 0) throw std::runtime_error("busy");
        co_return 100 + call;
    }

private:
    weft::RateLimiter limiter_{100, 2};  // a hundred per second, two at once
    int calls_ = 0;
};

bool worth_another_call(const std::exception_ptr& failure, int) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::invalid_argument&) {
        return false;
    } catch (...) {
        return true;
    }
}

weft::Coro<void> use_retry() {
    Service service;
    weft::RetryOptions patient(5, 4ms);  // five calls; pauses of 4, 8, 16, ... ms
    patient.when = &worth_another_call;
    auto price = [&service](const std::string& article) { return service.price(article); };

    const int result = co_await weft::retry(std::move(patient), price, std::string("tea"));
    fmt::print("tea: {}\n", result);

    weft::RetryOptions again(5, 4ms);
    again.when = &worth_another_call;
    try {
        co_await weft::retry(std::move(again), price, std::string("nothing"));
    } catch (const std::invalid_argument& error) {
        fmt::print("nothing: {}\n", error.what());
    }
}

int main() { weft::run(use_retry()); }
