// SPDX-License-Identifier: MIT
// One operation of every kind that waits, with nothing to end it: what cancel and teardown tests
// use.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace support {

enum class Kind {
    read_pipe,
    read_nonblocking_pipe,
    read_socket,
    read_eventfd,
    recv,
    recv_datagram,
    recv_peek,
    write_pipe,
    write_nonblocking_pipe,
    send,
    accept,
    accept_nonblocking,
    connect,
    poll_in,
    poll_out,
    poll_errors,
};

inline constexpr std::array every_kind{
    Kind::read_pipe,
    Kind::read_nonblocking_pipe,
    Kind::read_socket,
    Kind::read_eventfd,
    Kind::recv,
    Kind::recv_datagram,
    Kind::recv_peek,
    Kind::write_pipe,
    Kind::write_nonblocking_pipe,
    Kind::send,
    Kind::accept,
    Kind::accept_nonblocking,
    Kind::connect,
    Kind::poll_in,
    Kind::poll_out,
    Kind::poll_errors,
};

inline const char* name_of(Kind kind) {
    static constexpr const char* names[] = {"read (pipe)",
                                            "read (O_NONBLOCK pipe)",
                                            "read (socket)",
                                            "read (eventfd)",
                                            "recv",
                                            "recv (datagram)",
                                            "recv (MSG_PEEK)",
                                            "write (full pipe)",
                                            "write (full O_NONBLOCK pipe)",
                                            "send (full socket)",
                                            "accept",
                                            "accept (O_NONBLOCK)",
                                            "connect (full queue)",
                                            "poll (POLLIN)",
                                            "poll (POLLOUT)",
                                            "poll (errors)"};
    return names[static_cast<unsigned>(kind)];
}

/// The descriptors; `perform` waits on one of them until `release` lets it go.
class Stage {
public:
    Stage()
        : pipe_(pipe_pair()),
          nonblocking_(pipe_pair(O_NONBLOCK)),
          full_pipe_(pipe_pair()),
          full_nonblocking_(pipe_pair(O_NONBLOCK)),
          stream_(unix_pair()),
          full_stream_(unix_pair()),
          datagrams_(unix_pair(SOCK_DGRAM)),
          event_(checked(::eventfd(0, EFD_CLOEXEC), "eventfd")),
          listener_(tcp_listener()),
          nonblocking_listener_(unix_listener()) {
        make_nonblocking(nonblocking_listener_.fd.get());
        fill(full_pipe_.b.get());
        fill(full_nonblocking_.b.get());
        fill(full_stream_.b.get());
    }

    /// Returns what the operation returned.
    weft::Coro<long> perform(Kind kind) {
        namespace io = weft::io;
        switch (kind) {
            case Kind::read_pipe:
                co_return co_await read_from(pipe_.a.get());
            case Kind::read_nonblocking_pipe:
                co_return co_await read_from(nonblocking_.a.get());
            case Kind::read_socket:
                co_return co_await read_from(stream_.a.get());
            case Kind::read_eventfd: {
                std::uint64_t count = 0;
                const std::size_t got =
                    co_await io::read(event_.get(), weft::MutableBuffer(&count, sizeof count));
                co_return static_cast<long>(got);
            }
            case Kind::recv:
                co_return co_await recv_from(stream_.a.get(), 0);
            case Kind::recv_datagram:
                co_return co_await recv_from(datagrams_.a.get(), 0);
            case Kind::recv_peek:
                co_return co_await recv_from(stream_.a.get(), MSG_PEEK);
            case Kind::write_pipe:
                co_return co_await write_to(full_pipe_.b.get());
            case Kind::write_nonblocking_pipe:
                co_return co_await write_to(full_nonblocking_.b.get());
            case Kind::send: {
                const std::size_t sent = co_await io::send(full_stream_.b.get(), "x");
                co_return static_cast<long>(sent);
            }
            case Kind::accept:
                co_return co_await accept_from(listener_.fd.get());
            case Kind::accept_nonblocking:
                co_return co_await accept_from(nonblocking_listener_.fd.get());
            case Kind::connect: {
                const Fd fd = new_socket(AF_INET);
                co_await io::connect(fd.get(), busy().listener.address);
                co_return 0;
            }
            case Kind::poll_in:
                co_return co_await io::poll(stream_.a.get(), POLLIN);
            case Kind::poll_out:
                co_return co_await io::poll(full_stream_.b.get(), POLLOUT);
            case Kind::poll_errors:
                co_return co_await io::poll(stream_.a.get(), 0);
        }
        co_return -1;
    }

