// SPDX-License-Identifier: MIT
// Small coroutines that tests share: turns, errors as values, whole transfers.
#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include <weft/net/io.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

namespace support {

inline weft::Coro<void> turns(int count) {
    for (int turn = 0; turn < count; ++turn) co_await weft::yield();
}

/// How an operation failed: errno (0: it did not) and the message.
struct Failure {
    Failure() noexcept {}
    explicit Failure(const std::system_error& thrown)
        : error(thrown.code().value()), what(thrown.what()) {}
    bool names(std::string_view call) const noexcept {
        return std::string_view(what).substr(0, call.size()) == call;
    }
    int error = 0;
    std::string what;
};

/// Awaits what `start()` returns. `start` is a lambda with reference captures alone (g++ 12).
template <class Start>
weft::Coro<Failure> failure(Start start) {
    try {
        (void)co_await start();
    } catch (const std::system_error& error) {
        co_return Failure(error);
    }
    co_return Failure();
}

enum class End { value, cancelled, closed, failed };

/// Runs a coroutine to its end and says which end that was.
template <class T>
weft::Coro<End> ending(weft::Task<T> task) {
    co_await task.wait();
    try {
        (void)std::move(task).result();
        co_return End::value;
    } catch (const weft::CancelledError&) {
        co_return End::cancelled;
    } catch (const std::system_error& error) {
        co_return error.code().value() == ECANCELED ? End::closed : End::failed;
    }
}

inline weft::Coro<std::string> read_some(int fd, std::size_t size) {
    std::string text(size, '\0');
    const std::size_t got = co_await weft::io::read(fd, text);
    text.resize(got);
    co_return text;
}
inline weft::Coro<std::string> recv_some(int fd, std::size_t size, int flags = 0) {
    std::string text(size, '\0');
    const std::size_t got = co_await weft::io::recv(fd, text, flags);
    text.resize(got);
    co_return text;
}
inline weft::Coro<std::string> read_exactly(int fd, std::size_t size) {
    std::string text(size, '\0');
    std::size_t done = 0;
    while (done < size) {
        const std::size_t got =
            co_await weft::io::read(fd, weft::MutableBuffer(text.data() + done, size - done));
        if (got == 0) break;
        done += got;
    }
    text.resize(done);
    co_return text;
}
inline weft::Coro<void> write_all(int fd, std::string_view text) {
    while (!text.empty()) text.remove_prefix(co_await weft::io::write(fd, text));
}
inline weft::Coro<void> send_all(int fd, std::string_view text) {
    while (!text.empty()) text.remove_prefix(co_await weft::io::send(fd, text));
}

}  // namespace support
