// SPDX-License-Identifier: MIT
// Service: somebody else's server (redis, nginx, postgres, mariadb) while a test needs it.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/base/fd.hpp>
#include <weft/net/address.hpp>

extern char** environ;

namespace support {

/// What tests/support/service.py starts, which tells of each server what it has: its users, its
/// certificate, its options. It is made before the loop runs, which has real time (`weft::run`): a
/// virtual clock would jump over every deadline while the server works.
///
///     TEST_CASE("an answer", "[redis]") {
///         const support::Service& redis = support::shared_service("redis");
///         if (!redis.is_there()) return;  // has printed why
///         weft::run([&redis]() -> weft::Coro<void> {
///             weft::Stream stream = co_await weft::open_connection("127.0.0.1", redis.port());
///             ...
///         });
///     }
///
/// As a local variable it is there for one test; `shared_service` starts one for the whole program,
/// which is what most tests want: starting takes from 0.1 s (redis) to 0.7 s (mariadb).
class Service {
public:
    explicit Service(const std::string& name, const std::vector<std::string>& options = {}) {
        const std::string here = __FILE__;
        std::vector<std::string> command{"python3",
                                         here.substr(0, here.rfind('/') + 1) + "service.py", name};
        command.insert(command.end(), options.begin(), options.end());
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            throw std::runtime_error("socketpair");
        talk_ = weft::Fd(ends[0]);
        weft::Fd theirs(ends[1]);
        start(command, theirs.get());
        theirs.reset();  // or a script that does not start would be waited for for ever
        read_facts(name);
    }
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    /// Kills the server and removes its data.
    ~Service() {
        talk_.reset();
        int status = 0;
        if (pid_ > 0) ::waitpid(pid_, &status, 0);
    }

    /// False, after a line that says why, where the program is not installed.
    bool is_there() const noexcept { return is_there_; }
    /// "port", "socket", "folder", "certificate", ...; empty where there is none.
    std::string fact(const std::string& key) const {
        const auto found = facts_.find(key);
        return found == facts_.end() ? std::string() : found->second;
    }
    std::uint16_t port(const std::string& key = "port") const {
        return static_cast<std::uint16_t>(std::stoi(fact(key)));
    }
    weft::Address address() const { return weft::Address::ip("127.0.0.1", port()); }

    /// As if it had crashed: its connections are cut, its port refuses.
    void stop() { command("stop\n"); }
    /// Again, with the same data and port.
    void start() { command("start\n"); }

private:
    void start(const std::vector<std::string>& command, int their_end) {
        std::vector<char*> argv;
        for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, their_end, STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, their_end, STDOUT_FILENO);
        if (::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
        ::posix_spawn_file_actions_destroy(&actions);
    }

    void read_facts(const std::string& name) {
        std::string line = pid_ > 0 ? read_line() : "skipped: there is no python3 here";
        while (line != "ready") {
            if (line.starts_with("skipped: ")) {
                std::printf("%s\n", line.c_str());
                return;
            }
            const std::size_t space = line.find(' ');
            if (space == std::string::npos) throw std::runtime_error(name + " has not started");
            facts_[line.substr(0, space)] = line.substr(space + 1);
            line = read_line();
        }
        is_there_ = true;
    }

    void command(std::string_view text) {
        if (::send(talk_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0 || read_line().empty())
            throw std::runtime_error("service.py has gone");
    }

    /// Empty: it has gone.
    std::string read_line() {
        std::string line;
        for (;;) {
            char letter = 0;
            const ssize_t got = ::read(talk_.get(), &letter, 1);
            if (got < 0 && errno == EINTR) continue;
            if (got != 1 || letter == '\n') return line;
            line += letter;
        }
    }

    weft::Fd talk_;
    pid_t pid_ = -1;
    bool is_there_ = false;
    std::map<std::string, std::string> facts_;
};

/// One for the whole test program, which starts when it is asked for first.
inline Service& shared_service(const std::string& name) {
    static std::map<std::string, Service> services;
    return services.try_emplace(name, name).first->second;
}

}  // namespace support
