// SPDX-License-Identifier: MIT
// The HTTP hello of bench/baseline/http_epoll.c on weft, with the limits and the time limits that
// a server has. The backend is WEFT_BACKEND's. --port N.
#include <weft/http.hpp>
#include <weft/weft.hpp>

#include <signal.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace {

long requests = 0;

weft::Coro<weft::http::Response> hello(weft::http::Request&) {
    ++requests;
    co_return weft::http::Response("Hello, World!");
}

}  // namespace

int main(int argc, char** argv) {
    const bool told = argc == 3 && std::string_view(argv[1]) == "--port";
    const auto port = static_cast<std::uint16_t>(told ? std::atoi(argv[2]) : 8097);
    weft::http::Router router;
    router.get("/", &hello);
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    weft::run(weft::http::serve(std::move(router), "127.0.0.1", port), options);
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
    const auto micros = static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    std::printf("requests %ld cpu_us_per_request %.3f\n", requests,
                (seconds * 1e6 + micros) / static_cast<double>(requests > 0 ? requests : 1));
}
