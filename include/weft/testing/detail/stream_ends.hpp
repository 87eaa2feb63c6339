// SPDX-License-Identifier: MIT
// Cases of check_stream: ends, closes, aborts, streams that go.
#pragma once

#include <cerrno>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "stream_bench.hpp"

namespace weft::testing::detail {

inline Coro<void> data_then_end(const StreamBench& bench) {
    for (const Reading how : every_reading) {
        StreamPair pair = co_await bench.pair();
        Task<Answer> reading = create_task(answer_of<Coro<std::string>>, read_by(how, pair.far));
        std::string_view text = gathers(how) ? greeting.substr(0, 4) : greeting;
        if (!bench.options.close_keeps_data) text = {};
        co_await pair.near.write(text);
        co_await settle();
        co_await pair.near.close();
        const Answer last = co_await reading;
        const bool is_cut =
            how == Reading::exactly || (gathers(how) && how != Reading::all && !text.empty());
        expect(
            last.text == text && last.is(is_cut ? Answer::Kind::incomplete : Answer::Kind::value),
            {name_of(how), " of what came before the end: ", last.to_string()});
        char buffer[4];
        const std::size_t end = co_await pair.far.read(buffer);
        const Chunk chunk = co_await pair.far.read_chunk();
        const std::string line = co_await pair.far.read_line();
        expect(end == 0 && chunk.empty() && line.empty(), {"the end did not stay the end"});
    }
}

inline Coro<void> close_keeps_data(const StreamBench& bench) {
    if (!bench.options.close_keeps_data) co_return;
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(100'000);
    Task<void> writing = create_task(write_and_close, std::ref(pair.near), text);
    co_await settle();
    const std::string got = co_await pair.far.read_all(text.size());
    co_await writing;
    expect_prefix(got, text, text.size(), "what was written before a close");
}

inline Coro<void> half_close(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    if (!bench.options.half_close) {
        const Answer refused = co_await answer_of(pair.near.write_eof());
        expect_error(refused, EOPNOTSUPP, "write_eof where there is no such thing");
        co_await pair.near.write("all the same\n");
        const std::string line = co_await pair.far.read_line();
        expect(line == "all the same\n", {"after a write_eof that was refused: ", line});
        co_return;
    }
    Task<void> writing = create_task(write_text, std::ref(pair.near), "question");
    Task<Answer> telling =
        create_task([](Stream& to) { return answer_of(to.write_eof()); }, std::ref(pair.near));
    const std::string question = co_await pair.far.read_all(100);
    co_await writing;
    const Answer told = co_await telling;
    expect_value(told, "", "write_eof");
    const Answer again = co_await answer_of(write_text(pair.near, "more"));
    expect(question == "question", {"read before a write_eof: ", question});
    expect_error(again, EPIPE, "a write after write_eof");
    if (!bench.options.both_ways) co_return;
    co_await pair.far.write("answer\n");
    const std::string answer = co_await pair.near.read_line();
    expect(answer == "answer\n", {"read after a write_eof: ", answer});
    co_await pair.far.close();
    const std::string end = co_await pair.near.read_line();
    expect(end.empty(), {"not the end, after both have told theirs: ", end});
}

inline Coro<void> use_after_close(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    co_await pair.near.close();
    co_await pair.far.close();
    expect(pair.near.is_closed() && pair.far.is_closed(), {"is_closed() after close()"});
    for (const Reading how : every_reading) {
        const Answer read = co_await answer_of(read_by(how, pair.far));
        expect_error(read, EBADF, name_of(how));
    }
    const Answer written = co_await answer_of(write_text(pair.near, "x"));
    expect_error(written, EBADF, "a write after close");
    const Answer told = co_await answer_of(pair.near.write_eof());
    expect_error(told, EBADF, "write_eof after close");
    int error = 0;
    try {
        char buffer[4];
        (void)pair.far.try_read(buffer);
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    }
    expect(error == EBADF, {"try_read after close: error ", weft::detail::decimal(error)});
}

inline Coro<void> closed_again(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    co_await pair.near.close();
    co_await pair.near.close();
    pair.near.abort();
    pair.far.abort();
    pair.far.abort();
    expect(pair.near.is_closed() && pair.far.is_closed(), {"is_closed() after abort()"});
    co_await pair.far.close();
}

inline Coro<void> close_despite_cancel(Stream& stream) {
    current_task().cancel();
    co_await stream.close();
    expect(stream.is_closed(), {"close() of a cancelled task has not closed"});
    co_await settle();
}
inline Coro<void> cancelled_close(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    Task<Answer> reading =
        create_task(answer_of<Coro<std::string>>, read_by(Reading::line, pair.far));
    co_await settle();
    const Answer closing =
        co_await answer_of(create_task(close_despite_cancel, std::ref(pair.near)));
    expect_kind(closing, Answer::Kind::cancelled, "after the close of a cancelled task");
    const Answer end = co_await reading;
    expect_value(end, "", "the peer of a close of a cancelled task");
}

inline Coro<void> writing_to_nobody(const StreamBench& bench) {
    if (!bench.options.end_is_noticed) co_return;
    StreamPair pair = co_await bench.pair();
    co_await pair.far.close();
    const std::string text = pattern(10'000);
    Answer answer;
    std::size_t rounds = 0;
    while (answer.is(Answer::Kind::value) && ++rounds < 1'000) {
        answer = co_await answer_of(write_text(pair.near, text));
    }
    expect(answer.is_error(EPIPE) || answer.is_error(ECONNRESET) || answer.is_error(EIO),
           {"writing to a peer that has closed: ", answer.to_string()});
    const Answer again = co_await answer_of(write_text(pair.near, text));
    expect_kind(again, Answer::Kind::error, "and once more");
}

inline Coro<void> peer_closes_on_writer(const StreamBench& bench) {
    if (!bench.options.end_is_noticed) co_return;
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(bench.options.more_than_fits);
    Task<void> writing = create_task(write_text, std::ref(pair.near), text);
    co_await settle();
    co_await pair.far.close();
    const Answer answer = co_await answer_of(writing);
    expect(answer.is_error(EPIPE) || answer.is_error(ECONNRESET) || answer.is_error(EIO),
           {"a write that waits while its peer closes: ", answer.to_string()});
}

enum class Ending { close, abort, gone };
inline constexpr Ending every_ending[] = {Ending::close, Ending::abort, Ending::gone};

inline Coro<void> end_by(Ending how, std::optional<Stream>& stream) {
    if (how == Ending::close) co_await stream->close();
    if (how == Ending::abort) stream->abort();
    if (how == Ending::gone) stream.reset();
}

inline Coro<void> ends_wake_readers(const StreamBench& bench) {
    for (const Ending end : every_ending) {
        for (const Reading how : every_reading) {
            StreamPair pair = co_await bench.pair();
            std::optional<Stream> from(std::move(pair.far));
            Task<Answer> reading = create_task(answer_of<Coro<std::string>>, read_by(how, *from));
            co_await settle();
            co_await end_by(end, from);
            const Answer answer = co_await reading;
            expect_error(answer, ECANCELED, name_of(how));
        }
    }
}

inline Coro<void> ends_wake_writers(const StreamBench& bench) {
    const std::string text = pattern(bench.options.more_than_fits);
    for (const Ending end : every_ending) {
        StreamPair pair = co_await bench.pair();
        std::optional<Stream> to(std::move(pair.near));
        Task<Answer> first = create_task(answer_of<Coro<void>>, write_text(*to, text));
        Task<Answer> second = create_task(answer_of<Coro<void>>, write_text(*to, "second"));
        co_await settle();
        co_await end_by(end, to);
        const Answer one = co_await first;
        const Answer two = co_await second;
        expect_error(one, ECANCELED, "a write whose stream ends");
        expect_error(two, ECANCELED, "a write behind it");
        // What the peer gets of it is the beginning.
        std::string got;
        std::string buffer(100'000, '\0');
        Answer answer;
        while (answer.is(Answer::Kind::value)) {
            answer = co_await answer_of([](Stream& from, std::string& into) -> Coro<std::string> {
                const std::size_t count = co_await from.read(into);
                co_return into.substr(0, count);
            }(pair.far, buffer));
            if (!answer.is(Answer::Kind::value) || answer.text.empty()) break;
            got += answer.text;
        }
        expect(got.size() < text.size() && got == text.substr(0, got.size()),
               {"a stream that ended in the middle of a write: other bytes, or too many"});
        expect(answer.is(Answer::Kind::value) || answer.is(Answer::Kind::error),
               {"its peer: ", answer.to_string()});
    }
}

inline Coro<void> peer_of_abort(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    Task<Answer> reading =
        create_task(answer_of<Coro<std::string>>, read_by(Reading::some, pair.far));
    co_await settle();
    pair.near.abort();
    const Answer answer = co_await reading;
    const bool is_end = answer.is(Answer::Kind::value) && answer.text.empty();
    expect(answer.is(Answer::Kind::error) || (is_end && !bench.options.abort_is_error),
           {"the peer of an abort: ", answer.to_string()});
}

inline Coro<void> moved(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    for (const Reading how : every_reading) {
        if (how == Reading::all) continue;
        Task<Answer> reading = create_task(answer_of<Coro<std::string>>, read_by(how, pair.far));
        co_await settle();
        Stream elsewhere = std::move(pair.far);
        co_await pair.near.write(greeting);
        const Answer answer = co_await reading;
        expect_value(answer, greeting, name_of(how));
        pair.far = std::move(elsewhere);
    }
    const Stream elsewhere = std::move(pair.near);
    bool refused = false;
    try {
        (void)pair.near.written();  // NOLINT(bugprone-use-after-move)
    } catch (const RuntimeError&) {
        refused = true;
    }
    expect(refused, {"a Stream that was moved from does not say so"});
}

inline constexpr StreamCase end_cases[] = {
    {"data and then the end", &data_then_end},
    {"what was written before a close arrives", &close_keeps_data},
    {"half close", &half_close},
    {"a closed stream refuses", &use_after_close},
    {"close and abort once more", &closed_again},
    {"a close of a cancelled task closes", &cancelled_close},
    {"writing to a peer that has closed", &writing_to_nobody},
    {"a write waits, and its peer closes", &peer_closes_on_writer},
    {"a stream that ends wakes its readers", &ends_wake_readers},
    {"a stream that ends wakes its writers", &ends_wake_writers},
    {"the peer of an abort", &peer_of_abort},
    {"a stream that is moved while somebody reads", &moved},
};
inline constexpr StreamCases stream_ends = end_cases;

}  // namespace weft::testing::detail
