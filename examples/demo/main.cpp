// SPDX-License-Identifier: MIT
// needs: weft::http
// demo                     starts the service in a second process and fetches 1,000 pages from it
// demo --serve [--port N]  the service alone, for your browser or curl
//
// Each page takes the service 100 ms of (simulated) work. Fetched one by one, 1,000 pages take 100
// seconds; fetched all at once, from one thread to one thread, little more than a tenth of one.
#include <fmt/format.h>
#include <sys/resource.h>
#include <weft/base/error.hpp>
#include <weft/task/run.hpp>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

#include "client.hpp"
#include "pages.hpp"
#include "service.hpp"
#include "service_process.hpp"

namespace {

/// Each process holds one descriptor per connection; the usual limit of 1,024 is just too low.
void raise_descriptor_limit() {
    constexpr rlim_t needed = demo::page_count + 100;
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= needed) return;
    limit.rlim_cur = needed;
    if (limit.rlim_max < needed || ::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        throw std::runtime_error(fmt::format("{} open files are needed (ulimit -n), {} allowed",
                                             needed, limit.rlim_max));
    }
}

struct Arguments {
    bool serve = false;
    std::uint16_t port = 0;
};

Arguments parse(int argc, char** argv) {
    Arguments arguments;
    for (int index = 1; index < argc; ++index) {
        const std::string_view word = argv[index];
        if (word == "--serve") {
            arguments.serve = true;
        } else if (word == "--port" && index + 1 < argc) {
            const std::string_view number = argv[++index];
            const char* const end = number.data() + number.size();
            if (std::from_chars(number.data(), end, arguments.port).ptr != end) {
                throw std::invalid_argument(fmt::format("'{}' is not a port", number));
            }
        } else {
            throw std::invalid_argument("usage: demo [--serve [--port N]]");
        }
    }
    return arguments;
}

void stop(demo::ServiceProcess& service) {
    if (const int code = service.stop(); code != 0) {
        throw std::runtime_error(fmt::format("the service ended with code {}", code));
    }
}

void run(const Arguments& arguments) {
    raise_descriptor_limit();
    if (arguments.serve) return weft::run(demo::run_service(arguments.port));

    demo::ServiceProcess service;
    try {
        weft::run(demo::run_client(service.address()));
    } catch (const std::exception&) {
        stop(service);  // if it died, that is the reason and "connection reset" only the effect
        throw;
    }
    stop(service);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        run(parse(argc, argv));
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "demo: {}\n", error.what());
    } catch (const weft::CancelledError& error) {
        fmt::print(stderr, "demo: {}\n", error.what());
    }
    return 1;
}
