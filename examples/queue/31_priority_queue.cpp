// SPDX-License-Identifier: MIT
// The most urgent job first; jobs that are equally urgent in the order in which they came.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <string>
#include <utility>

struct Ticket {
    Ticket(int ticket_priority, std::string ticket_title)
        : priority(ticket_priority), title(std::move(ticket_title)) {}
    // What is smaller comes first.
    friend bool operator<(const Ticket& a, const Ticket& b) noexcept {
        return a.priority < b.priority;
    }

    int priority;
    std::string title;
};

weft::Coro<void> work_off(weft::PriorityQueue<Ticket>& tickets) {
    try {
        for (;;) {
            const Ticket ticket = co_await tickets.get();
            fmt::print("P{} {}\n", ticket.priority, ticket.title);
        }
    } catch (const weft::QueueShutDown&) {
        fmt::print("no tickets are left\n");
    }
}

weft::Coro<void> run_help_desk() {
    weft::PriorityQueue<Ticket> tickets;
    co_await tickets.put(Ticket(3, "new keyboard"));
    co_await tickets.put(Ticket(2, "slow printer"));
    co_await tickets.put(Ticket(1, "server room is on fire"));
    co_await tickets.put(Ticket(2, "forgotten password"));
    co_await tickets.put(Ticket(1, "data centre is under water"));
    tickets.shutdown();  // no more tickets today; those that are there are worked off
    co_await work_off(tickets);
}

int main() { weft::run(run_help_desk()); }
