// SPDX-License-Identifier: MIT
// Where the kernel refuses io_uring (a seccomp filter in a forked child) programs run on epoll
// unchanged.
#include <weft/net/io.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace refused_test {

using namespace support;

namespace {

/// From here on `call` answers `error` in this process.
void refuse(long call, int error) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    checked(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
    checked(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "seccomp");
}

/// Runs `body()` in a child and returns the text that it returned.
template <class Body>
std::string in_child(Body body) {
    Pair pipe = pipe_pair();
    const pid_t child = checked(::fork(), "fork");
    if (child == 0) {
        std::string text;
        try {
            text = body();
        } catch (const std::exception& error) {
            text = std::string("threw ") + error.what();
        }
        const bool written = ::write(pipe.b.get(), text.data(), text.size()) >= 0;
        ::_exit(written ? 0 : 1);
    }
    pipe.b.reset();
    std::string text = text_to_end(pipe.a.get());
    int status = 0;
    checked(::waitpid(child, &status, 0), "waitpid");
    if (status != 0) text += " (the child ended with status " + std::to_string(status) + ")";
    return text;
}

weft::Coro<std::string> exchange() {
    const Listener listener = tcp_listener();
    auto serve = weft::create_task([&]() -> weft::Coro<void> {
        weft::io::Accepted connection = co_await weft::io::accept(listener.fd.get());
        const std::string text = co_await recv_some(connection.fd.get(), 64);
        co_await send_all(connection.fd.get(), text + "!");
    });
    const Fd client = new_socket(AF_INET);
    co_await weft::io::connect(client.get(), listener.address);
    co_await send_all(client.get(), "hello");
    const std::string answer = co_await recv_some(client.get(), 64);
    co_await serve;
    co_await weft::sleep(std::chrono::milliseconds(1));
    const weft::BackendInfo& info = weft::get_running_loop().backend_info();
    co_return answer + "|" + info.name + "|" + info.reason;
}

/// What a loop in this process says of itself after some real work.
std::string report(weft::RunOptions options = {}) { return weft::run(exchange(), options); }

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

bool uring_is_built_in() { return WEFT_HAS_URING != 0; }

}  // namespace

TEST_CASE("where io_uring_setup is refused a program runs on epoll, and the reason says why",
          "[refused]") {
    for (const int error : {EPERM, ENOSYS, ENOMEM, EACCES}) {
        CAPTURE(error);
        const std::string text = in_child([&] {
            ::unsetenv("WEFT_BACKEND");
            refuse(SYS_io_uring_setup, error);
            return report();
        });
        CHECK(contains(text, "hello!|epoll|"));
        if (uring_is_built_in()) {
            CHECK(contains(text, "|io_uring_setup: "));
            CHECK(contains(text, std::strerror(error)));
        }
    }
}

TEST_CASE("where io_uring_setup is refused, asking for io_uring by name is an error that says so",
          "[refused]") {
    for (const int error : {EPERM, ENOSYS, ENOMEM}) {
        for (const bool by_environment : {true, false}) {
            CAPTURE(error, by_environment);
            const std::string text = in_child([&] {
                weft::RunOptions options;
                if (by_environment) {
                    ::setenv("WEFT_BACKEND", "uring", 1);
                } else {
                    ::unsetenv("WEFT_BACKEND");
                    options.backend = weft::BackendKind::uring;
                }
                refuse(SYS_io_uring_setup, error);
                try {
                    return report(options);
                } catch (const std::system_error& refused) {
                    return "system_error " + std::to_string(refused.code().value()) + " " +
                           refused.what();
                }
            });
            if (uring_is_built_in()) {
                CHECK(contains(text, "system_error " + std::to_string(error) + " io_uring_setup"));
                CHECK(contains(text, std::strerror(error)));
            } else {
                CHECK(contains(text, "system_error " + std::to_string(ENOSYS)));
            }
        }
    }
}

TEST_CASE("where io_uring_register is refused a program runs all the same", "[refused]") {
    const std::string text = in_child([] {
        ::unsetenv("WEFT_BACKEND");
        refuse(SYS_io_uring_register, EPERM);
        return report();
    });
    CHECK((contains(text, "hello!|epoll|") || contains(text, "hello!|uring|")));
    if (contains(text, "|epoll|") && uring_is_built_in()) CHECK(contains(text, "|io_uring"));
}

TEST_CASE("where io_uring_enter is refused a program runs on epoll", "[refused]") {
    const std::string text = in_child([] {
        ::unsetenv("WEFT_BACKEND");
        refuse(SYS_io_uring_enter, EPERM);
        return report();
    });
    CHECK(contains(text, "hello!|epoll|"));
    if (uring_is_built_in()) CHECK(contains(text, "|io_uring"));
}

