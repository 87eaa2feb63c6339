// SPDX-License-Identifier: MIT
// Descriptors for tests: pairs of connected ends, listening sockets, files, and full buffers.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/base/error.hpp>
#include <weft/base/fd.hpp>
#include <weft/net/address.hpp>

namespace support {

using weft::Address;
using weft::Fd;

inline int checked(int result, const char* call) {
    if (result < 0) weft::detail::throw_system_error(errno, call);
    return result;
}

/// Two ends that are connected; of a pipe `a` is read and `b` is written.
struct Pair {
    Pair(Fd first, Fd second) noexcept : a(std::move(first)), b(std::move(second)) {}
    Fd a;
    Fd b;
};

inline Pair unix_pair(int type = SOCK_STREAM) {
    int ends[2];
    checked(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), "socketpair");
    return Pair(Fd(ends[0]), Fd(ends[1]));
}

inline Pair pipe_pair(int flags = 0) {
    int ends[2];
    checked(::pipe2(ends, flags | O_CLOEXEC), "pipe2");
    return Pair(Fd(ends[0]), Fd(ends[1]));
}

/// All that comes out of a blocking descriptor.
inline std::string text_to_end(int fd) {
    std::string text;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::read(fd, buffer, sizeof buffer)) > 0)
        text.append(buffer, static_cast<std::size_t>(got));
    return text;
}

