// SPDX-License-Identifier: MIT
// timeout: 60
// Random programs of low-level operations, cancels, closes, resets and signals against a model of
// the bytes. WEFT_FUZZ_SEED and WEFT_FUZZ_ROUNDS choose others than the usual ones.
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "descriptors.hpp"
#include "fuzz_model.hpp"
#include "fuzz_operations.hpp"

namespace fuzz_operations_test {

using namespace fuzz;
using support::Pair;

namespace {

// UBSan's check of virtual calls opens a pipe of its own, and takes a failure for a bad pointer.
#ifndef WEFT_FUZZ_SHORTAGE
constexpr bool with_shortage = WEFT_ASAN == 0;
#else
constexpr bool with_shortage = WEFT_FUZZ_SHORTAGE;
#endif

// --- the world ---

void add_pair(World& world, Kind kind, bool nonblocking) {
    if (world.shortage) return;
    const fuzz::NoSignals quiet;
    Pair pair = kind == Kind::tcp           ? support::tcp_pair()
                : kind == Kind::unix_socket ? support::unix_pair()
                                            : support::pipe_pair();
    for (const Fd* const fd : {&pair.a, &pair.b}) {
        if (nonblocking) support::make_nonblocking(fd->get());
        // Small, so that they fill up.
        const int size = 4096;
        if (kind != Kind::pipe && world.dice.chance(50))
            ::setsockopt(fd->get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    End& a = world.ends.emplace_back();
    End& b = world.ends.emplace_back();
    a.kind = b.kind = kind;
    a.fd = pair.a.release();
    b.fd = pair.b.release();
    a.peer = &b;
    b.peer = &a;
    a.closing = std::make_shared<bool>(false);
    b.closing = std::make_shared<bool>(false);
    a.in = b.out = &world.directions.emplace_back();
    if (kind != Kind::pipe) b.in = a.out = &world.directions.emplace_back();
    for (End* const end : {&a, &b}) {
        if (kind != Kind::pipe && world.dice.chance(25))
            end->stream = std::make_unique<weft::Stream>(Fd(end->fd));
    }
}

/// Books what the close of an end means for both.
void note_closed(End& end, bool reset) {
    *end.closing = true;
    end.fd = -1;
    const bool tcp = end.kind == Kind::tcp;
    if (end.in) end.in->broken = true;
    if (end.out) {
        end.out->ended = true;
        // (TCP answers what comes after a close with a reset, which overtakes data.)
        if (reset || tcp) end.out->broken = true;
    }
    end.peer->may_pipe = true;
    end.peer->may_reset = end.is_socket();
}

Coro<void> close_end(World& world, End& end) {
    const int fd = end.fd;
    const bool reset = end.kind == Kind::tcp && world.dice.chance(30);
    if (reset) support::reset_on_close(fd);
    note_closed(end, reset);
    const bool idle = end.pending == 0 && world.dice.chance(50);
    if (end.stream) {
        // Its standing receive may be pending, and the number is closed after that.
        if (idle) {
            end.stream.reset();
        } else {
            co_await end.stream->close();
        }
    } else if (idle) {
        Fd(fd).reset();
    } else {
        co_await io::close(fd);
    }
}

class Renumbering {
public:
    Renumbering(End& end, int fd) noexcept : end_(end), fd_(fd) {}
    Renumbering(const Renumbering&) = delete;
    Renumbering& operator=(const Renumbering&) = delete;
    ~Renumbering() {
        end_.closing = std::make_shared<bool>(false);
        end_.fd = fd_;
    }

private:
    End& end_;
    int fd_;
};

/// The end goes on under another number; who waits under the old one is told.
Coro<void> renumber(World& world, End& end) {
    if (world.shortage || end.stream) co_return;
    const int old = end.fd;
    const int fd = ::fcntl(old, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) co_return;
    *end.closing = true;
    end.fd = -1;
    const Renumbering renumbering(end, fd);  // (also when the loop is destroyed)
    co_await io::close(old);
    // (The order of operations is promised for one number only.)
    for (int turns = 0; end.pending > 0 && turns < 6'000; ++turns) {
        if (turns < 1'000) {
            co_await weft::yield();
        } else {
            co_await weft::sleep(std::chrono::milliseconds(1));
        }
    }
    if (end.pending > 0)
        world.problem("an operation outlives the close of its number " + std::to_string(old) +
                      ":\n" + weft::get_running_loop().dump());
}

void shut(World& world, End& end) {
    if (!end.is_socket()) return;
    const int how = world.dice.one_of(SHUT_RD, SHUT_WR, SHUT_RDWR);
    if (::shutdown(end.fd, how) != 0 && errno != ENOTCONN) world.problem("shutdown");
    if (how != SHUT_RD) {
        end.out->ended = true;
        end.may_pipe = true;
    }
    if (how != SHUT_WR) {
        end.in->ended = end.in->broken = true;
        end.peer->may_pipe = true;
        // TCP: what comes for an end that is shut both ways is answered with a reset.
        if (end.kind == Kind::tcp) {
            end.out->broken = true;
            end.may_reset = end.peer->may_reset = true;
        }
    }
}

Coro<void> pause(World& world) {
    const std::size_t kind = world.dice.below(10);
    if (kind < 8) {
        for (std::size_t turns = world.dice.below(6); turns > 0; --turns) co_await weft::yield();
    } else {
        co_await weft::sleep(std::chrono::microseconds(world.dice.below(200)));
    }
}

/// One operation on some end, by a task of its own.
Coro<void> act_once(World& world, Actor& actor) {
    try {
        const std::size_t what = world.dice.below(3);
        End* const end = some_end(world, [](const End& of) { return !of.stream; });
        if (!end) co_return;
        if (what == 0 && end->in) co_return co_await receive(world, actor, *end);
        if (what == 1 && end->out) co_return co_await transmit(world, actor, *end);
        co_return co_await wait_ready(world, actor, *end);
    } catch (const CancelledError&) {
        struck(world, actor);
    }
}

/// More operations at once than a small ring has room for.
void crowd(World& world) {
    for (std::size_t count = 10 + world.dice.below(100); count > 0; --count) {
        Actor& actor = world.actors.emplace_back();
        actor.number = nobody;
        actor.task = weft::create_task(act_once(world, actor));
    }
}

/// Disturbs the others for a while.
Coro<void> disturb(World& world) {
    for (int count = 0; count < 60; ++count) {
        co_await pause(world);
        End* const end = some_end(world, [](const End&) { return true; });
        const std::size_t what = world.dice.below(100);
        if (what < 60) {
            // (Of a crowd many at once.)
            for (std::size_t more = 1 + world.actors.size() / 50; more > 0; --more) {
                Actor& actor = world.actors[world.dice.below(world.actors.size())];
                if (actor.task.cancel()) actor.asked = true;
            }
        } else if (what < 66 && end) {
            co_await close_end(world, *end);
        } else if (what < 72 && end) {
            co_await renumber(world, *end);
        } else if (what < 76 && end) {
            shut(world, *end);
        } else if (what < 78) {
            crowd(world);
        } else if (what < 84) {
            add_pair(world, world.dice.one_of(Kind::tcp, Kind::unix_socket, Kind::pipe),
                     world.dice.chance(50));
        } else if (what < 90 && with_shortage) {
            if (world.shortage) {
                world.shortage.end();
            } else {
                world.shortage.begin();
                world.shortage_seen = true;
            }
        }
    }
    world.shortage.end();
}

// --- the end of a program ---

/// Reads through the end, in line behind the others who read.
Coro<void> read_through(World& world, Actor& actor, End& end) {
    Direction& way = *end.in;
    while (end.stream && !way.complete && !world.dying) {
        if (end.fd < 0) co_return;
        if (end.reading) {
            co_await weft::yield();
        } else {
            co_await receive_from_stream(world, actor, end);
        }
    }
    while (!way.complete && !world.dying) {
        const Use reading(end.reads);
        std::string buffer(1 + world.dice.below(60'000), '\0');
        const int fd = end.fd;
        if (fd < 0) co_return;
        const std::shared_ptr<bool> closing = end.closing;
        const std::size_t index = way.read_starts();
        const auto outcome = co_await attempt<std::size_t>(world, actor, "read ",
                                                           [&] { return io::read(fd, buffer); });
        check_error(world, "read", end, *closing, outcome.error);
        if (outcome.error != 0) co_return;
        if (outcome.untold) way.may_have_read(index, buffer.size());
        if (!outcome.value) continue;
        way.read(index, buffer.substr(0, *outcome.value));
        if (*outcome.value == 0) way.complete = true;
    }
}

bool all_done(const World& world) {
    for (const Actor& actor : world.actors) {
        if (!actor.task.done()) return false;
    }
    return true;
}

/// What TCP still takes for an end that was shut for reading, when those who read have been told
/// its end: nobody else would make room for the writers.
void make_room(World& world) {
    char buffer[65'536];
    for (End& end : world.ends) {
        if (end.fd < 0 || !end.in || !end.in->complete || end.kind != Kind::tcp) continue;
        if (end.reads > 0) continue;  // it would take what those get
        for (;;) {
            const ssize_t got = ::recv(end.fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (got <= 0) break;
            // Whoever begins to read later, out of a crowd, gets what comes after it; of a stream
            // what it holds already, and then that.
            if (end.stream) {
                end.in->lose_count();
            } else {
                end.in->read(end.in->read_starts(),
                             std::string_view(buffer, static_cast<std::size_t>(got)));
            }
        }
    }
}

/// What the kernel knows of the ends, for whoever reads a failure.
std::string describe_ends(const World& world) {
    std::string text;
    for (const End& end : world.ends) {
        if (end.fd < 0) continue;
        pollfd now{end.fd, POLLIN | POLLOUT | POLLRDHUP, 0};
        ::poll(&now, 1, 0);
        text += "  " + std::to_string(end.fd) + " -> " + std::to_string(end.peer->fd) + ", " +
                names[static_cast<int>(end.kind)] + (end.stream ? " stream" : "") +
                ": poll answers " + std::to_string(now.revents) + ", " +
                std::to_string(end.pending) + " operations, " + std::to_string(end.writing) +
                " write" + (end.in && end.in->complete ? ", read to its end" : "") + "\n";
    }
    return text;
}

/// Nothing is cancelled any more: whatever waits on bytes, room or an end gets it.
Coro<void> end_in_peace(World& world) {
    world.stop = true;
    for (Actor& actor : world.actors) {
        // (Nobody ends these otherwise.)
        if (actor.connects && actor.task.cancel()) actor.asked = true;
    }
    for (End& end : world.ends) {
        if (end.fd < 0 || !end.in) continue;
        Actor& reader = world.actors.emplace_back();
        reader.number = nobody;
        reader.task = weft::create_task(read_through(world, reader, end));
    }
    for (int turns = 0; !all_done(world) && turns < 20'000; ++turns) {
        for (End& end : world.ends) {
            if (end.fd < 0 || end.writing > 0 || (end.out && end.out->ended)) continue;
            if (!end.out) continue;
            end.out->ended = true;
            if (end.is_socket()) {
                if (::shutdown(end.fd, SHUT_WR) != 0 && errno != ENOTCONN)
                    world.problem("shutdown");
                end.may_pipe = true;
            } else {
                co_await close_end(world, end);
            }
        }
        make_room(world);
        if (turns < 200) {
            co_await weft::yield();
        } else {
            co_await weft::sleep(std::chrono::milliseconds(1));
        }
    }
    if (!all_done(world)) {
        world.problem("somebody waits for ever:\n" + weft::get_running_loop().dump() +
                      describe_ends(world));
        for (Actor& actor : world.actors) {
            actor.asked = true;
            actor.task.cancel();
        }
    }
}

Coro<void> end_by_cancels(World& world) {
    world.stop = true;
    for (Actor& actor : world.actors) {
        if (actor.task.cancel()) actor.asked = true;
        if (world.dice.chance(30)) co_await weft::yield();
    }
}

Coro<void> end_by_closes(World& world) {
    world.stop = true;
    if (world.listener) co_await io::close(std::move(world.listener));
    for (End& end : world.ends) {
        if (end.fd >= 0) co_await close_end(world, end);
    }
    // Files and connects end on their own, or not.
    co_await end_by_cancels(world);
}

/// What is still in the kernel when nobody reads any more.
void read_what_is_left(World& world, Direction& way) {
    if (way.broken || way.complete) return;
    End* reader = nullptr;
    for (End& end : world.ends) {
        if (end.in == &way) reader = &end;
    }
    if (!reader || reader->fd < 0) return;
    if (reader->stream) {
        way.broken = true;  // what has arrived is in the stream
        return;
    }
    if (End& writer = *reader->peer; writer.fd >= 0) {
        if (writer.is_socket()) {
            ::shutdown(writer.fd, SHUT_WR);
        } else {
            ::close(std::exchange(writer.fd, -1));
        }
    }
    char buffer[65'536];
    for (;;) {
        pollfd one{reader->fd, POLLIN, 0};
        const int ready = ::poll(&one, 1, 2'000);
        if (ready < 0 && errno == EINTR) continue;
        const ssize_t got = ready > 0 ? ::read(reader->fd, buffer, sizeof buffer) : -1;
        if (got < 0 && ready > 0 && errno == EINTR) continue;
        // (A Unix peer that went without having read everything is told after the data.)
        if (got < 0 && ready > 0 && errno == ECONNRESET && reader->may_reset) break;
        if (got < 0)
            return world.problem(std::string("what was sent does not end: ") +
                                 names[static_cast<int>(reader->kind)] + ", " +
                                 (ready > 0 ? std::strerror(errno) : "silence"));
        way.read(way.read_starts(), std::string_view(buffer, static_cast<std::size_t>(got)));
        if (got == 0) break;
    }
    way.complete = true;
}

std::string whole_file(int fd) {
    std::string text(1 << 20, '\0');
    const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
    text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return text;
}

void check_all(World& world) {
    check_connections(world);
    for (Direction& way : world.directions) read_what_is_left(world, way);
    for (const End& end : world.ends) {
        if (end.in) end.in->check(names[static_cast<int>(end.kind)], world.problems);
    }
    world.logged.read(world.logged.read_starts(), whole_file(world.log.get()));
    world.logged.complete = true;
    world.logged.check("file written", world.problems);
    world.leafed.check("file read", world.problems);
    const std::string file = whole_file(world.file.get());
    for (const Actor& actor : world.actors) {
        if (actor.number == nobody) continue;
        const std::size_t size = actor.region.size();
        if (!is_region(actor, std::string_view(file).substr(actor.number * size, size)))
            world.problem("the file holds something else than was written");
    }
    if (!world.graveyard.is_quiet()) world.problem("the kernel wrote into memory given back");
}

void close_all(World& world) {
    for (End& end : world.ends) {
        if (end.fd >= 0 && !end.stream) ::close(end.fd);
        end.fd = -1;
        end.stream.reset();
    }
}

void prepare(World& world) {
    Dice& dice = world.dice;
    for (std::size_t pairs = 1 + dice.below(4); pairs > 0; --pairs) {
        add_pair(world, dice.one_of(Kind::tcp, Kind::unix_socket, Kind::pipe), dice.chance(50));
    }
    world.actors.resize(2 + dice.below(9));
    for (std::size_t number = 0; number < world.actors.size(); ++number)
        world.actors[number].number = number;
    const std::string content = numbered_bytes(77, 100'000);
    world.file = support::nameless_file(std::string(4096 * world.actors.size(), '\0'));
    world.log = support::nameless_file();
    world.book = support::nameless_file(content);
    world.leafed.wrote(world.leafed.write_starts(), content);
    if (dice.chance(60)) {
        support::Listener listening = dice.chance(50)
                                          ? support::tcp_listener()
                                          : support::unix_listener(static_cast<int>(dice.below(3)));
        world.listener = std::move(listening.fd);
        world.address = listening.address;
    }
}

Coro<void> program(World& world) {
    for (Actor& actor : world.actors) actor.task = weft::create_task(act(world, actor));
    co_await disturb(world);
    switch (world.dice.below(4)) {
        case 0:
            co_await end_by_cancels(world);
            break;
        case 1:
            co_await end_by_closes(world);
            break;
        case 2:
            // The end of `run` cancels whoever is left.
            world.stop = world.dying = true;
            co_return;
        default:
            co_await end_in_peace(world);
    }
    for (Actor& actor : world.actors) co_await actor.task.wait();
}

weft::RunOptions some_options(Dice& dice) {
    weft::RunOptions options;
    options.virtual_time = dice.chance(50);
    options.hang_limit = std::chrono::seconds(5);
    options.ring_entries = dice.one_of(2U, 4U, 8U, 256U);
    return options;
}

std::string run_program(std::uint64_t seed) {
    World world(seed);
    const weft::testing::DescriptorCensus before;
    {
        const fuzz::SignalStorm signals(world.dice.chance(30));
        prepare(world);
        weft::RunOptions options = some_options(world.dice);
        try {
            if (world.dice.chance(25)) {
                // Destroyed where it stands.
                weft::EventLoop loop(options);
                Task<void> task = loop.create_task(program(world));
                for (std::size_t step = world.dice.below(300); step > 0 && !task.done(); --step)
                    loop.run_once(*task.core());
                world.shortage.end();
                world.stop = world.dying = true;
            } else {
                weft::run([&] { return program(world); }, options);
            }
        } catch (const std::exception& error) {
            world.problem(error.what());
        }
        world.shortage.end();
    }
    for (Actor& actor : world.actors) {
        // (There is none when the program did not begin.)
        if (actor.task && !actor.task.done()) world.problem("a task has outlived its loop");
    }
    check_all(world);
    close_all(world);
    world.file.reset();
    world.log.reset();
    world.book.reset();
    world.listener.reset();
    world.clients.clear();
    world.accepted.clear();
    const std::string leaked = before.leaked();
    if (!leaked.empty()) world.problem("leaked: " + leaked);
    return world.problems.text();
}

}  // namespace

#if defined __OPTIMIZE__ && !WEFT_ASAN
constexpr std::uint64_t usual_rounds = 200;
#else
constexpr std::uint64_t usual_rounds =
    60;  // the others are done where they take a third of the time
#endif

TEST_CASE("random programs of operations lose no byte, no descriptor and no wake-up", "[fuzz]") {
    const std::uint64_t first = fuzz::setting("WEFT_FUZZ_SEED", 1);
    const std::uint64_t rounds = fuzz::setting("WEFT_FUZZ_ROUNDS", usual_rounds);
    const bool all = fuzz::setting("WEFT_FUZZ_ALL", 0) != 0;
    int failures = 0;
    for (std::uint64_t seed = first; seed < first + rounds; ++seed) {
        INFO("WEFT_FUZZ_SEED=" << seed);  // (for a crash)
        const std::string problems = run_program(seed);
        if (problems.empty()) continue;
        ++failures;
        UNSCOPED_INFO("WEFT_FUZZ_SEED=" << seed << " WEFT_FUZZ_ROUNDS=1:\n" << problems);
        if (!all) break;
        std::fprintf(stderr, "seed %llu:\n%s", static_cast<unsigned long long>(seed),
                     problems.c_str());
    }
    CHECK(failures == 0);
}

}  // namespace fuzz_operations_test
