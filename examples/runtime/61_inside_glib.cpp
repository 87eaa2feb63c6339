// SPDX-License-Identifier: MIT
// needs: glib-2.0
// Coroutines in a program whose main loop is GLib's (GTK, GStreamer, D-Bus): the weft loop is a
// GSource, which GLib asks before it sleeps and tells when it wakes.
#include <weft/weft.hpp>

#include <fmt/core.h>
#include <glib.h>

#include <chrono>

using namespace std::chrono_literals;

namespace {

struct WeftSource {
    GSource source;  // first: GLib knows no more of it
    weft::EventLoop* loop;
    void* tag;
};

WeftSource& of(GSource* source) { return *reinterpret_cast<WeftSource*>(source); }

gboolean prepare(GSource* source, gint* timeout) {
    weft::EventLoop& loop = *of(source).loop;
    const weft::TimePoint deadline = loop.next_deadline();
    *timeout = -1;
    // Both clocks are CLOCK_MONOTONIC; GLib's is in microseconds.
    const auto since_boot =
        std::chrono::ceil<std::chrono::microseconds>(deadline.time_since_epoch());
    const bool none = deadline == weft::TimePoint::max();
    g_source_set_ready_time(source, none ? -1 : since_boot.count());
    return deadline <= loop.time();
}

gboolean check(GSource* source) {
    const bool is_readable = g_source_query_unix_fd(source, of(source).tag) != 0;
    const gint64 ready = g_source_get_ready_time(source);
    return is_readable || (ready >= 0 && ready <= g_source_get_time(source));
}

gboolean dispatch(GSource* source, GSourceFunc, gpointer) {
    of(source).loop->run_once();
    return G_SOURCE_CONTINUE;
}

weft::Coro<void> work(GMainLoop* main) {
    for (int step = 1; step <= 3; ++step) {
        co_await weft::sleep(2ms);
        const int squared = co_await weft::to_thread([step] { return step * step; });
        fmt::print("weft: {}\n", squared);
    }
    g_main_loop_quit(main);
}

}  // namespace

int main() {
    GMainLoop* const main = g_main_loop_new(nullptr, FALSE);
    {
        weft::Runner runner;
        static GSourceFuncs functions{&prepare, &check, &dispatch, nullptr, nullptr, nullptr};
        GSource* const source = g_source_new(&functions, sizeof(WeftSource));
        of(source).loop = &runner.get_loop();
        of(source).tag = g_source_add_unix_fd(source, runner.get_loop().fd(), G_IO_IN);
        g_source_attach(source, nullptr);

        auto task = runner.get_loop().create_task(work(main));
        g_timeout_add(
            3,
            [](gpointer) -> gboolean {
                fmt::print("GLib\n");
                return G_SOURCE_REMOVE;
            },
            nullptr);
        g_main_loop_run(main);

        g_source_destroy(source);
        g_source_unref(source);
        runner.close();
    }
    g_main_loop_unref(main);
    fmt::print("done\n");
}
