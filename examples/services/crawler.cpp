// SPDX-License-Identifier: MIT
// A crawler: follows the links of a site with libcurl, eight pages at a time, shows how far it is
// while it works and a table of what it has found at the end. Ctrl-C ends it early, with the table.
//     crawler https://example.com/ 200
// needs: weft::curl
#include <fmt/format.h>
#include <weft/curl.hpp>
#include <weft/weft.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

struct Page {
    std::string result;  // "200", or what went wrong
    std::size_t bytes = 0;
    weft::Duration elapsed{0};
};

/// The targets of `href="..."`, as whole URLs on the site; others are left out.
std::vector<std::string> links_of(std::string_view html, const std::string& site) {
    std::vector<std::string> links;
    constexpr std::string_view mark = "href=\"";
    for (std::size_t at = 0; (at = html.find(mark, at)) != html.npos;) {
        at += mark.size();
        const std::size_t end = html.find_first_of("\"#", at);
        if (end == html.npos) break;
        std::string link(html.substr(at, end - at));
        if (!link.empty() && link[0] == '/' && link.substr(0, 2) != "//") link = site + link;
        if (link.substr(0, site.size() + 1) == site + "/") links.push_back(link);
    }
    return links;
}

class Crawler {
public:
    Crawler(std::string start, std::size_t most) : most_(most) {
        site_ = start.substr(0, start.find('/', start.find("://") + 3));
        if (start == site_) start += '/';
        found_.insert(start);
        waiting_.put_nowait(start);
    }

    weft::Coro<void> run() {
        auto worker = [this](int) { return work(); };
        co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
            for (int number = 0; number < 8; ++number) group.create_task(worker, number);
            group.create_task([this] { return show_progress(); });
            co_await waiting_.join();  // every page that was found has been seen
            group.cancel();
        });
    }

    void print_table() const {
        fmt::print("{:>6} {:>9} {:>8}  {}\n", "result", "bytes", "ms", "page");
        std::size_t bytes = 0;
        for (const auto& [url, page] : pages_) {
            fmt::print("{:>6} {:>9} {:>8.1f}  {}\n", page.result, page.bytes,
                       std::chrono::duration<double, std::milli>(page.elapsed).count(), url);
            bytes += page.bytes;
        }
        fmt::print("{} pages, {} bytes\n", pages_.size(), bytes);
    }

private:
    weft::Coro<void> work() {
        for (;;) {
            const std::string url = co_await waiting_.get();
            co_await visit(url);
            waiting_.task_done();
        }
    }

    weft::Coro<void> visit(const std::string& url) {
        Page page;
        try {
            weft::curl::Request request(url);
            request.timeout = 10s;
            request.body_limit = 4 << 20;
            const weft::curl::Response got = co_await curl_.fetch(std::move(request));
            page = Page{std::to_string(got.status), got.body.size(), got.elapsed};
            if (got.ok()) {
                for (const std::string& link : links_of(got.body, site_)) {
                    if (found_.size() < most_ && found_.insert(link).second)
                        waiting_.put_nowait(link);
                }
            }
        } catch (const weft::TimeoutError&) {
            page.result = "late";
        } catch (const std::exception& error) {
            page.result = "failed";
            fmt::print(stderr, "{}\n", error.what());
        }
        pages_[url] = page;
    }

    weft::Coro<void> show_progress() const {
        if (isatty(STDERR_FILENO) == 0) co_return;
        for (;;) {
            fmt::print(stderr, "\r{} of {} pages ", pages_.size(), found_.size());
            co_await weft::sleep(100ms);
        }
    }

    std::string site_;
    std::size_t most_;
    std::set<std::string> found_;
    std::map<std::string, Page> pages_;
    weft::Queue<std::string> waiting_;
    weft::curl::Client curl_;
};

/// A site of three pages and a dead link, where no other is given.
weft::Coro<void> answer(weft::Stream stream) {
    const std::string line = co_await stream.read_until("\r\n\r\n");
    const std::string path = line.substr(4, line.find(' ', 4) - 4);
    const std::map<std::string, std::string> pages = {
        {"/", "<a href=\"/a\">a</a> <a href=\"/b#part\">b</a> <a href=\"https://elsewhere/\">"},
        {"/a", "<a href=\"/\">back</a> <a href=\"/b\">b</a>"},
        {"/b", "<a href=\"/missing\">?</a>"}};
    const auto found = pages.find(path);
    const std::string body = found == pages.end() ? "no such page" : found->second;
    const std::string reply =
        fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                    found == pages.end() ? "404 Not Found" : "200 OK", body.size(), body);
    co_await stream.write(reply);
}

weft::Coro<void> crawl(std::vector<std::string> arguments) {
    weft::Server site = co_await weft::start_server(&answer, "127.0.0.1", 0);
    const std::string start =
        arguments.empty() ? fmt::format("http://127.0.0.1:{}/", site.port()) : arguments[0];
    Crawler crawler(start, arguments.size() > 1 ? std::stoul(arguments[1]) : 100);
    try {
        co_await crawler.run();
    } catch (const weft::CancelledError&) {  // Ctrl-C
        crawler.print_table();
        throw;
    }
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r");
    crawler.print_table();
}

int main(int argc, char** argv) {
    weft::run(crawl(std::vector<std::string>(argv + 1, argv + argc)));
}
