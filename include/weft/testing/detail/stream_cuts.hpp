// SPDX-License-Identifier: MIT
// Cases of check_stream: cancels, deadlines, second readers, and a scenario cut off at every step.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../../deadline/move_on_after.hpp"
#include "../../deadline/timeout.hpp"
#include "../../deadline/wait_for.hpp"
#include "../../runtime/report.hpp"
#include "../../sync/event.hpp"
#include "../step_kill.hpp"
#include "stream_bench.hpp"

namespace weft::testing::detail {

inline constexpr std::chrono::milliseconds cut_after{10};

// --- reads ---

enum class Cut { cancel, wait_for, move_on_after, timeout };
inline constexpr Cut every_cut[] = {Cut::cancel, Cut::wait_for, Cut::move_on_after, Cut::timeout};

/// A deadline around the operation itself, where it is one.
inline Coro<std::string> read_within(Cut cut, Reading how, Stream& from) {
    char buffer[64];
    if (how == Reading::some && cut == Cut::wait_for) {
        const std::size_t count = co_await wait_for(from.read(buffer), cut_after);
        co_return std::string(buffer, count);
    }
    if (how == Reading::chunk && cut == Cut::wait_for) {
        const Chunk chunk = co_await wait_for(from.read_chunk(), cut_after);
        co_return std::string(chunk.view());
    }
    if (how == Reading::some && cut == Cut::move_on_after) {
        const std::optional<std::size_t> count =
            co_await move_on_after(cut_after, from.read(buffer));
        if (!count) throw TimeoutError();
        co_return std::string(buffer, *count);
    }
    if (how == Reading::chunk && cut == Cut::move_on_after) {
        const std::optional<Chunk> chunk = co_await move_on_after(cut_after, from.read_chunk());
        if (!chunk) throw TimeoutError();
        co_return std::string(chunk->view());
    }
    if (cut == Cut::wait_for) co_return co_await wait_for(read_by(how, from), cut_after);
    if (cut == Cut::timeout) co_return co_await timeout(cut_after, read_by(how, from));
    std::optional<std::string> text = co_await move_on_after(cut_after, read_by(how, from));
    if (!text) throw TimeoutError();
    co_return std::move(*text);
}

inline Coro<Answer> cut_read(Cut cut, Reading how, Stream& from) {
    if (cut != Cut::cancel) co_return co_await answer_of(read_within(cut, how, from));
    Task<std::string> reading = create_task(read_by, how, std::ref(from));
    co_await settle();
    reading.cancel();
    co_return co_await answer_of(std::move(reading));
}

inline Coro<void> cut_reads(const StreamBench& bench) {
    for (const Cut cut : every_cut) {
        for (const Reading how : every_reading) {
            if (how == Reading::all && !bench.options.close_keeps_data) continue;
            StreamPair pair = co_await bench.pair();
            const Answer::Kind due =
                cut == Cut::cancel ? Answer::Kind::cancelled : Answer::Kind::timed_out;
            const Answer nothing = co_await cut_read(cut, how, pair.far);
            expect_kind(nothing, due, name_of(how));
            std::string_view text = greeting;
            if (gathers(how)) {
                co_await pair.near.write(text.substr(0, 3));
                const Answer part = co_await cut_read(cut, how, pair.far);
                expect_kind(part, due, name_of(how));
                text.remove_prefix(3);
            }
            Task<Answer> reading =
                create_task(answer_of<Coro<std::string>>, read_by(how, pair.far));
            co_await pair.near.write(text);
            co_await settle();
            if (how == Reading::all) co_await pair.near.close();
            const Answer whole = co_await reading;
            expect_value(whole, greeting, name_of(how));
        }
    }
}

/// In the turns in which data arrives.
inline Coro<void> raced_reads(const StreamBench& bench) {
    for (const Reading how : every_reading) {
        for (int turns = 0; turns < 5; ++turns) {
            StreamPair pair = co_await bench.pair();
            Task<std::string> reading = create_task(read_by, how, std::ref(pair.far));
            co_await settle();
            co_await pair.near.write(greeting);
            for (int turn = 0; turn < turns; ++turn) co_await yield();
            reading.cancel();
            const Answer answer = co_await answer_of(std::move(reading));
            expect(answer.is(Answer::Kind::value) || answer.is(Answer::Kind::cancelled),
                   {name_of(how), ", cancelled as data arrives: ", answer.to_string()});
            std::string all;
            if (answer.is(Answer::Kind::value)) all = answer.text;
            co_await pair.near.write("end\n");
            for (int round = 0; round < 20 && all.size() < 10; ++round) {
                const Answer rest =
                    co_await answer_of(read_within(Cut::wait_for, Reading::some, pair.far));
                if (rest.is(Answer::Kind::value)) {
                    all += rest.text;
                } else if (pair.far.fd() >= 0) {
                    // (As in `arrival`; what is lost does not come, so this wait has an end.)
                    pollfd ready{pair.far.fd(), POLLIN, 0};
                    ::poll(&ready, 1, 1000);
                }
            }
            expect(all == "hello\nend\n",
                   {name_of(how), ", cancelled as data arrives, has lost some: ", all});
        }
    }
}

/// A deadline that has passed takes what is there, or leaves it.
inline Coro<void> reads_without_time(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    char buffer[64];
    const auto nothing = co_await move_on_after(std::chrono::seconds(0), pair.far.read(buffer));
    const auto no_chunk = co_await move_on_after(std::chrono::seconds(0), pair.far.read_chunk());
    expect(!nothing && !no_chunk, {"a read without time has found what was not written"});
    co_await pair.near.write(greeting);
    co_await arrival(pair.far);
    std::string got;
    if (const auto some = co_await move_on_after(std::chrono::seconds(0), pair.far.read(buffer)))
        got.assign(buffer, *some);
    if (got.empty()) got = co_await pair.far.read_line();
    expect(got == greeting, {"a read without time has lost something"});
}

inline Coro<void> second_readers(const StreamBench& bench) {
    for (const Reading first : every_reading) {
        if (first == Reading::all && !bench.options.close_keeps_data) continue;
        StreamPair pair = co_await bench.pair();
        Task<Answer> reading = create_task(answer_of<Coro<std::string>>, read_by(first, pair.far));
        co_await settle();
        for (const Reading second : every_reading) {
            const Answer answer = co_await answer_of(read_by(second, pair.far));
            expect(answer.is(Answer::Kind::refused),
                   {name_of(second), " while another task waits in ", name_of(first), ": ",
                    answer.to_string()});
        }
        bool refused = false;
        try {
            char buffer[4];
            (void)pair.far.try_read(buffer);
        } catch (const RuntimeError&) {
            refused = true;
        }
        expect(refused, {"try_read while another task waits in ", name_of(first)});
        co_await pair.near.write(greeting);
        co_await settle();
        if (first == Reading::all) co_await pair.near.close();
        const Answer answer = co_await reading;
        expect_value(answer, greeting, name_of(first));
    }
}

// --- writes ---

inline Coro<void> write_within(Cut cut, Stream& to, std::string_view text) {
    if (cut == Cut::wait_for) {
        co_await wait_for(to.write(text), cut_after);
        co_return;
    }
    if (cut == Cut::timeout) {
        co_await timeout(cut_after, write_text(to, text));
        co_return;
    }
    const bool is_done = co_await move_on_after(cut_after, to.write(text));
    if (!is_done) throw TimeoutError();
}
inline Coro<Answer> cut_write(Cut cut, Stream& to, std::string_view text) {
    if (cut != Cut::cancel) co_return co_await answer_of(write_within(cut, to, text));
    Task<void> writing = create_task(write_text, std::ref(to), text);
    co_await settle();
    writing.cancel();
    co_return co_await answer_of(std::move(writing));
}

inline Coro<void> cut_writes(const StreamBench& bench) {
    const std::string text = pattern(bench.options.more_than_fits);
    for (const Cut cut : every_cut) {
        StreamPair pair = co_await bench.pair();
        const Answer answer = co_await cut_write(cut, pair.near, text);
        expect_kind(answer, cut == Cut::cancel ? Answer::Kind::cancelled : Answer::Kind::timed_out,
                    "a write that waits for its reader");
        const auto sent = static_cast<std::size_t>(pair.near.written());
        expect(sent < text.size(), {"written() of a write that was cut off"});
        Task<void> more = create_task(write_text, std::ref(pair.near), "behind it");
        const std::string got = co_await pair.far.read_exactly(sent);
        const std::string behind = co_await pair.far.read_exactly(9);
        co_await more;
        expect_prefix(got, text, sent, "a write that was cut off");
        expect(behind == "behind it", {"written() of a write that was cut off was not honest"});
        expect(pair.near.written() == sent + 9, {"written() after a write that was cut off"});
    }
}

// --- every step ---

inline Coro<void> scenario_reader(Stream& from, std::string_view text, Event& has_all) {
    const std::string line = co_await from.read_line();
    const std::string got = co_await from.read_exactly(text.size());
    expect(line == greeting && got == text, {"the scenario has read something else"});
    const Chunk last = co_await from.read_chunk();
    expect(last.view() == "last", {"the scenario has read something else at its end"});
    has_all.set();
    const std::string end = co_await from.read_line();
    expect(end.empty(), {"the scenario has not found its end"});
}
inline Coro<void> scenario(const StreamBench& bench) {
    StreamPair pair = co_await bench.pair();
    const std::string text = pattern(20'000);
    Event has_all;
    Task<void> reading = create_task(scenario_reader, std::ref(pair.far), text, std::ref(has_all));
    co_await pair.near.write(greeting);
    co_await pair.near.write(text);
    co_await settle();
    co_await pair.near.write("last");
    co_await has_all.wait();
    co_await pair.near.close();
    co_await reading;
    co_await pair.far.close();
}
inline void every_step(const StreamBench& bench) {
    const auto start = [&bench] { return scenario(bench); };
    RunOptions quiet = bench.options.run;
    // (Of a scenario that is cut off its other task may fail, and nobody looks at it.)
    quiet.exception_handler = [](const ExceptionContext&) {};
    kill_at_every_step(start, 10'000, quiet);
    cancel_at_every_step(
        start, [](const Task<void>&) {}, 10'000, quiet);
}

inline constexpr StreamCase cut_cases[] = {
    {"a read that is cut off loses nothing", &cut_reads},
    {"a read that is cancelled as data arrives loses nothing", &raced_reads},
    {"reads without time", &reads_without_time},
    {"a second reader is refused", &second_readers},
    {"a write that is cut off says how far it came", &cut_writes},
    {"cut off at every step", nullptr, false, &every_step},
};
inline constexpr StreamCases stream_cuts = cut_cases;

}  // namespace weft::testing::detail
