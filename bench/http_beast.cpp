// SPDX-License-Identifier: MIT
// The HTTP hello of bench/http_weft.cpp on Boost.Beast and Asio, with a limit of time as it has.
// --port N.
#include <utility>  // before Asio, which needs it and does not include it (Boost 1.74)

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

long requests = 0;

const char* date_now() {
    static std::time_t second = 0;
    static char text[40];
    const std::time_t now = std::time(nullptr);
    if (now != second) {
        second = now;
        std::tm parts{};
        gmtime_r(&now, &parts);
        std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    }
    return text;
}

class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(tcp::socket socket) : stream_(std::move(socket)) {}
    void read() {
        request_ = {};
        stream_.expires_after(std::chrono::seconds(75));
        http::async_read(stream_, buffer_, request_,
                         [self = shared_from_this()](beast::error_code error, std::size_t) {
                             if (!error) self->answer();
                         });
    }

private:
    void answer() {
        ++requests;
        response_ = {};
        response_.result(request_.target() == "/" ? http::status::ok : http::status::not_found);
        response_.set(http::field::content_type, "text/plain; charset=utf-8");
        response_.set(http::field::date, date_now());
        response_.body() = "Hello, World!";
        response_.prepare_payload();
        http::async_write(stream_, response_,
                          [self = shared_from_this()](beast::error_code error, std::size_t) {
                              if (!error) self->read();
                          });
    }

    beast::tcp_stream stream_;
    beast::flat_buffer buffer_;
    http::request<http::string_body> request_;
    http::response<http::string_body> response_;
};

void accept(tcp::acceptor& acceptor) {
    acceptor.async_accept([&acceptor](beast::error_code error, tcp::socket socket) {
        if (!error) std::make_shared<Session>(std::move(socket))->read();
        accept(acceptor);
    });
}

}  // namespace

int main(int argc, char** argv) {
    const auto port = static_cast<unsigned short>(argc == 3 ? std::atoi(argv[2]) : 8096);
    asio::io_context context(1);
    tcp::acceptor acceptor(context, {asio::ip::make_address("127.0.0.1"), port});
    accept(acceptor);
    asio::signal_set stop(context, SIGTERM);
    stop.async_wait([&context](beast::error_code, int) { context.stop(); });
    context.run();
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec);
    const auto micros = static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    std::printf("requests %ld cpu_us_per_request %.3f\n", requests,
                (seconds * 1e6 + micros) / static_cast<double>(requests > 0 ? requests : 1));
}
