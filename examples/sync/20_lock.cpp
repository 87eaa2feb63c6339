// SPDX-License-Identifier: MIT
// A lock around an account: between reading the balance and writing it back, the task waits.
#include <fmt/format.h>
#include <weft/sync/lock.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <vector>

using namespace std::chrono_literals;

struct Account {
    int balance = 100;
    weft::Lock lock;
};

weft::Coro<void> withdraw(Account& account, int amount) {
    auto guard = co_await account.lock.scoped();
    const int balance = account.balance;
    if (balance < amount) {
        fmt::print("{} refused, the balance is {}\n", amount, balance);
        co_return;  // the guard lets the next one in, on every way out
    }
    co_await weft::sleep(10ms);  // ask the bank; without the lock the others would see 100 now
    account.balance = balance - amount;
    fmt::print("{} paid, {} left\n", amount, account.balance);
}

weft::Coro<void> day() {
    Account account;
    std::vector<weft::Task<void>> tasks;
    for (const int amount : {60, 30, 50, 10}) {
        tasks.push_back(weft::create_task(withdraw(account, amount)));
    }
    for (auto& task : tasks) co_await task;  // served in the order of arrival
    if (account.lock.try_acquire()) {
        fmt::print("closed with {}\n", account.balance);
        account.lock.release();
    }
}

int main() { weft::run(day()); }
