// SPDX-License-Identifier: MIT
// Requests that carry the way for their reply: one task owns the accounts, all others ask it.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <map>
#include <string>
#include <utility>

struct Deposit {
    Deposit(std::string who, int how_much, weft::Oneshot<int>::Sender reply_to)
        : owner(std::move(who)), amount(how_much), balance(std::move(reply_to)) {}
    std::string owner;
    int amount;
    weft::Oneshot<int>::Sender balance;
};

weft::Coro<void> keep_accounts(weft::Channel<Deposit>::Receiver deposits) {
    std::map<std::string, int> accounts;
    while (auto deposit = co_await deposits.recv()) {
        if (deposit->amount <= 0) continue;  // not answered: whoever waits gets ChannelClosed
        int& balance = accounts[deposit->owner];
        balance += deposit->amount;
        // The one who asked may have given up meanwhile; that is no error here.
        (void)deposit->balance.try_send(balance);
    }
}

weft::Coro<int> pay_in(weft::Channel<Deposit>::Sender bank, std::string owner, int amount) {
    weft::Oneshot<int> balance;
    Deposit deposit(std::move(owner), amount, std::move(balance.sender));
    co_await bank.send(std::move(deposit));
    co_return co_await balance.receiver.recv();
}

weft::Coro<void> use_bank() {
    weft::Channel<Deposit> bank(8);
    const auto clerk = weft::create_task(keep_accounts(std::move(bank.receiver)));
    int balance = co_await pay_in(bank.sender, "ann", 100);
    fmt::print("ann has {}\n", balance);
    balance = co_await pay_in(bank.sender, "bob", 20);
    fmt::print("bob has {}\n", balance);
    balance = co_await pay_in(bank.sender, "ann", 50);
    fmt::print("ann has {}\n", balance);
    try {
        balance = co_await pay_in(bank.sender, "bob", -20);
    } catch (const weft::ChannelClosed& error) {
        fmt::print("bob's deposit was refused: {}\n", error.what());
    }
    bank.sender.close();
    co_await clerk;
}

int main() { weft::run(use_bank()); }
