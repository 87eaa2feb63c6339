// SPDX-License-Identifier: MIT
// open_and_greet: a connection to a Redis server that knows who we are.
#pragma once

#include "../../net/stream.hpp"
#include "../../task/coro.hpp"
#include "../options.hpp"

namespace weft::redis::detail {

/// Throws:   what `open_connection` throws; ServerError; ConnectionError.
Coro<Stream> open_and_greet(Options options);

}  // namespace weft::redis::detail

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../../deadline/move_on_after.hpp"
#include "../../net/chunk.hpp"
#include "../error.hpp"
#include "../reply.hpp"
#include "parser.hpp"
#include "wire.hpp"

namespace weft::redis::detail {

[[gnu::cold]] WEFT_INLINE Coro<Stream> greet(Stream stream, Options options) {
    std::vector<std::string> wires;
    if (!options.password.empty()) {
        wires.push_back(options.username.empty()
                            ? Wire::command("AUTH", options.password)
                            : Wire::command("AUTH", options.username, options.password));
    }
    if (options.database != 0) wires.push_back(Wire::command("SELECT", options.database));
    if (!options.client_name.empty())
        wires.push_back(Wire::command("CLIENT", "SETNAME", options.client_name));
    // At least one: who is not let in is to hear it now.
    if (wires.empty()) wires.push_back(Wire::command("PING"));
    std::string bytes;
    for (const std::string& wire : wires) bytes += wire;
    co_await stream.write(bytes);
    Parser parser;
    for (std::size_t answered = 0; answered < wires.size();) {
        const Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) throw ConnectionError("the server has closed the connection");
        parser.feed(chunk.view());
        for (Reply* reply = nullptr; parser.next(reply); ++answered) {
            if (answered == wires.size())
                throw ConnectionError("a reply that nobody has asked for");
            if (!reply->is_error()) continue;
            const std::string whence = name_of_command(wires[answered]) + ": ";
            Reply::throw_server_error(*reply, whence);
        }
    }
    co_return stream;
}

[[gnu::cold]] WEFT_INLINE Coro<Stream> connect_and_greet(Options options) {
    Stream stream = co_await options.open();
    Stream greeted = co_await greet(std::move(stream), options);
    co_return greeted;
}

[[gnu::cold]] WEFT_INLINE Coro<Stream> open_and_greet(Options options) {
    const Duration limit = options.connect_timeout;
    if (limit <= Duration(0)) {
        Stream stream = co_await connect_and_greet(std::move(options));
        co_return stream;
    }
    std::optional<Stream> stream =
        co_await move_on_after(limit, connect_and_greet(std::move(options)));
    if (!stream) throw ConnectionError("no connection in time");
    co_return std::move(*stream);
}

}  // namespace weft::redis::detail
#endif