    /// Nothing has happened yet: no byte was taken or written, no connection accepted.
    bool untouched() const {
        pollfd files[] = {{pipe_.a.get(), POLLIN, 0},
                          {stream_.a.get(), POLLIN, 0},
                          {full_pipe_.b.get(), POLLOUT, 0},
                          {full_stream_.b.get(), POLLOUT, 0},
                          {listener_.fd.get(), POLLIN, 0}};
        return ::poll(files, std::size(files), 0) == 0;
    }

    /// Makes the operation possible, except the connect.
    void release(Kind kind) {
        switch (kind) {
            case Kind::read_pipe:
                return put(pipe_.b.get(), "x");
            case Kind::read_nonblocking_pipe:
                return put(nonblocking_.b.get(), "x");
            case Kind::read_socket:
            case Kind::recv:
            case Kind::recv_peek:
            case Kind::poll_in:
                return put(stream_.b.get(), "x");
            case Kind::read_eventfd: {
                const std::uint64_t one = 1;
                return put(event_.get(),
                           std::string_view(reinterpret_cast<const char*>(&one), sizeof one));
            }
            case Kind::recv_datagram:
                return put(datagrams_.b.get(), "x");
            case Kind::write_pipe:
                return static_cast<void>(drain(full_pipe_.a.get()));
            case Kind::write_nonblocking_pipe:
                return static_cast<void>(drain(full_nonblocking_.a.get()));
            case Kind::send:
            case Kind::poll_out:
                return static_cast<void>(drain(full_stream_.a.get()));
            case Kind::accept:
                client_ = connected_to(listener_.address);
                return;
            case Kind::accept_nonblocking:
                client_ = connected_to(nonblocking_listener_.address);
                return;
            case Kind::connect:
                return;
            case Kind::poll_errors:
                stream_.b.reset();
                return;
        }
    }

private:
    /// Made when it is needed.
    const BusyListener& busy() {
        if (!busy_) busy_.emplace(tcp_listener(0));
        return *busy_;
    }
    static weft::Coro<long> read_from(int fd) {
        char byte;
        const std::size_t got = co_await weft::io::read(fd, weft::MutableBuffer(&byte, 1));
        co_return static_cast<long>(got);
    }
    static weft::Coro<long> recv_from(int fd, int flags) {
        char byte;
        const std::size_t got = co_await weft::io::recv(fd, weft::MutableBuffer(&byte, 1), flags);
        co_return static_cast<long>(got);
    }
    static weft::Coro<long> write_to(int fd) {
        const std::size_t put = co_await weft::io::write(fd, "x");
        co_return static_cast<long>(put);
    }
    static weft::Coro<long> accept_from(int fd) {
        weft::io::Accepted connection = co_await weft::io::accept(fd);
        co_return connection.fd.get() >= 0 ? 1 : -1;
    }

    Pair pipe_;
    Pair nonblocking_;
    Pair full_pipe_;
    Pair full_nonblocking_;
    Pair stream_;
    Pair full_stream_;
    Pair datagrams_;
    Fd event_;
    Listener listener_;
    Listener nonblocking_listener_;
    std::optional<BusyListener> busy_;
    Fd client_;
};

}  // namespace support
