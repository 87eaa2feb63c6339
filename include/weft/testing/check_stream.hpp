// SPDX-License-Identifier: MIT
// check_stream: does a transport do what the users of a Stream rely on?
#pragma once

#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "../base/error.hpp"
#include "../base/options.hpp"
#include "../streams/stream_pair.hpp"
#include "../task/coro.hpp"
#include "census.hpp"
#include "detail/stream_bench.hpp"
#include "detail/stream_cuts.hpp"
#include "detail/stream_ends.hpp"
#include "detail/stream_transfers.hpp"
#include "run.hpp"

namespace weft::testing {

/// What is wrong with a transport, a line for each.
class StreamCheckFailed : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Runs everything that a Stream promises over pairs of streams that `make()` connects with each
/// other (it returns a StreamPair, or a Coro<StreamPair> that is awaited): whole and in order,
/// backpressure, ends, closes, cancels and deadlines at every point, wrong uses. In both
/// directions, if there are two. Each case has a loop of its own, with virtual time, and new pairs.
///
///     TEST_CASE("my transport is a stream") {
///         weft::testing::check_stream([] { return my_pair(); });
///     }
///
/// Call it where no loop runs.
/// Throws:   StreamCheckFailed, which any framework reports; what `make` throws is in it too.
/// Source:   the idea is that of Trio's check_two_way_stream.
template <class Make>
void check_stream(Make&& make, const StreamCheckOptions& options = {});

/// The names of the cases, for `StreamCheckOptions::only`.
inline std::string stream_case_names() {
    std::string names;
    for (const detail::StreamCases& group :
         {detail::stream_transfers, detail::stream_ends, detail::stream_cuts}) {
        for (const detail::StreamCase& each : group) names.append(each.name).append(1, '\n');
    }
    return names;
}

namespace detail {

inline void run_stream_case(const StreamCase& what, StreamBench& bench, std::string& failures) {
    const StreamCheckOptions& options = bench.options;
    if (!options.only.empty() && options.only != what.name) return;
    if (!options.both_ways && (bench.is_flipped || what.takes_both_ways)) return;
    std::string failure;
    const DescriptorCensus before;
    try {
        if (what.run) {
            testing::run([&] { return what.run(bench); }, options.run);
        } else {
            what.run_alone(bench);
        }
    } catch (const std::exception& error) {
        failure = error.what();
    } catch (const CancelledError&) {
        failure = "a cancel that nobody asked for";
    }
    if (failure.empty() && !before.leaked().empty())
        failure = weft::detail::concat({"descriptors are left open:\n", before.leaked()});
    if (failure.empty()) return;
    failures += weft::detail::concat(
        {what.name, bench.is_flipped ? " (from far to near): " : ": ", failure, "\n"});
}

}  // namespace detail

template <class Make>
void check_stream(Make&& make, const StreamCheckOptions& options) {
    detail::StreamBench bench(options, &make, [](void* maker) -> Coro<StreamPair> {
        auto& call = *static_cast<std::remove_reference_t<Make>*>(maker);
        if constexpr (std::is_same_v<decltype(call()), StreamPair>) {
            co_return call();
        } else {
            co_return co_await call();
        }
    });
    std::string failures;
    for (const bool flipped : {false, true}) {
        bench.is_flipped = flipped;
        for (const detail::StreamCases& group :
             {detail::stream_transfers, detail::stream_ends, detail::stream_cuts}) {
            for (const detail::StreamCase& each : group)
                detail::run_stream_case(each, bench, failures);
        }
    }
    if (!failures.empty()) throw StreamCheckFailed(failures);
}

}  // namespace weft::testing
