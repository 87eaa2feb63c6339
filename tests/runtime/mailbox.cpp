// SPDX-License-Identifier: MIT
// The wake-up protocol itself, the real code on atomics that try every interleaving and every
// reordering that its memory orders allow: no post and no wake-up is lost, nobody rings a bell that
// is gone; and each check and each order is needed, since without it the search finds what goes
// wrong.
// sanitizers: no, the search switches stacks behind their backs
#include <weft/runtime/detail/mailbox.hpp>
#include <weft/testing/catch.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "interleavings.hpp"

namespace mailbox_test {

using support::model::Access;
using support::model::Atomic;
using support::model::expect;
using support::model::Mutation;
using support::model::Plain;
using support::model::World;

namespace {

struct Node {
    Node* next = nullptr;
    Plain<int> text;  // what a post carries
};

/// With an eventfd that counts, and can be closed.
class Box : public weft::detail::Mailbox<Box, Node, Atomic> {
public:
    void ring() {
        expect(bell_is_there_.get(), "a bell rings that is gone");
        bell_.exchange(1, std::memory_order_acq_rel);
    }
    static void give_way() { World::here->give_way(); }

    void sleep() {
        World::here->block_until([this] { return bell_.visible() != 0; });
        bell_.exchange(0, std::memory_order_acq_rel);
    }
    void take_bell_away() { bell_is_there_.set(false); }

private:
    Atomic<int> bell_{0};  // place 2: `head_` is 0, `state_` 1
    Plain<bool> bell_is_there_{true};
};

constexpr int most_posts = 4;

/// In static memory, so that every run has the same addresses.
struct Stage {
    alignas(Box) std::byte box_memory[sizeof(Box)];
    std::array<Node, most_posts> nodes;
    std::array<int, most_posts> taken;
    std::array<bool, most_posts> refused;