inline Fd new_socket(int family, int flags = 0) {
    return Fd(checked(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket"));
}

/// A socket that listens, and where.
struct Listener {
    Listener(Fd socket, const Address& at) noexcept : fd(std::move(socket)), address(at) {}
    Fd fd;
    Address address;
};

inline Listener listen_at(const Address& address, int backlog) {
    Fd fd = new_socket(address.family());
    checked(::bind(fd.get(), address.data(), address.size()), "bind");
    checked(::listen(fd.get(), backlog), "listen");
    const Address bound = Address::of_socket(fd.get());
    return Listener(std::move(fd), bound);
}
/// An address of this host that no other process of the tests uses: a port of it that has been
/// given back is nobody's. (All of 127.0.0.0/8 is this host.)
inline std::string own_host(unsigned which = 0) {
    const auto id = static_cast<unsigned>(::getpid());
    std::string text = "127";
    for (const unsigned part : {64 + 64 * which + (id >> 16) % 64, (id >> 8) % 256, id % 256})
        text.append(1, '.').append(std::to_string(part));
    return text;
}

inline Listener tcp_listener(int backlog = 128) {
    return listen_at(Address::ip("127.0.0.1", 0), backlog);
}
/// In the abstract namespace, under a name of the kernel's choice: no file to remove.
inline Listener unix_listener(int backlog = 128) {
    sockaddr any{};
    any.sa_family = AF_UNIX;
    return listen_at(Address::from(&any, sizeof any.sa_family), backlog);
}

/// Blocking connect, outside of any loop.
inline Fd connected_to(const Address& address) {
    Fd fd = new_socket(address.family());
    checked(::connect(fd.get(), address.data(), address.size()), "connect");
    return fd;
}

/// close() then resets the connection: ten thousand of them leave no TIME_WAIT behind.
inline void reset_on_close(int fd) {
    const linger now{1, 0};
    checked(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), "setsockopt");
}

inline Pair tcp_pair() {
    const Listener listener = tcp_listener();
    Fd client = connected_to(listener.address);
    Fd server(checked(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept4"));
    return Pair(std::move(client), std::move(server));
}

/// What TCP knows of a socket.
inline tcp_info tcp_state(int fd) {
    tcp_info info{};
    socklen_t size = sizeof info;
    checked(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), "getsockopt TCP_INFO");
    return info;
}

/// A listener whose queue is full, so that the next connect has to wait.
struct BusyListener {
    explicit BusyListener(Listener of) : listener(std::move(of)) {
        if (listener.address.family() == AF_UNIX) {
            fill_unix();
        } else {
            fill_tcp();
        }
    }
    Listener listener;
    std::vector<Fd> fillers;

private:
    void fill_tcp() {
        for (int looks = 0; looks < 10'000; ++looks) {
            // Of a socket that listens: how many wait, and how many there may be besides one.
            const tcp_info queue = tcp_state(listener.fd.get());
            if (queue.tcpi_unacked > queue.tcpi_sacked) return;
            // (The last packet of a handshake may come a moment after the connect.)
            if (queue.tcpi_unacked == fillers.size()) {
                fillers.push_back(connected_to(listener.address));
            } else {
                ::poll(nullptr, 0, 1);
            }
        }
        throw std::runtime_error("the queue of a listener does not fill");
    }
    void fill_unix() {
        const Address& to = listener.address;
        for (;;) {
            Fd fd = new_socket(AF_UNIX, SOCK_NONBLOCK);
            if (::connect(fd.get(), to.data(), to.size()) != 0) return;
            fillers.push_back(std::move(fd));
        }
    }
};

inline void make_nonblocking(int fd) {
    const int flags = checked(::fcntl(fd, F_GETFL), "fcntl");
    checked(::fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl");
}

/// Is something of what TCP has sent still unanswered? The answer may come 40 ms later, and make
/// room.
inline bool expects_answers(int fd) {
    tcp_info info{};
    socklen_t size = sizeof info;
    return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_unacked > 0;
}

/// Fills a pipe or socket until it takes no more; the descriptor's mode is put back.
inline std::size_t fill(int fd) {
    const int flags = checked(::fcntl(fd, F_GETFL), "fcntl");
    checked(::fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl");
    const std::string chunk(4096, '.');
    std::size_t total = 0;
    bool settled = false;
    for (int looks = 0; looks < 1'000 && !settled; ++looks) {
        // (Asked before: the answer to what is unanswered now may make room behind our back.)
        settled = !expects_answers(fd);
        for (std::size_t size = chunk.size(); size > 0;) {
            const ssize_t sent = ::write(fd, chunk.data(), size);
            if (sent > 0) {
                total += static_cast<std::size_t>(sent);
                settled = false;
            } else {
                size /= 2;
            }
        }
        if (!settled && expects_answers(fd)) ::poll(nullptr, 0, 1);
    }
    checked(::fcntl(fd, F_SETFL, flags), "fcntl");
    return total;
}

/// What can be read now, without waiting.
inline std::string drain(int fd) {
    std::string all;
    char buffer[65536];
    pollfd one{fd, POLLIN, 0};
    while (::poll(&one, 1, 0) > 0) {
        const ssize_t got = ::read(fd, buffer, sizeof buffer);
        if (got <= 0) break;
        all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
}

inline void put(int fd, std::string_view text) {
    if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        weft::detail::throw_system_error(errno, "write");
}

/// A file with the given content and no name.
inline Fd nameless_file(std::string_view content = {}) {
    char path[] = "/tmp/weft-test-XXXXXX";
    Fd fd(checked(::mkostemp(path, O_CLOEXEC), "mkostemp"));
    ::unlink(path);
    if (::pwrite(fd.get(), content.data(), content.size(), 0) !=
        static_cast<ssize_t>(content.size()))
        weft::detail::throw_system_error(errno, "pwrite");
    return fd;
}

/// Leaves room for `spare` descriptors more, while it lives.
class FewDescriptors {
public:
    explicit FewDescriptors(int spare) {
        // The numbers below the limit have to be in use, or the limit says nothing.
        const Fd probe(::dup(0));
        const int limit = probe.get() + spare;
        checked(::getrlimit(RLIMIT_NOFILE, &before_), "getrlimit");
        rlimit few = before_;
        few.rlim_cur = static_cast<rlim_t>(limit);
        checked(::setrlimit(RLIMIT_NOFILE, &few), "setrlimit");
    }
    FewDescriptors(const FewDescriptors&) = delete;
    FewDescriptors& operator=(const FewDescriptors&) = delete;
    ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

/// A folder that goes with everything a test has put in it.
class Folder {
public:
    Folder() {
        char path[] = "/tmp/weft-test-XXXXXX";
        if (!::mkdtemp(path)) weft::detail::throw_system_error(errno, "mkdtemp");
        path_ = path;
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() {
        for (const std::string& name : names_) ::unlink(name.c_str());
        ::rmdir(path_.c_str());
    }
    const std::string& path() const noexcept { return path_; }
    /// The path of a file in it.
    std::string file(const std::string& name) {
        names_.push_back(path_ + "/" + name);
        return names_.back();
    }

private:
    std::string path_;
    std::vector<std::string> names_;
};

}  // namespace support
