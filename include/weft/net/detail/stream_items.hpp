// SPDX-License-Identifier: MIT
// What a stream is a sequence of: lines, chunks.
#pragma once

#include <string>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../task/async_generator.hpp"
#include "../../task/coro.hpp"
#include "../chunk.hpp"
#include "long_reads.hpp"
#include "stream_reads.hpp"
#include "stream_state.hpp"
#include "stream_write.hpp"

namespace weft::detail {

AsyncGenerator<std::string> lines_of(Ref<StreamState> held);
AsyncGenerator<Chunk> chunks_of(Ref<StreamState> held);
Coro<void> write_chunk(Ref<StreamState> held, Chunk chunk);

#if WEFT_BODIES
WEFT_INLINE AsyncGenerator<std::string> lines_of(Ref<StreamState> held) {
    for (bool is_last = false; !is_last;) {
        std::string line;
        try {
            line = co_await read_through(held, Separators("\n"));
        } catch (const IncompleteReadError& error) {
            line = error.partial();
        }
        if (line.empty()) co_return;
        is_last = line.back() != '\n';
        co_yield std::move(line);
    }
}

WEFT_INLINE AsyncGenerator<Chunk> chunks_of(Ref<StreamState> held) {
    for (;;) {
        if (!held->chunks) held->read_in_chunks();
        Chunk chunk = co_await ChunkRead(*held);
        if (chunk.empty()) co_return;
        co_yield std::move(chunk);
    }
}

WEFT_INLINE Coro<void> write_chunk(Ref<StreamState> held, Chunk chunk) {
    co_await StreamWrite(*held, ConstBuffer(chunk.data(), chunk.size()));
}
#endif

}  // namespace weft::detail