    Box& box() { return *reinterpret_cast<Box*>(box_memory); }
    void begin() {
        ::new (static_cast<void*>(box_memory)) Box;
        nodes = {};
        taken = {};
        refused = {};
    }
    int take(Node* newest) {
        int count = 0;
        for (Node* node = newest; node; node = node->next, ++count) {
            expect(node->text.get() == 42, "a post arrives without its text");
            ++taken[static_cast<std::size_t>(node - nodes.data())];
        }
        return count;
    }
    void post(std::size_t index) {
        nodes[index].text.set(42);
        refused[index] = !box().push(nodes[index]);
    }
};
Stage stage;

/// A loop that sleeps until it has everything; each of the posters posts so many times.
World::Program posts_wake(std::size_t posters, std::size_t posts) {
    stage.begin();
    World::Program program;
    const int all = static_cast<int>(posters * posts);
    program.threads.push_back([all] {
        for (int got = 0;;) {
            if (!stage.box().empty()) got += stage.take(stage.box().take());
            if (got == all) return;
            if (!stage.box().prepare_to_sleep()) continue;
            stage.box().sleep();
            stage.box().woke_up();
        }
    });
    for (std::size_t poster = 0; poster < posters; ++poster) {
        program.threads.push_back([poster, posts] {
            for (std::size_t i = 0; i < posts; ++i) stage.post(poster * posts + i);
        });
    }
    program.at_the_end = [all] {
        for (int i = 0; i < all; ++i)
            expect(stage.taken[static_cast<std::size_t>(i)] == 1, "a post is taken once");
    };
    return program;
}

/// A loop that closes, having slept before or not; the bell goes with it.
World::Program posts_meet_a_close(std::size_t posters, bool sleeps) {
    stage.begin();
    World::Program program;
    program.threads.push_back([sleeps] {
        if (sleeps && stage.box().prepare_to_sleep()) {
            stage.box().sleep();
            stage.box().woke_up();
        }
        stage.take(stage.box().take());
        // (A loop that the kernel has failed closes without having woken up.)
        static_cast<void>(stage.box().prepare_to_sleep());
        stage.take(stage.box().shut());
        stage.box().take_bell_away();
    });
    for (std::size_t poster = 0; poster < posters; ++poster)
        program.threads.push_back([poster] { stage.post(poster); });
    program.at_the_end = [posters] {
        for (std::size_t i = 0; i < posters; ++i)
            expect(stage.taken[i] + stage.refused[i] == 1, "a post is taken or refused");
    };
    return program;
}

Mutation weaker(int place, Access access, std::memory_order from, std::memory_order to,
                int thread = -1) {
    Mutation mutation;
    mutation.place = place;
    mutation.access = access;
    mutation.from = from;
    mutation.to = to;
    mutation.thread = thread;
    return mutation;
}

constexpr int head = 0, state = 1;
constexpr int the_loop = 0;
constexpr auto seq_cst = std::memory_order_seq_cst, acq_rel = std::memory_order_acq_rel,
               release = std::memory_order_release, acquire = std::memory_order_acquire,
               relaxed = std::memory_order_relaxed;

}  // namespace

TEST_CASE("no interleaving of posts and sleeps loses a post or a wake-up", "[mailbox]") {
    const auto one = World::explore([] { return posts_wake(1, 2); });
    INFO(one.runs << " runs, " << one.states << " states");
    CHECK(one.failure.empty());
    CHECK(one.states > 500);
    const auto two = World::explore([] { return posts_wake(2, 1); });
    INFO(two.runs << " runs, " << two.states << " states");
    CHECK(two.failure.empty());
    CHECK(two.states > one.states);
}

TEST_CASE("a post that meets a close is taken or refused, and rings no bell that is gone",
          "[mailbox]") {
    const auto one = World::explore([] { return posts_meet_a_close(1, true); });
    CHECK(one.failure.empty());
    const auto two = World::explore([] { return posts_meet_a_close(2, false); });
    INFO(two.runs << " runs, " << two.states << " states");
    CHECK(two.failure.empty());
}

TEST_CASE("every order and every check of the protocol is needed", "[mailbox]") {
    const struct {
        const char* what;
        Mutation mutation;
        bool at_close;
        const char* found;
    } rows[] = {
        {"the push is no longer sequentially consistent",
         weaker(head, Access::modify, seq_cst, acq_rel), false, "a thread waits for ever"},
        {"the look at who sleeps is not", weaker(state, Access::load, seq_cst, acquire), false,
         "a thread waits for ever"},
        {"to say that one sleeps is not", weaker(state, Access::store, seq_cst, release), false,
         "a thread waits for ever"},
        {"the last look before the sleep is not",
         weaker(head, Access::load, seq_cst, acquire, the_loop), false, "a thread waits for ever"},
        {"there is no last look",
         [] {
             Mutation none = weaker(head, Access::load, seq_cst, seq_cst, the_loop);
             none.replaces_value = true;
             return none;
         }(),
         false, "a thread waits for ever"},
        {"nobody looks at who sleeps",
         [] {
             Mutation none = weaker(state, Access::load, seq_cst, seq_cst);
             none.replaces_value = true;
             return none;
         }(),
         false, "a thread waits for ever"},
        {"the push does not release", weaker(head, Access::modify, seq_cst, relaxed), false, ""},
        {"the taking does not acquire", weaker(head, Access::modify, acquire, relaxed), false,
         "data is used that another thread may not have written yet"},
        {"who rings does not say so before",
         [] {
             Mutation awake = weaker(state, Access::modify, acquire, acquire);
             awake.replaces_value = true;
             return awake;
         }(),
         true, "data is written while another thread reads it"},
        {"the end of the ringing is not released", weaker(state, Access::store, release, relaxed),
         true, "data is written while another thread reads it"},
        {"the close does not acquire", weaker(head, Access::modify, acq_rel, release), true,
         "data is used that another thread may not have written yet"},
    };
    for (const auto& row : rows) {
        const auto report = World::explore(
            [&] { return row.at_close ? posts_meet_a_close(2, true) : posts_wake(1, 2); },
            row.mutation);
        INFO(row.what << ": found '" << report.failure << "' in " << report.runs << " runs");
        CHECK_FALSE(report.failure.empty());
        if (*row.found) CHECK(report.failure == row.found);
    }
}

}  // namespace mailbox_test
