// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include <weft/fs.hpp>
#include <weft/http.hpp>
#include <weft/http/detail/date.hpp>
#include <weft/weft.hpp>

namespace files_test {
namespace {

namespace http = weft::http;
using http::Request;
using http::Response;
using weft::Coro;

TEST_CASE("a range is one stretch of bytes that there is, or none, or nothing that counts") {
    struct Row {
        const char* field;
        bool counts;
        std::uint64_t first, count;
    };
    for (const Row& row :
         {Row{"bytes=0-4", true, 0, 5}, Row{"bytes=5-", true, 5, 5}, Row{"bytes=-3", true, 7, 3},
          Row{"bytes=-30", true, 0, 10}, Row{"bytes=9-9", true, 9, 1},
          Row{"Bytes= 2-300", true, 2, 8}, Row{"bytes=10-", true, 0, 0},
          Row{"bytes=-0", true, 10, 0}, Row{"bytes=0-1,3-4", false, 0, 0},
          Row{"bytes=4-2", false, 0, 0}, Row{"bytes=a-b", false, 0, 0}, Row{"bytes=-", false, 0, 0},
          Row{"bytes=1-x", false, 0, 0}, Row{"lines=0-4", false, 0, 0},
          Row{"bytes=0 - 4", false, 0, 0}, Row{"bytes=+1-2", false, 0, 0},
          Row{"bytes=18446744073709551617-", false, 0, 0}, Row{"", false, 0, 0}}) {
        INFO(row.field);
        const auto range = http::detail::range_of(row.field, 10);
        CHECK(range.has_value() == row.counts);
        if (!range) continue;
        CHECK(range->count == row.count);
        if (row.count > 0) CHECK(range->first == row.first);
    }
    CHECK(http::detail::range_of("bytes=0-", 0)->count == 0);
}

TEST_CASE("dates are read as they are written, and others are none") {
    CHECK(http::detail::date_text(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(http::detail::date_of("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777);
    CHECK(!http::detail::date_of("Sunday, 06-Nov-94 08:49:37 GMT"));
    CHECK(!http::detail::date_of("Sun, 06 Xyz 1994 08:49:37 GMT"));
    CHECK(!http::detail::date_of(""));
}

class Client {
public:
    explicit Client(std::string folder) : folder_(std::move(folder)) {}

    Coro<std::string> get(std::string path, std::string fields = {}, std::string method = "GET") {
        http::Router router;
        router.get("/files/{path...}", http::static_files(folder_));
        weft::StreamPair pair = weft::memory_stream();
        weft::Task<void> serving =
            weft::create_task(http::serve_connection(std::move(router), std::move(pair.far)));
        const std::string request =
            method + " " + path + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
        co_await pair.near.write(request);
        co_await pair.near.write_eof();
        std::string answer = co_await pair.near.read_all(1 << 24);
        co_await serving;
        co_return answer;
    }

private:
    std::string folder_;
};

std::string field(const std::string& answer, const std::string& name) {
    const std::size_t at = answer.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const std::size_t begin = at + name.size() + 4;
    return answer.substr(begin, answer.find("\r\n", begin) - begin);
}
std::string body(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }

WEFT_TEST_CASE("a folder gives what is in it, in parts, and not again to who has it") {
    auto folder = co_await weft::temporary_directory();
    const std::string root = folder.path() + "/public";
    ::mkdir(root.c_str(), 0700);
    ::mkdir((root + "/sub").c_str(), 0700);
    co_await weft::write_file(root + "/a.txt", "0123456789");
    co_await weft::write_file(root + "/index.html", "<h1>");
    co_await weft::write_file(root + "/sub/b.bin", std::string(300'000, 'b'));
    co_await weft::write_file(root + "/.hidden", "secret");
    co_await weft::write_file(folder.path() + "/secret", "secret");
    CHECK(::symlink("../secret", (root + "/link").c_str()) == 0);
    CHECK(::symlink("a.txt", (root + "/inner").c_str()) == 0);
    CHECK(::mkfifo((root + "/fifo").c_str(), 0600) == 0);
    Client client(root);

    std::string answer = co_await client.get("/files/a.txt");
    CHECK(body(answer) == "0123456789");
    CHECK(field(answer, "Content-Type") == "text/plain; charset=utf-8");
    CHECK(field(answer, "Content-Length") == "10");
    CHECK(field(answer, "Accept-Ranges") == "bytes");
    const std::string tag = field(answer, "ETag");
    const std::string modified = field(answer, "Last-Modified");
    CHECK(tag.size() > 4);

    answer = co_await client.get("/files/a.txt", "", "HEAD");
    CHECK(field(answer, "Content-Length") == "10");
    CHECK(body(answer) == "");
    answer = co_await client.get("/files/a.txt", "Range: bytes=2-4\r\n");
    CHECK(answer.substr(9, 3) == "206");
    CHECK(field(answer, "Content-Range") == "bytes 2-4/10");
    CHECK(body(answer) == "234");
    answer = co_await client.get("/files/a.txt", "Range: bytes=10-\r\n");
    CHECK(answer.substr(9, 3) == "416");
    CHECK(field(answer, "Content-Range") == "bytes */10");
    answer = co_await client.get("/files/a.txt", "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n");
    CHECK(body(answer) == "0123456789");
    answer = co_await client.get("/files/a.txt", "Range: bytes=0-1\r\nIf-Range: " + tag + "\r\n");
    CHECK(body(answer) == "01");
    answer = co_await client.get("/files/a.txt", "If-None-Match: \"x\", W/" + tag + "\r\n");
    CHECK(answer.substr(9, 3) == "304");
    CHECK(field(answer, "ETag") == tag);
    CHECK(body(answer) == "");
    answer = co_await client.get("/files/a.txt", "If-Modified-Since: " + modified + "\r\n");
    CHECK(answer.substr(9, 3) == "304");
    answer = co_await client.get("/files/a.txt",
                                 "If-None-Match: \"x\"\r\nIf-Modified-Since: " + modified + "\r\n");
    CHECK(answer.substr(9, 3) == "200");
    answer = co_await client.get("/files/a.txt", "If-Match: \"x\"\r\n");
    CHECK(answer.substr(9, 3) == "412");

    answer = co_await client.get("/files/");
    CHECK(body(answer) == "<h1>");
    answer = co_await client.get("/files/sub/b.bin");
    CHECK(body(answer) == std::string(300'000, 'b'));
    CHECK(field(answer, "Content-Type") == "application/octet-stream");
    answer = co_await client.get("/files/inner");
    CHECK(body(answer) == "0123456789");
    answer = co_await client.get("/files/sub");
    CHECK(answer.substr(9, 3) == "301");
    CHECK(field(answer, "Location") == "./sub/");

    // Nothing else.
    for (const char* path :
         {"/files/../secret", "/files/sub/../../secret", "/files/%2e%2e/secret",
          "/files/..%2fsecret", "/files/sub/..%2f..%2fsecret", "/files//a.txt", "/files/./a.txt",
          "/files/%2fetc%2fpasswd", "/files/a.txt%00.html", "/files/.hidden", "/files/%2ehidden",
          "/files/link", "/files/fifo", "/files/none", "/files/a.txt/", "/files/sub/"}) {
        INFO(path);
        const std::string refused = co_await client.get(path);
        CHECK(refused.substr(9, 3) == "404");
        CHECK(refused.find("secret") == std::string::npos);
    }
}

WEFT_TEST_CASE("a file goes out over a socket as it is") {
    auto folder = co_await weft::temporary_directory();
    std::string content;
    for (int i = 0; i < 100'000; ++i) content += std::to_string(i) + "\n";
    const std::string path = folder.path() + "/large";
    co_await weft::write_file(path, content);
    http::Router router;
    router.get("/", [path](Request& request) { return http::send_file(request, path); });
    http::Server server = co_await http::start_server(std::move(router), "127.0.0.1", 0);
    weft::Stream client = co_await weft::open_connection("127.0.0.1", server.port());
    co_await client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const std::string answer = co_await client.read_all(1 << 24);
    CHECK(body(answer) == content);
    co_await client.close();
    co_await server.shutdown();
}

}  // namespace
}  // namespace files_test
