// SPDX-License-Identifier: MIT
// Ends of pairs, files and connections, and what a task of the fuzz does with them: each operation
// books what it moved, and every error has to be one that was to be expected.
#pragma once

#include <weft/deadline/move_on_after.hpp>
#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "descriptors.hpp"
#include "fuzz_model.hpp"
#include "probe.hpp"

namespace fuzz {

using weft::CancelledError;
using weft::Coro;
using weft::Fd;
using weft::Task;
namespace io = weft::io;

enum class Kind { tcp, unix_socket, pipe };
inline constexpr const char* names[] = {"TCP", "Unix", "pipe"};

/// One end of a pair, under a number that may change.
struct End {
    bool is_socket() const noexcept { return kind != Kind::pipe; }
    Kind kind = Kind::pipe;
    int fd = -1;  // -1: closed
    Direction* in = nullptr;
    Direction* out = nullptr;
    End* peer = nullptr;
    std::shared_ptr<bool> closing;  // of this number, shared with the operations on it
    bool may_pipe = false;          // EPIPE is no surprise
    bool may_reset = false;         // nor is ECONNRESET
    int writing = 0;
    int reads = 0;                           // of its bytes, that have not ended
    int pending = 0;                         // operations that have not ended
    std::unique_ptr<weft::Stream> stream{};  // has the number, and reads chunks
    bool reading = false;                    // of the stream
};

/// Counts an operation on an end for as long as it lasts.
class Use {
public:
    explicit Use(int& count) noexcept : count_(count) { ++count_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() { --count_; }

private:
    int& count_;
};

inline constexpr std::size_t nobody = ~std::size_t{0};  // a reader that has no part of the file

/// Bytes of a region of the file.
struct Part {
    std::size_t from;
    std::string bytes;
};

struct Actor {
    Task<void> task;
    std::size_t number = 0;
    bool connects = false;
    bool asked = false;                            // cancelled, and it has not seen that yet
    std::string region = std::string(4096, '\0');  // what its part of the file holds
    std::optional<Part> untold{};                  // or this as well, or its beginning
};

struct World {
    explicit World(std::uint64_t seed) : dice(seed) {}
    void problem(const std::string& text) { problems.add(text); }

