// SPDX-License-Identifier: MIT
// ScriptedServer: answers HTTP requests with what a test has written down, however wrong that is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/base/error.hpp>
#include <weft/net/connect.hpp>
#include <weft/net/server.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>

namespace support {

/// The answers are given one after the other, whatever connection a request comes on, and the last
/// one again and again. Behind an answer may stand what is done then. (Shared with the handlers,
/// which may go on when the test has ended.)
class Script {
    struct Shared {
        std::vector<std::string> answers;
        std::vector<std::string> requests;
        int connections = 0;
        bool ignores_bodies = false;
    };

public:
    static constexpr std::string_view close = "<close>";  // in place of an answer, or behind it
    static constexpr std::string_view reset = "<reset>";
    static constexpr std::string_view stall = "<stall>";  // says no more

    Script() : Script(std::make_shared<Shared>()) {}
    Script(const Script& other) : Script(other.shared_) {}

    void answer(std::string text) { answers.push_back(std::move(text)); }
    /// "HTTP/1.1 200 OK", with this body.
    static std::string ok(std::string_view body, std::string_view fields = {}) {
        std::string text = "HTTP/1.1 200 OK\r\nContent-Length: ";
        text += std::to_string(body.size()) + "\r\n";
        return text.append(fields).append("\r\n").append(body);
    }

private:
    explicit Script(std::shared_ptr<Shared> shared)
        : shared_(std::move(shared)),
          answers(shared_->answers),
          requests(shared_->requests),
          connections(shared_->connections),
          ignores_bodies(shared_->ignores_bodies) {}

    std::shared_ptr<Shared> shared_;

public:
    std::vector<std::string>& answers;
    std::vector<std::string>& requests;  // as they came
    int& connections;
    bool& ignores_bodies;  // answers when it has the head
};

inline weft::Coro<std::string> read_request(weft::Stream& stream, bool ignores_body) {
    std::string text = co_await stream.read_until("\r\n\r\n");
    const std::string name = "Content-Length: ";
    if (ignores_body) co_return text;
    if (const std::size_t at = text.find(name); at != std::string::npos) {
        text += co_await stream.read_exactly(std::stoul(text.substr(at + name.size())));
    } else if (text.find("chunked") != std::string::npos) {
        while (!text.ends_with("\r\n0\r\n\r\n")) text += co_await stream.read_until("\r\n");
    }
    co_return text;
}

inline weft::Coro<void> serve_script(weft::Stream stream, Script script) {
    ++script.connections;
    try {
        for (;;) {
            std::string request = co_await read_request(stream, script.ignores_bodies);
            if (request.empty()) break;  // the client has closed
            script.requests.push_back(std::move(request));
            std::string_view answer =
                script.answers.at(std::min(script.requests.size(), script.answers.size()) - 1);
            const bool closes = answer.ends_with(Script::close);
            const bool resets = answer.ends_with(Script::reset);
            const bool stalls = answer.ends_with(Script::stall);
            if (closes || resets || stalls) answer.remove_suffix(Script::close.size());
            co_await stream.write(answer);
            if (resets) stream.abort();
            if (stalls) co_await weft::sleep_forever();
            if (closes || resets) break;
        }
    } catch (const weft::IncompleteReadError&) {  // the client has closed
    } catch (const std::system_error&) {
    }
}

/// Serves it on a port of its own until it goes.
class ScriptedServer {
public:
    static weft::Coro<ScriptedServer> start(const Script& script) {
        auto handler = [script](weft::Stream stream) {
            return serve_script(std::move(stream), script);
        };
        weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
        co_return ScriptedServer(std::move(server));
    }
    explicit ScriptedServer(weft::Server server) noexcept : server_(std::move(server)) {}

    std::string url(std::string_view path = "/", std::string_view scheme = "http") const {
        return std::string(scheme) + "://127.0.0.1:" + std::to_string(server_.port()) +
               std::string(path);
    }
    std::uint16_t port() const { return server_.port(); }
    weft::Server& server() noexcept { return server_; }

private:
    weft::Server server_;
};

}  // namespace support
