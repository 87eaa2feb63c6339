// SPDX-License-Identifier: MIT
// curl::Client while libcurl looks up a name whose name server does not answer.
// program: own
#include <weft/curl.hpp>
#include <weft/weft.hpp>

#include <dlfcn.h>
#include <netdb.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include <weft/testing/catch.hpp>
#include "../support/thread_wait.hpp"

namespace slow_names_test {

namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::curl::Client;
using weft::curl::Request;
using weft::curl::Response;

/// Holds up whoever looks up a name of ".test". (Outlives the threads, which outlive everything.)
struct NameServer {
    void ask(const std::string& name) {
        if (name.find(".test") == name.npos) return;
        std::unique_lock lock(mutex);
        ++stuck;
        // A bound, for a transfer that would wait for it on the loop's own thread.
        answers_now = !changed.wait_for(lock, 30s, [this] { return answers; }) || answers_now;
        --stuck;
        changed.notify_all();
    }
    void let_all_go() {
        std::unique_lock lock(mutex);
        answers = true;
        changed.notify_all();
        support::wait_until(changed, lock, [this] { return stuck == 0; });
        answers = false;
    }
    int waiting() {
        const std::lock_guard lock(mutex);
        return stuck;
    }
    bool was_waited_out() {
        const std::lock_guard lock(mutex);
        return answers_now;
    }
    std::mutex mutex;
    std::condition_variable changed;
    int stuck = 0;
    bool answers = false;
    bool answers_now = false;  // by itself, since nobody else could go on
};
NameServer& name_server() {
    static NameServer* const one = new NameServer;
    return *one;
}

}  // namespace

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** found) {
    using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
    static const auto libc = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    name_server().ask(node ? node : "");
    return libc("127.0.0.1", service, hints, found);
}

TEST_CASE("a transfer whose name is being looked up is cancelled at once", "[curl]") {
#if LIBCURL_VERSION_NUM >= 0x075700
    const curl_version_info_data* const library = ::curl_version_info(CURLVERSION_NOW);
    if (library->version_num < 0x075700 || library->ares) {
        WARN("left out: this libcurl waits for its look-ups, or makes them by c-ares");
        return;
    }
    enum class Ends { by_cancel, by_its_timeout, with_the_run };
    for (const Ends ends : {Ends::by_cancel, Ends::by_its_timeout, Ends::with_the_run}) {
        CAPTURE(static_cast<int>(ends));
        weft::run([&]() -> Coro<void> {
            Client curl;
            std::vector<weft::Task<Response>> tasks;
            for (int number = 0; number < 4; ++number) {
                Request request("http://name-" + std::to_string(number) + ".test/");
                if (ends == Ends::by_its_timeout) request.connect_timeout = 20ms;
                tasks.push_back(weft::create_task(curl.fetch(std::move(request))));
            }
            while (name_server().waiting() < 4) co_await weft::sleep(1ms);
            if (ends == Ends::with_the_run) co_return;
            for (auto& task : tasks) {
                if (ends == Ends::by_cancel) task.cancel();
                co_await task.wait();
            }
            for (auto& task : tasks) {
                CHECK(task.cancelled() == (ends == Ends::by_cancel));
                if (!task.cancelled()) CHECK_THROWS_AS(task.result(), weft::TimeoutError);
            }
        });
        CHECK_FALSE(name_server().was_waited_out());
        CHECK(name_server().waiting() == 4);
        name_server().let_all_go();
    }
#else
    WARN("left out: libcurl before 7.87 waits for its look-ups");
#endif
}

}  // namespace slow_names_test
