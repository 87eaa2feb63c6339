// SPDX-License-Identifier: MIT
// Cases of check_stream: what is written arrives, whole, in order, and no faster than it is read.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/std_parts.hpp"
#include "../../runtime/loop.hpp"
#include "stream_bench.hpp"

namespace weft::testing::detail {

/// In pieces of many sizes.
inline Coro<void> write_in_pieces(Stream& to, std::string_view text) {
    std::size_t size = 1;
    while (!text.empty()) {
        const std::string_view piece = text.substr(0, size);
        co_await to.write(piece);
        text.remove_prefix(piece.size());
        size = size * 3 % 16'381 + 1;
    }
}
/// Now by one way of reading, now by another.
inline Coro<void> read_in_pieces(Stream& from, std::string_view text) {
    std::string got;
    std::string buffer(20'000, '\0');
    std::size_t turn = 0;
    while (got.size() < text.size()) {
        const std::size_t left = text.size() - got.size();
        switch (turn++ % 4) {
            case 0: {
                const std::size_t count = co_await from.read(
                    MutableBuffer(buffer.data(), std::min(buffer.size(), turn * 7)));
                expect(count > 0, {"an end before the end"});
                got.append(buffer, 0, count);
                break;
            }
            case 1: {
                const Chunk chunk = co_await from.read_chunk();
                expect(!chunk.empty(), {"an end before the end"});
                got += chunk.view();
                break;
            }
            case 2:
                got += co_await from.read_exactly(std::min(left, turn * 11));
                break;
            default: {
                const std::size_t count = co_await from.read(buffer);
                got.append(buffer, 0, count);
            }
        }
    }
    expect_prefix(got, text, text.size(), "in pieces");
}

inline Coro<void> small_writes(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    co_await pair.near.write("");
    co_await pair.near.write("x");
    char one[1];
    const std::size_t none = co_await pair.far.read(MutableBuffer(one, 0));
    const std::size_t count = co_await pair.far.read(one);
    expect(none == 0, {"a read of nothing has read something"});
    expect(count == 1 && one[0] == 'x', {"one byte did not arrive as it was written"});
    Task<std::string> reading = create_task(read_by, Reading::line, std::ref(pair.far));
    co_await settle();
    co_await pair.near.write("");
    co_await settle();
    expect(!reading.done(), {"an empty write has ended a read"});
    co_await pair.near.write("line\n");
    const std::string line = co_await reading;
    expect(line == "line\n", {"a line did not arrive as it was written"});
    expect(pair.near.written() == 6, {"written() is not the number of bytes that were"});
}

inline Coro<void> pieces(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(400'000);
    Task<void> writing = create_task(write_in_pieces, std::ref(pair.near), text);
    co_await read_in_pieces(pair.far, text);
    co_await writing;
    expect(pair.near.written() == text.size(), {"written() is not the number of bytes that were"});
}

inline Coro<void> both_ways(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(400'000);
    Task<void> there = create_task(write_in_pieces, std::ref(pair.near), text);
    Task<void> back = create_task(write_in_pieces, std::ref(pair.far), text);
    Task<void> arriving = create_task(read_in_pieces, std::ref(pair.near), text);
    co_await read_in_pieces(pair.far, text);
    co_await arriving;
    co_await there;
    co_await back;
}

inline Coro<void> questions(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    for (int round = 0; round < 100; ++round) {
        const std::string question = std::to_string(round) + "\n";
        co_await pair.near.write(question);
        const std::string got = co_await pair.far.read_line();
        co_await pair.far.write(got);
        const std::string answer = co_await pair.near.read_line();
        expect(answer == question, {"a line came back as another: ", answer});
    }
}

inline Coro<void> backpressure(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(bench.options.more_than_fits);
    Task<void> writing = create_task(write_text, std::ref(pair.near), text);
    co_await settle();
    co_await settle();
    expect(!writing.done(), {"a write of more than fits did not wait for its reader"});
    const std::string got = co_await pair.far.read_exactly(text.size());
    co_await writing;
    expect_prefix(got, text, text.size(), "more than fits");
}

inline Coro<void> several_writers(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    constexpr int count = 5;
    // The first one alone has to wait for the reader, so the others wait for their turn.
    const std::size_t first = bench.options.more_than_fits;
    std::string texts[count];
    Task<void> writers[count];
    for (int index = 0; index < count; ++index) {
        texts[index].assign(index == 0 ? first : first / 16, static_cast<char>('a' + index));
        writers[index] = create_task(write_text, std::ref(pair.near), texts[index]);
    }
    co_await settle();
    // One whose turn has not come writes nothing, once it is cancelled.
    writers[3].cancel();
    const Answer cut = co_await answer_of(writers[3]);
    expect(cut.is(Answer::Kind::cancelled), {"a cancelled writer: ", cut.to_string()});
    std::string expected;
    for (int index = 0; index < count; ++index) {
        if (index != 3) expected += texts[index];
    }
    const std::string got = co_await pair.far.read_exactly(expected.size());
    expect(got == expected, {"the texts of several writers are torn, or not in their order"});
    for (int index = 0; index < count; ++index) {
        if (index != 3) co_await writers[index];
    }
    expect(pair.near.written() == expected.size(), {"written() is not what several have written"});
}

inline Coro<void> limits(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    Stream& from = pair.far;
    co_await pair.near.write("0123456789\nab;cd|ef\nrest");
    from.set_limit(5);
    const Answer line = co_await answer_of(from.read_line());
    const Answer all = co_await answer_of(from.read_all(8));
    from.set_limit(1000);
    const std::string again = co_await from.read_line();
    const std::string first = co_await from.read_until("|", ";");
    const std::string second = co_await from.read_until("|", ";");
    const std::string two = co_await from.read_exactly(2);
    const std::string empty = co_await from.read_line();
    const std::string rest = co_await from.read_exactly(4);
    expect_kind(line, Answer::Kind::overrun, "a line over the limit");
    expect_kind(all, Answer::Kind::overrun, "read_all over its limit");
    expect(again == "0123456789\n", {"what was over a limit has not stayed readable: ", again});
    expect(first == "ab;" && second == "cd|", {"not the separator that ends first: ", first});
    expect(two == "ef" && empty == "\n" && rest == "rest",
           {"reads after each other: ", two, empty});
}

inline Coro<void> chunks_and_lines(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    std::string got;
    for (int round = 0; round < 6; ++round) {
        co_await pair.near.write("one\ntwo\nthree");
        got += co_await pair.far.read_line();
        while (got.size() < 13U * static_cast<unsigned>(round + 1)) {
            const Chunk chunk = co_await pair.far.read_chunk();
            expect(!chunk.empty(), {"an end before the end"});
            got += chunk.view();
        }
    }
    std::string expected;
    for (int round = 0; round < 6; ++round) expected += "one\ntwo\nthree";
    expect(got == expected, {"chunks and lines in turns: ", got});
}

inline Coro<void> attempts(const StreamBench& bench) {
    if (!bench.options.try_read) co_return;
    StreamPair pair = co_await bench.pair();
    char buffer[16];
    const auto nothing = pair.far.try_read(buffer);
    expect(!nothing, {"try_read has found what was not written"});
    co_await pair.near.write("hello\nabc");
    co_await arrival(pair.far);
    const auto five = pair.far.try_read(MutableBuffer(buffer, 5));
    expect(five == 5 && std::string(buffer, 5) == "hello", {"try_read of what has arrived"});
    const std::string line = co_await pair.far.read_line();
    expect(line == "\n", {"a line behind try_read: ", line});
    const auto three = pair.far.try_read(buffer);
    expect(three == 3, {"try_read behind a line"});
    co_await pair.near.close();
    co_await arrival(pair.far);
    const auto end = pair.far.try_read(buffer);
    expect(end == 0, {"try_read at the end"});
}

/// Whoever always finds something lets others run all the same.
inline Coro<void> fairness(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(4'000);
    Task<void> writing = create_task(write_text, std::ref(pair.near), text);
    co_await settle();
    bool others_ran = false;
    get_running_loop().call_soon([&others_ran] { others_ran = true; });
    std::size_t reads = 0;
    while (!others_ran && reads < text.size()) {
        char one[1];
        co_await pair.far.read(one);
        ++reads;
    }
    expect(others_ran, {"a reader that always finds something has kept the thread for itself"});
    (void)co_await pair.far.read_exactly(text.size() - reads);
    co_await writing;
}

inline constexpr StreamCase transfer_cases[] = {
    {"small and empty writes arrive", &small_writes},
    {"many sizes of pieces arrive whole", &pieces},
    {"both directions at once", &both_ways, true},
    {"questions and answers", &questions, true},
    {"a write waits for its reader", &backpressure},
    {"several writers", &several_writers},
    {"limits and separators", &limits},
    {"chunks and lines in turns", &chunks_and_lines},
    {"try_read", &attempts},
    {"a reader that always finds something lets others run", &fairness},
};
inline constexpr StreamCases stream_transfers = transfer_cases;

}  // namespace weft::testing::detail
