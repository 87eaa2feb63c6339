// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <stdexcept>
#include <string>

#include <weft/http/url.hpp>

#include "../support/fuzz_http.hpp"

namespace url_test {
namespace {

using weft::http::Url;

std::string refused(const std::string& text) {
    try {
        return "taken: " + Url(text).to_string();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
}

TEST_CASE("a URL is taken apart") {
    struct Row {
        const char* text;
        const char* host;
        int port;
        const char* authority;
        const char* target;
    };
    for (const Row& row : {
             Row{"http://example.com", "example.com", 80, "example.com", "/"},
             Row{"HTTP://Example.COM:80/", "example.com", 80, "example.com", "/"},
             Row{"https://example.com:8443/a?b=c#d", "example.com", 8443, "example.com:8443",
                 "/a?b=c"},
             Row{"https://example.com?", "example.com", 443, "example.com", "/?"},
             Row{"http://example.com?x", "example.com", 80, "example.com", "/?x"},
             Row{"http://example.com:/x", "example.com", 80, "example.com", "/x"},
             Row{"ws://127.0.0.1:9/", "127.0.0.1", 9, "127.0.0.1:9", "/"},
             Row{"wss://[2001:db8::1]/s", "2001:db8::1", 443, "[2001:db8::1]", "/s"},
             Row{"http://[::1]:81", "::1", 81, "[::1]:81", "/"},
             Row{"http://u:p@h/", "h", 80, "h", "/"},
             Row{"http://h/a b/\xc3\xbc?q=\xe2\x82\xac", "h", 80, "h", "/a%20b/%C3%BC?q=%E2%82%AC"},
             Row{"http://h/%41%zz", "h", 80, "h", "/%41%zz"},
             Row{"http://h/a/./b/../c", "h", 80, "h", "/a/c"},
             Row{"http://h/../../x", "h", 80, "h", "/x"},
             Row{"http://h/a/..", "h", 80, "h", "/"},
             Row{"http+unix://%2Frun%2Fa.sock/info?x", "/run/a.sock", 0, "localhost", "/info?x"},
         }) {
        const Url url(row.text);
        CHECK(url.host() == row.host);
        CHECK(url.port() == row.port);
        CHECK(url.authority() == row.authority);
        CHECK(url.target() == row.target);
    }
    const Url url("https://me%40home:pass%3aword@example.com/");
    CHECK(url.user() == "me@home");
    CHECK(url.password() == "pass:word");
    CHECK(url.to_string() == "https://example.com/");
    CHECK(url.is_secure());
    CHECK(!url.is_websocket());
    CHECK(Url("http+unix://%2Frun%2Fa.sock/x").to_string() == "http+unix://%2Frun%2Fa.sock/x");
}

TEST_CASE("what is no URL is refused with a reason") {
    CHECK_THAT(refused("http+unix://%2Frun%2Fx.sock:80/"), Catch::Contains("with a Unix socket"));
    struct Row {
        const char* text;
        const char* why;
    };
    for (const Row& row : {
             Row{"", "no scheme"},
             Row{"example.com", "no scheme"},
             Row{"/path", "no scheme"},
             Row{"ftp://example.com/", "none of http"},
             Row{"https+unix://x/", "none of http"},
             Row{"http://", "no host"},
             Row{"http:///path", "no host"},
             Row{"http://:80/", "no host"},
             Row{"http://h:65536/", "bad port"},
             Row{"http://h:8x/", "bad port"},
             Row{"http://h:-1/", "bad port"},
             Row{"http://h:000080/", "bad port"},
             Row{"http://a b/", "no name has"},
             Row{"http://a\\b/", "no name has"},
             Row{"http://b\xc3\xbc/", "no name has"},
             Row{"http://[::1/", "not closed"},
             Row{"http://[::g]/", "no IPv6"},
             Row{"http://[fe80::1%25eth0]/", "no IPv6"},
             Row{"http://h/\r\nX: y", "control character"},
             Row{"http://h/\x7f", "control character"},
             Row{"http://u%zz@h/", "encodes nothing"},
         }) {
        const std::string why = refused(row.text);
        CHECK(why.find(row.why) != std::string::npos);
    }
    CHECK(refused("http://me:secret@a b/").find("secret") == std::string::npos);
}

TEST_CASE("a reference is resolved as RFC 3986 has it") {
    const Url base("http://a/b/c/d?q");
    struct Row {
        const char* reference;
        const char* is;
    };
    for (const Row& row : {
             Row{"g", "http://a/b/c/g"},
             Row{"./g", "http://a/b/c/g"},
             Row{"g/", "http://a/b/c/g/"},
             Row{"/g", "http://a/g"},
             Row{"//g", "http://g/"},
             Row{"?y", "http://a/b/c/d?y"},
             Row{"g?y", "http://a/b/c/g?y"},
             Row{"#s", "http://a/b/c/d?q"},
             Row{"g#s", "http://a/b/c/g"},
             Row{"", "http://a/b/c/d?q"},
             Row{".", "http://a/b/c/"},
             Row{"./", "http://a/b/c/"},
             Row{"..", "http://a/b/"},
             Row{"../g", "http://a/b/g"},
             Row{"../..", "http://a/"},
             Row{"../../../g", "http://a/g"},
             Row{"/./g", "http://a/g"},
             Row{"/../g", "http://a/g"},
             Row{"g.", "http://a/b/c/g."},
             Row{"..g", "http://a/b/c/..g"},
             Row{"./../g", "http://a/b/g"},
             Row{"g/./h", "http://a/b/c/g/h"},
             Row{"g?y/./x", "http://a/b/c/g?y/./x"},
             Row{"https://x:1/y", "https://x:1/y"},
         }) {
        CHECK(base.resolve(row.reference).to_string() == row.is);
    }
    CHECK_THROWS_AS(base.resolve("javascript:alert(1)"), std::invalid_argument);
    CHECK_THROWS_AS(base.resolve("/x\r\ny"), std::invalid_argument);
    CHECK(!base.is_same_origin(base.resolve("https://a/b")));
    CHECK(!base.is_same_origin(base.resolve("//a:81/b")));
    CHECK(base.is_same_origin(base.resolve("//a:80/b")));
}

TEST_CASE("a URL is the same when it is written and read again, whatever it was made of") {
    static const char* const words[] = {
        "http://",  "https://", "ws+unix://", "a",   "EXAMPLE.com", "[::1]", ":",  "80", "@",
        "/",        "//",       "..",         "%2F", "%",           "?",     "#",  " ",  "\\",
        "\xc3\xbc", "\t",       "x=y&",       "[",   "]",           "0x7f",  "%00"};
    for (unsigned seed = 0; seed < 3000; ++seed)
        support::fuzz_with_words(seed, words, &support::fuzz_url);
}

TEST_CASE("a query is percent-encoded") {
    CHECK(weft::http::percent_encoded("a b/\xc3\xbc~") == "a%20b%2F%C3%BC~");
    CHECK(weft::http::query_string({{"q", "a&b"}, {"n", "1"}}) == "q=a%26b&n=1");
}

}  // namespace
}  // namespace url_test