TEST_CASE("a file operation that no thread can be made for is done in place", "[refused]") {
    const Fd file = nameless_file("x");
    const std::string text = in_child([&]() -> std::string {
        // (Root is exempt from the limit.)
        if (::geteuid() == 0) checked(::setresuid(65534, 65534, 65534), "setresuid");
        const rlimit none{0, 0};
        checked(::setrlimit(RLIMIT_NPROC, &none), "setrlimit");
        weft::RunOptions options;
        options.virtual_time = true;
        options.hang_limit = std::chrono::seconds(10);
        const auto body = [&]() -> weft::Coro<std::string> {
            co_await weft::io::fsync(file.get());
            char byte = 0;
            const std::size_t got =
                co_await weft::io::read_at(file.get(), weft::MutableBuffer(&byte, 1), 0);
            // (Which would last, if somebody still counted as at work.)
            co_await weft::sleep(std::chrono::hours(1));
            co_return got == 1 && byte == 'x' ? "as with threads" : "another content";
        };
        return weft::run(body, options);
    });
    CHECK(text == "as with threads");
}

TEST_CASE("an open that no thread can be made for is done in place", "[refused]") {
    const std::string text = in_child([]() -> std::string {
        if (::geteuid() == 0) checked(::setresuid(65534, 65534, 65534), "setresuid");
        const rlimit none{0, 0};
        checked(::setrlimit(RLIMIT_NPROC, &none), "setrlimit");
        weft::RunOptions options;
        options.backend = weft::BackendKind::epoll;
        options.hang_limit = std::chrono::seconds(2);
        return weft::run(
            []() -> weft::Coro<std::string> {
                const Fd opened = co_await weft::io::open("/dev/null", O_RDONLY);
                const Failure failed =
                    co_await failure([] { return weft::io::open("/none/such", O_RDONLY); });
                co_return opened ? failed.what : "not open";
            },
            options);
    });
    CHECK(contains(text, "\"/none/such\": "));
    CHECK(contains(text, std::strerror(ENOENT)));
}

TEST_CASE("WEFT_BACKEND=epoll never asks for a ring", "[refused]") {
    const std::string text = in_child([] {
        ::setenv("WEFT_BACKEND", "epoll", 1);
        return report();
    });
    CHECK(contains(text, "hello!|epoll|WEFT_BACKEND=epoll"));
}

TEST_CASE("a program's own choice of epoll stands against WEFT_BACKEND", "[refused]") {
    const std::string text = in_child([] {
        ::setenv("WEFT_BACKEND", "uring", 1);
        weft::RunOptions options;
        options.backend = weft::BackendKind::epoll;
        return report(options);
    });
    CHECK(contains(text, "hello!|epoll|"));
}

TEST_CASE("a WEFT_BACKEND that names no backend is an error that quotes it", "[refused]") {
    const std::string text = in_child([]() -> std::string {
        ::setenv("WEFT_BACKEND", "kqueue", 1);
        try {
            return report();
        } catch (const weft::RuntimeError& wrong) {
            return std::string("RuntimeError ") + wrong.what();
        }
    });
    CHECK(contains(text, "RuntimeError"));
    CHECK(contains(text, "WEFT_BACKEND"));
    CHECK(contains(text, "kqueue"));
}

TEST_CASE("an empty WEFT_BACKEND is like none", "[refused]") {
    const std::string text = in_child([] {
        ::setenv("WEFT_BACKEND", "", 1);
        return report();
    });
    CHECK(contains(text, "hello!|"));
}

TEST_CASE("settings of the ring that mean nothing are errors that quote them", "[refused]") {
    if (!uring_is_built_in()) return;
    const std::pair<const char*, const char*> settings[] = {
        {"WEFT_URING_DISABLE", "multishot,multi_shot"},
        {"WEFT_URING_ENTRIES", "many"},
        {"WEFT_URING_ENTRIES", "8x"},
        {"WEFT_URING_ENTRIES", "-1"}};
    for (const auto& [name, value] : settings) {
        CAPTURE(name, value);
        const std::string text = in_child([name = name, value = value]() -> std::string {
            ::unsetenv("WEFT_BACKEND");
            ::setenv(name, value, 1);
            try {
                return report();
            } catch (const weft::RuntimeError& wrong) {
                return std::string("RuntimeError ") + wrong.what();
            }
        });
        CHECK(contains(text, "RuntimeError"));
        CHECK(contains(text, name));
        CHECK(contains(text, std::strchr(value, '_') ? "'multi_shot'" : value));
    }
}

}  // namespace refused_test