    Dice dice;
    fuzz::Problems problems;
    fuzz::Graveyard graveyard;
    fuzz::Shortage shortage;
    std::deque<End> ends;
    std::deque<Direction> directions;
    std::deque<Actor> actors;
    Fd file;  // a region for each actor
    Fd log;   // written at its own position
    Direction logged;
    Fd book;  // read at its own position
    Direction leafed;
    Fd listener;
    weft::Address address;
    std::vector<Fd> clients;
    std::vector<Fd> accepted;
    std::vector<std::uint16_t> connected_ports;
    std::vector<std::uint16_t> accepted_ports;
    std::size_t untold_accepts = 0;
    std::uint64_t writes = 0;
    bool stop = false;   // actors end after what they do now
    bool dying = false;  // the loop ends
    bool shortage_seen = false;
};

// --- one operation ---

template <class T>
struct Outcome {
    Outcome() noexcept {}
    std::optional<T> value{};
    int error = 0;
    bool untold = false;  // it may have happened: only the end of the loop is told to a leftover
};

inline void struck(World& world, Actor& actor) {
    if (!actor.asked && !world.dying) world.problem("cancelled and nobody had asked");
    actor.asked = false;
}

/// Awaits what `start()` returns, perhaps with a deadline. No value and no error: cancelled.
template <class T, class Start>
Coro<Outcome<T>> attempt(World& world, Actor& actor, const char* name, Start start) {
    Outcome<T> outcome;
    try {
        if (world.dice.chance(15)) {
            const std::chrono::microseconds limit{world.dice.below(300)};
            auto result = co_await weft::move_on_after(limit, start);
            if constexpr (std::is_same_v<T, bool>) {
                if (result) outcome.value = true;
            } else {
                if (result) outcome.value = std::move(*result);
            }
        } else if constexpr (std::is_same_v<T, bool>) {
            co_await start();
            outcome.value = true;
        } else {
            T result = co_await start();
            outcome.value = std::move(result);
        }
    } catch (const CancelledError&) {
        struck(world, actor);
        outcome.untold = world.dying;
    } catch (const std::system_error& error) {
        outcome.error = error.code().value();
        const std::string what = error.what();
        if (outcome.error <= 0 || what.compare(0, std::strlen(name), name) != 0)
            world.problem(what + ": no error of " + name);
    }
    co_return outcome;
}

/// Is this what the file holds where the actor has written?
inline bool is_region(const Actor& actor, std::string_view holds) {
    std::string expected = actor.region;
    if (actor.untold) {
        const auto& [from, bytes] = *actor.untold;
        // The new bytes as far as they came.
        std::size_t came = 0;
        while (came < bytes.size() && holds[from + came] == bytes[came]) ++came;
        expected.replace(from, came, bytes, 0, came);
    }
    return holds == expected;
}

/// Was this error to be expected of an operation on `end`?
inline void check_error(World& world, const char* name, const End& end, bool closing, int error) {
    if (error == 0) return;
    if (error == ECANCELED && closing) return;
    if (error == EPIPE && end.may_pipe) return;
    if (error == ECONNRESET && end.may_reset) return;
    world.problem(std::string(name) + " on " + names[static_cast<int>(end.kind)] + ": " +
                  std::strerror(error));
}

inline Coro<void> receive(World& world, Actor& actor, End& end) {
    const Use use(end.pending);
    const Use reading(end.reads);
    Dice& dice = world.dice;
    Direction& way = *end.in;
    const auto size = dice.one_of(std::size_t{1}, std::size_t{3}, std::size_t{100},
                                  std::size_t{4096}, std::size_t{70'000});
    std::string buffer(size, '\0');
    const std::shared_ptr<bool> closing = end.closing;
    const int fd = end.fd;
    const bool receives = end.is_socket() && dice.chance(70);
    int flags = 0;
    if (dice.chance(15)) flags |= MSG_WAITALL;
    if (dice.chance(10)) flags |= MSG_PEEK;
    const std::size_t index = way.read_starts();
    Outcome<std::size_t> outcome;
    if (receives) {
        outcome = co_await attempt<std::size_t>(world, actor, "recv ",
                                                [&] { return io::recv(fd, buffer, flags); });
    } else {
        flags = 0;
        outcome = co_await attempt<std::size_t>(world, actor, "read ",
                                                [&] { return io::read(fd, buffer); });
    }
    check_error(world, receives ? "recv" : "read", end, *closing, outcome.error);
    if (outcome.value) {
        const std::string_view got(buffer.data(), *outcome.value);
        if (*outcome.value > size) world.problem("more bytes than asked for");
        if (got.empty() && !way.ended) world.problem("an end and nobody had ended");
        if (flags & MSG_PEEK) {
            way.peeked(index, got);
        } else {
            way.read(index, got);
            if (got.empty()) way.complete = true;
        }
    } else if (outcome.untold && !(flags & MSG_PEEK)) {
        way.may_have_read(index, size);
    }
    world.graveyard.bury(std::move(buffer));
}

inline Coro<std::string> chunk_of(weft::Stream& stream) {
    const weft::Chunk chunk = co_await stream.read_chunk();
    co_return std::string(chunk.view());
}
inline Coro<std::string> exactly(weft::Stream& stream, std::size_t count) {
    try {
        co_return co_await stream.read_exactly(count);
    } catch (const weft::IncompleteReadError& error) {
        co_return error.partial();
    }
}
inline Coro<std::string> some_of(weft::Stream& stream, std::size_t most) {
    std::string text(most, '\0');
    const std::size_t got = co_await stream.read(text);
    text.resize(got);
    co_return text;
}

/// (One reader at a time.)
inline Coro<void> receive_from_stream(World& world, Actor& actor, End& end) {
    const Use use(end.pending);
    const Use reading(end.reads);
    Direction& way = *end.in;
    const std::shared_ptr<bool> closing = end.closing;
    end.reading = true;
    const std::size_t kind = world.dice.below(10);
    const std::size_t size = 1 + world.dice.below(300);
    const std::size_t index = way.read_starts();
    const auto outcome = co_await attempt<std::string>(world, actor, "recv ", [&] {
        return kind < 6   ? chunk_of(*end.stream)
               : kind < 8 ? some_of(*end.stream, size)
                          : exactly(*end.stream, size);
    });
    end.reading = false;
    check_error(world, "stream", end, *closing, outcome.error);
    if (outcome.untold) way.may_have_read(index, size);
    if (!outcome.value) co_return;
    way.read(index, *outcome.value);
    const bool ended = kind < 8 ? outcome.value->empty() : outcome.value->size() < size;
    if (ended && !way.ended) world.problem("a stream's end and nobody had ended");
    if (ended) way.complete = true;
}

/// (One writer at a time: the parts of a write are sent one by one.)
inline Coro<void> transmit_to_stream(World& world, Actor& actor, End& end) {
    const Use use(end.pending);
    const auto size = world.dice.one_of(std::size_t{1}, std::size_t{900}, std::size_t{150'000});
    std::string data = numbered_bytes(++world.writes, size);
    const std::shared_ptr<bool> closing = end.closing;
    const std::size_t index = end.out->write_starts();
    const std::uint64_t before = end.stream->written();
    ++end.writing;
    const auto outcome =
        co_await attempt<bool>(world, actor, "send ", [&] { return end.stream->write(data); });
    --end.writing;
    check_error(world, "stream", end, *closing, outcome.error);
    const std::size_t sent = end.stream->written() - before;
    if (sent > size || (outcome.value && sent != size)) world.problem("a write that wrote less");
    end.out->wrote(index, std::string_view(data.data(), std::min(size, sent)));
    world.graveyard.bury(std::move(data));
}

inline Coro<void> transmit(World& world, Actor& actor, End& end) {
    const Use use(end.pending);
    Dice& dice = world.dice;
    Direction& way = *end.out;
    const auto size = dice.one_of(std::size_t{1}, std::size_t{7}, std::size_t{900},
                                  std::size_t{5000}, std::size_t{150'000});
    std::string data = numbered_bytes(++world.writes, size);
    const std::shared_ptr<bool> closing = end.closing;
    const int fd = end.fd;
    const bool sends = end.is_socket() && dice.chance(70);
    const int flags = dice.chance(20) ? MSG_WAITALL : 0;
    const std::size_t index = way.write_starts();
    ++end.writing;
    Outcome<std::size_t> outcome;
    if (sends) {
        outcome = co_await attempt<std::size_t>(world, actor, "send ",
                                                [&] { return io::send(fd, data, flags); });
    } else {
        outcome = co_await attempt<std::size_t>(world, actor, "write ",
                                                [&] { return io::write(fd, data); });
    }
    --end.writing;
    check_error(world, sends ? "send" : "write", end, *closing, outcome.error);
    if (outcome.value) {
        if (*outcome.value > size || *outcome.value == 0) world.problem("a strange length sent");
        way.wrote(index, std::string_view(data.data(), std::min(size, *outcome.value)));
    } else if (outcome.untold) {
        way.may_have_written(index, data);
    }
    world.graveyard.bury(std::move(data));
}

inline Coro<void> wait_ready(World& world, Actor& actor, End& end) {
    const Use use(end.pending);
    const std::shared_ptr<bool> closing = end.closing;
    const int fd = end.fd;
    const auto mask =
        static_cast<short>(world.dice.one_of(POLLIN, POLLOUT, POLLIN | POLLOUT, POLLRDHUP));
    const Outcome<short> outcome =
        co_await attempt<short>(world, actor, "poll ", [&] { return io::poll(fd, mask); });
    check_error(world, "poll", end, *closing, outcome.error);
    if (!outcome.value) co_return;
    const int allowed = mask | POLLERR | POLLHUP | POLLRDHUP;
    if (*outcome.value == 0 || (*outcome.value & ~allowed) != 0)
        world.problem("poll answered " + std::to_string(*outcome.value) + " to " +
                      std::to_string(mask));
}

// --- files ---

/// (The epoll backend starts a thread for files, which needs a descriptor.)
inline void check_file_error(World& world, const char* name, int error) {
    if (error == 0 || (error == EMFILE && world.shortage_seen)) return;
    world.problem(std::string(name) + " of a file: " + std::strerror(error));
}

inline Coro<void> use_region(World& world, Actor& actor) {
    Dice& dice = world.dice;
    const std::size_t from = dice.below(actor.region.size());
    const std::size_t size = 1 + dice.below(actor.region.size() - from);
    const std::uint64_t at = actor.number * actor.region.size() + from;
    if (dice.chance(50)) {
        std::string data = numbered_bytes(++world.writes, size);
        const auto outcome = co_await attempt<std::size_t>(
            world, actor, "write ", [&] { return io::write_at(world.file.get(), data, at); });
        check_file_error(world, "write", outcome.error);
        if (outcome.value) actor.region.replace(from, *outcome.value, data, 0, *outcome.value);
        if (outcome.untold) actor.untold = Part{from, data};
        world.graveyard.bury(std::move(data));
        co_return;
    }
    std::string buffer(size, '!');
    const auto outcome = co_await attempt<std::size_t>(
        world, actor, "read ", [&] { return io::read_at(world.file.get(), buffer, at); });
    check_file_error(world, "read", outcome.error);
    if (outcome.value && buffer.compare(0, *outcome.value, actor.region, from, *outcome.value) != 0)
        world.problem("a file's region holds something else than was written");
    world.graveyard.bury(std::move(buffer));
}

inline Coro<void> use_position(World& world, Actor& actor) {
    Dice& dice = world.dice;
    const std::size_t size = 1 + dice.below(200);
    if (dice.chance(50)) {
        std::string data = numbered_bytes(++world.writes, size);
        const std::size_t index = world.logged.write_starts();
        const auto outcome = co_await attempt<std::size_t>(
            world, actor, "write ", [&] { return io::write(world.log.get(), data); });
        check_file_error(world, "write", outcome.error);
        if (outcome.value) world.logged.wrote(index, data.substr(0, *outcome.value));
        if (outcome.untold) world.logged.may_have_written(index, data);
        world.graveyard.bury(std::move(data));
        co_return;
    }
    std::string buffer(size, '\0');
    const std::size_t index = world.leafed.read_starts();
    const auto outcome = co_await attempt<std::size_t>(
        world, actor, "read ", [&] { return io::read(world.book.get(), buffer); });
    check_file_error(world, "read", outcome.error);
    if (outcome.value) world.leafed.read(index, buffer.substr(0, *outcome.value));
    if (outcome.untold) world.leafed.may_have_read(index, size);
    world.graveyard.bury(std::move(buffer));
}

inline Coro<void> open_and_close(World& world, Actor& actor) {
    Outcome<Fd> outcome =
        co_await attempt<Fd>(world, actor, "open ", [&] { return io::open("/dev/null", O_RDWR); });
    check_file_error(world, "open", outcome.error);
    if (!outcome.value) co_return;
    const int fd = outcome.value->get();
    char byte = 'x';
    const auto wrote = co_await attempt<std::size_t>(
        world, actor, "write ", [&] { return io::write(fd, weft::ConstBuffer(&byte, 1)); });
    check_file_error(world, "write", wrote.error);
    const auto read = co_await attempt<std::size_t>(
        world, actor, "read ", [&] { return io::read(fd, weft::MutableBuffer(&byte, 1)); });
    check_file_error(world, "read", read.error);
    if (read.value && *read.value != 0) world.problem("something came out of /dev/null");
    const auto synced =
        co_await attempt<bool>(world, actor, "fsync ", [&] { return io::fsync(fd); });
    if (synced.error != 0 && synced.error != EINVAL) check_file_error(world, "fsync", synced.error);
    if (world.dice.chance(50)) co_return;
    // (Not with a deadline: closed it is in any case.)
    const int number = outcome.value->release();
    try {
        co_await io::close(number);
    } catch (const CancelledError&) {
        if (!world.dying) world.problem("a close was cancelled");
    }
}

// --- connections ---

inline Coro<void> connect_or_accept(World& world, Actor& actor) {
    if (!world.listener) co_return;
    const bool tcp = world.address.family() == AF_INET;
    actor.connects = true;
    const probe::AtExit no_more([&] { actor.connects = false; });
    if (actor.number % 2 == 0) {
        const int fd = world.listener.get();
        auto outcome =
            co_await attempt<io::Accepted>(world, actor, "accept ", [&] { return io::accept(fd); });
        const bool expected = outcome.error == 0 || (outcome.error == ECANCELED && world.stop) ||
                              (outcome.error == EMFILE && world.shortage_seen);
        if (!expected) world.problem(std::string("accept: ") + std::strerror(outcome.error));
        if (outcome.untold) ++world.untold_accepts;
        if (!outcome.value) co_return;
        if (tcp) world.accepted_ports.push_back(outcome.value->peer.port());
        world.accepted.push_back(std::move(outcome.value->fd));
        co_return;
    }
    Fd socket(::socket(world.address.family(),
                       SOCK_STREAM | SOCK_CLOEXEC | (world.dice.chance(50) ? SOCK_NONBLOCK : 0),
                       0));
    if (!socket) co_return;
    support::reset_on_close(socket.get());
    const int fd = socket.get();
    const auto outcome = co_await attempt<bool>(world, actor, "connect ",
                                                [&] { return io::connect(fd, world.address); });
    const bool refused = outcome.error == ECONNREFUSED || outcome.error == ECONNRESET;
    if (outcome.error != 0 && !(refused && world.stop))
        world.problem(std::string("connect: ") + std::strerror(outcome.error));
    if (!outcome.value) co_return;
    if (tcp) world.connected_ports.push_back(weft::Address::of_socket(fd).port());
    world.clients.push_back(std::move(socket));
}

/// Whoever is connected was accepted, or waits to be, and nobody twice.
inline void check_connections(World& world) {
    if (!world.listener) return;
    const bool tcp = world.address.family() == AF_INET;
    support::make_nonblocking(world.listener.get());
    for (;;) {
        sockaddr_in peer{};
        socklen_t size = sizeof peer;
        Fd next(::accept4(world.listener.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                          SOCK_CLOEXEC));
        if (!next && errno == EINTR) continue;
        if (!next) break;
        if (tcp) world.accepted_ports.push_back(ntohs(peer.sin_port));
        world.accepted.push_back(std::move(next));
    }
    // (One that a leftover has accepted, and was not told of, is closed.)
    if (world.accepted.size() + world.untold_accepts < world.clients.size())
        world.problem("a connection was lost");
    std::vector<std::uint16_t>& ports = world.accepted_ports;
    std::sort(ports.begin(), ports.end());
    if (std::adjacent_find(ports.begin(), ports.end()) != ports.end())
        world.problem("a connection was accepted twice");
    std::size_t missing = 0;
    for (const std::uint16_t port : world.connected_ports) {
        if (std::binary_search(ports.begin(), ports.end(), port)) continue;
        if (++missing > world.untold_accepts)
            world.problem("the connection from port " + std::to_string(port) + " was lost");
    }
}

// --- actors ---

inline End* some_end(World& world, bool (*fits)(const End&)) {
    const std::size_t first = world.dice.below(world.ends.size());
    for (std::size_t step = 0; step < world.ends.size(); ++step) {
        End& end = world.ends[(first + step) % world.ends.size()];
        if (end.fd >= 0 && fits(end)) return &end;
    }
    return nullptr;
}

inline Coro<void> one_operation(World& world, Actor& actor) {
    const std::size_t what = world.dice.below(100);
    if (what < 34) {
        End* const end = some_end(world, [](const End& of) { return of.in && !of.reading; });
        if (!end) co_return;
        if (end->stream) co_return co_await receive_from_stream(world, actor, *end);
        co_return co_await receive(world, actor, *end);
    } else if (what < 68) {
        End* const end = some_end(
            world, [](const End& of) { return of.out && (!of.stream || of.writing == 0); });
        if (!end) co_return;
        if (end->stream) co_return co_await transmit_to_stream(world, actor, *end);
        co_return co_await transmit(world, actor, *end);
    } else if (what < 76) {
        if (End* const end = some_end(world, [](const End&) { return true; }))
            co_return co_await wait_ready(world, actor, *end);
    } else if (what < 82) {
        co_return co_await use_region(world, actor);
    } else if (what < 86) {
        co_return co_await use_position(world, actor);
    } else if (what < 90) {
        co_return co_await open_and_close(world, actor);
    } else {
        co_return co_await connect_or_accept(world, actor);
    }
}

inline Coro<void> act(World& world, Actor& actor) {
    for (int count = 0; count < 40 && !world.stop; ++count) {
        try {
            co_await one_operation(world, actor);
            if (world.dice.chance(40)) co_await weft::yield();
        } catch (const CancelledError&) {
            struck(world, actor);
        } catch (const std::exception& error) {
            world.problem(error.what());
        }
    }
}

}  // namespace fuzz
