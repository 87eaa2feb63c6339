// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <weft/http/detail/parser.hpp>
#include <weft/http/protocol_error.hpp>
#include "../support/fuzz_http.hpp"

namespace parser_test {
namespace {

using weft::http::ProtocolError;
using weft::http::detail::BodyLength;
using weft::http::detail::MessageHead;
using weft::http::detail::MessageType;
using weft::http::detail::Parser;

struct Parsed {
    int refused = 0;  // with this status
    std::string why;
    std::vector<MessageHead> heads;
    std::vector<std::string> bodies;
    std::string rest;  // of a message that is not complete: what was not used
    bool complete = true;
};

/// Gives `text` to a parser in pieces of `step` bytes, as a connection would.
Parsed parse(std::string_view text, std::size_t step, MessageType type = MessageType::request,
             std::string_view answered = {}) {
    Parsed out;
    Parser parser(type);
    MessageHead head;
    bool begun = false;
    try {
        while (!text.empty()) {
            // A copy of its own: a parser that looks beyond its piece is found by ASan.
            const std::string piece(text.substr(0, step));
            text.remove_prefix(piece.size());
            std::string_view left = piece;
            while (!left.empty()) {
                if (!begun) {
                    parser.begin(head);
                    parser.answers(answered);
                    out.bodies.emplace_back();
                    begun = true;
                }
                left.remove_prefix(parser.parse(left));
                for (;;) {
                    const std::string_view body = parser.take_piece();
                    if (body.empty()) break;
                    out.bodies.back() += body;
                }
                if (!parser.is_complete()) continue;
                out.heads.push_back(head);
                begun = false;
                if (head.upgrade) {
                    out.rest = std::string(left) + std::string(text);
                    return out;
                }
            }
        }
        if (begun && parser.finish()) {
            out.heads.push_back(head);
        } else if (begun) {
            out.complete = false;
        }
    } catch (const ProtocolError& error) {
        out.refused = error.status();
        out.why = error.what();
    }
    return out;
}

const std::string host = "Host: a\r\n";

struct Refusal {
    const char* name;
    std::string text;
    int status;
};

const std::vector<Refusal>& refusals() {
    static const std::vector<Refusal> all = {
        // Two answers to the question where the message ends.
        {"length and chunked",
         "POST / HTTP/1.1\r\n" + host +
             "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"chunked and length",
         "POST / HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
         400},
        {"two lengths",
         "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
        {"the same length twice",
         "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
        {"a list of lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3, 3\r\n\r\nabc",
         400},
        {"a length with a sign", "POST / HTTP/1.1\r\n" + host + "Content-Length: +3\r\n\r\nabc",
         400},
        {"a negative length", "POST / HTTP/1.1\r\n" + host + "Content-Length: -3\r\n\r\nabc", 400},
        {"a hexadecimal length", "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x3\r\n\r\nabc",
         400},
        {"a length with a blank inside",
         "POST / HTTP/1.1\r\n" + host + "Content-Length: 1 2\r\n\r\nabcdefghijkl", 400},
        {"an empty length", "POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n", 400},
        {"a length of blanks", "POST / HTTP/1.1\r\n" + host + "Content-Length:  \r\n\r\n", 400},
        {"a length that no number holds",
         "POST / HTTP/1.1\r\n" + host + "Content-Length: 18446744073709551617\r\n\r\n", 400},
        {"a length with a comma", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3,\r\n\r\nabc",
         400},
        {"two encodings",
         "POST / HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"another encoding",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"chunked is not the last",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
         400},
        {"no chunked at all", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n",
         400},
        {"nearly chunked",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
        {"chunked in quotes",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
        {"chunked with a vertical tab",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 400},
        {"an empty encoding", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n\r\n", 400},
        {"chunked for 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        // Two answers to the question where a line, a name or a value ends.
        {"a blank before the colon", "GET / HTTP/1.1\r\n" + host + "Content-Length : 3\r\n\r\nabc",
         400},
        {"a tab before the colon", "GET / HTTP/1.1\r\n" + host + "X\t: 3\r\n\r\n", 400},
        {"a folded field", "GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n", 400},
        {"a field folded with a tab", "GET / HTTP/1.1\r\n" + host + "X: a\r\n\tb\r\n\r\n", 400},
        {"a folded encoding",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
        {"a blank before the first field", "GET / HTTP/1.1\r\n X: y\r\n" + host + "\r\n", 400},
        {"LF alone after the request line", "GET / HTTP/1.1\n" + host + "\r\n", 400},
        {"LF alone after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
        {"LF alone at the end of the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
        {"LF alone before the request", "\nGET / HTTP/1.1\r\n" + host + "\r\n", 400},
        {"CR alone in a value", "GET / HTTP/1.1\r\n" + host + "X: a\rY: b\r\n\r\n", 400},
        {"CR alone at the end of a field", "GET / HTTP/1.1\r\n" + host + "X: a\r\r\n\r\n", 400},
        {"CR alone at the end of the head", "GET / HTTP/1.1\r\n" + host + "\rX: y\r\n\r\n", 400},
        {"CR alone after the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n", 505},
        {"a zero byte in a value",
         "GET / HTTP/1.1\r\n" + host + "X: a" + std::string(1, '\0') + "b\r\n\r\n", 400},
        {"a zero byte in a name",
         "GET / HTTP/1.1\r\n" + host + "X" + std::string(1, '\0') + ": b\r\n\r\n", 400},
        {"a control character in a value",
         "GET / HTTP/1.1\r\n" + host +
             "X: a\x01"
             "b\r\n\r\n",
         400},
        {"a DEL in a value",
         "GET / HTTP/1.1\r\n" + host +
             "X: a\x7f"
             "b\r\n\r\n",
         400},
        {"no name", "GET / HTTP/1.1\r\n" + host + ": b\r\n\r\n", 400},
        {"no colon", "GET / HTTP/1.1\r\n" + host + "X\r\n\r\n", 400},
        {"a name in brackets", "GET / HTTP/1.1\r\n" + host + "X[]: y\r\n\r\n", 400},
        {"a name beyond ASCII", "GET / HTTP/1.1\r\n" + host + "\xc3\xa4: y\r\n\r\n", 400},
        // The request line.
        {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
        {"two hosts", "GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
        {"a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"a host with a user", "GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", 400},
        {"a host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"two blanks after the method", "GET  / HTTP/1.1\r\n" + host + "\r\n", 400},
        {"two blanks after the target", "GET /  HTTP/1.1\r\n" + host + "\r\n", 400},
        {"a tab in the request line", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", 501},
        {"a blank after the version", "GET / HTTP/1.1 \r\n" + host + "\r\n", 505},
        {"a blank before the method", " GET / HTTP/1.1\r\n" + host + "\r\n", 400},
        {"no version", "GET /\r\n" + host + "\r\n", 505},
        {"HTTP/0.9", "GET / HTTP/0.9\r\n" + host + "\r\n", 505},
        {"HTTP/1.2", "GET / HTTP/1.2\r\n" + host + "\r\n", 505},
        {"HTTP/2", "GET / HTTP/2.0\r\n" + host + "\r\n", 505},
        {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"a version in small letters", "GET / http/1.1\r\n" + host + "\r\n", 400},
        {"a version with leading zeros", "GET / HTTP/01.1\r\n" + host + "\r\n", 505},
        {"RTSP", "OPTIONS / RTSP/1.0\r\n" + host + "\r\n", 400},
        {"ICE", "SOURCE / ICE/1.0\r\n" + host + "\r\n", 400},
        {"a method that nobody knows", "BREW / HTTP/1.1\r\n" + host + "\r\n", 501},
        {"a method in small letters", "get / HTTP/1.1\r\n" + host + "\r\n", 400},
        {"no method", "/ HTTP/1.1\r\n" + host + "\r\n", 400},
        {"no target", "GET HTTP/1.1\r\n" + host + "\r\n", 400},
        {"a zero byte in the target",
         "GET /" + std::string(1, '\0') + " HTTP/1.1\r\n" + host + "\r\n", 400},
        {"a control character in the target", "GET /\x01 HTTP/1.1\r\n" + host + "\r\n", 400},
        {"a target beyond ASCII", "GET /\xc3\xa4 HTTP/1.1\r\n" + host + "\r\n", 400},
        {"a client that speaks TLS",
         std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), 400},
        {"a CONNECT with a body",
         "CONNECT a:1 HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc", 400},
        {"an expectation that nobody knows",
         "POST / HTTP/1.1\r\n" + host + "Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc", 417},
        // Chunks.
        {"a chunk with a sign",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
         400},
        {"a chunk with 0x",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
         400},
        {"a chunk without a size",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
         400},
        {"a chunk with a blank before its size",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
         400},
        {"a chunk with a blank after its size",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
         400},
        {"a chunk that is longer than its size",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
         400},
        {"a chunk that is shorter than its size",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n\r\n",
         400},
        {"a chunk whose size no number holds",
         "POST / HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
         400},
        {"LF alone after a size",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
         400},
        {"LF alone after a chunk",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
         400},
        {"LF alone in an extension",
         "POST / HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
         400},
        {"CR alone in an extension",
         "POST / HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
         400},
        {"LF alone after the last chunk",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\n", 400},
        {"an endless extension",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3;" +
             std::string(100'000, 'a') + "\r\nabc\r\n0\r\n\r\n",
         400},
        {"endless trailers",
         "POST / HTTP/1.1\r\n" + host +
             "Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + std::string(100'000, 'a') + "\r\n\r\n",
         400},
        {"a folded trailer",
         "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n",
         400},
        // Too much.
        {"an endless target", "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n" + host + "\r\n",
         414},
        {"an endless field",
         "GET / HTTP/1.1\r\n" + host + "X: " + std::string(100'000, 'a') + "\r\n\r\n", 431},
        {"an endless name", "GET / HTTP/1.1\r\n" + host + std::string(100'000, 'a') + ": x\r\n\r\n",
         431},
        {"endless fields",
         "GET / HTTP/1.1\r\n" + host +
             [] {
                 std::string many;
                 for (int i = 0; i < 200; ++i) many += "X: y\r\n";
                 return many;
             }() +
             "\r\n",
         431},
        {"endless empty lines",
         [] {
             std::string many;
             for (int i = 0; i < 40'000; ++i) many += "\r\n";
             return many;
         }(),
         431},
    };
    return all;
}

TEST_CASE("what two readers of a request could take for different ones is refused") {
    for (const Refusal& each : refusals()) {
        for (const std::size_t step : {std::size_t{1} << 20, std::size_t{1}, std::size_t{7}}) {
            INFO(each.name << ", in pieces of " << step);
            const Parsed parsed = parse(each.text, step);
            CHECK(parsed.refused == each.status);
        }
    }
}

TEST_CASE("a CR or LF alone is refused wherever it stands") {
    const std::string text =
        "POST /a HTTP/1.1\r\nHost: a\r\nEmpty:\r\nTransfer-Encoding: chunked\r\n"
        "\r\n3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n";
    const std::size_t body = text.find("abc");
    for (const char alone : {'\r', '\n'}) {
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (text[at] == '\n' && alone == '\r') continue;  // CR CR LF is one of the others
            if (at >= body && at < body + 3) continue;
            for (const std::size_t step : {text.size() + 1, std::size_t{1}}) {
                std::string wrong = text;
                wrong.insert(at, 1, alone);
                INFO("byte " << at << ", in pieces of " << step);
                const Parsed parsed = parse(wrong, step);
                CHECK(parsed.refused != 0);
            }
        }
    }
}

TEST_CASE("a request is the same in whatever pieces it comes, and the next one begins behind it") {
    const std::string text =
        "\r\nPOST /a?b=c HTTP/1.1\r\nHost: [::1]:80\r\nX-One:  a b \r\nEmpty:\r\nx-one: second\r\n"
        "Content-Length: 5\r\n\r\nhello"
        "PUT /chunks HTTP/1.1\r\nhost: a\r\nTransfer-Encoding:   Chunked  \r\n\r\n"
        "5;name=\"value\"\r\nhello\r\n000A\r\n, world\r\n!\r\n0\r\nTrailer: x\r\n\r\n"
        "GET http://a/absolute HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nExpect: 100-continue\r\n\r\n";
    for (std::size_t step = 1; step <= text.size(); ++step) {
        INFO("pieces of " << step);
        const Parsed parsed = parse(text, step);
        REQUIRE(parsed.why == "");
        REQUIRE(parsed.heads.size() == 4);
        const MessageHead& post = parsed.heads[0];
        CHECK(post.method == "POST");
        CHECK(post.target == "/a?b=c");
        CHECK(post.headers.size() == 5);
        CHECK(post.headers.value("X-ONE") == "a b");
        CHECK(post.headers.get_all("x-one").size() == 2);
        CHECK(post.headers.get("empty").value() == "");
        CHECK(post.headers[0].name == "Host");
        CHECK(post.keep_alive);
        CHECK(post.length == 5);
        CHECK(parsed.bodies[0] == "hello");
        CHECK(parsed.heads[1].body == BodyLength::chunked);
        CHECK(parsed.bodies[1] == "hello, world\r\n!");
        CHECK(parsed.heads[1].headers.size() == 2);
        CHECK(parsed.heads[2].minor_version == 0);
        CHECK(parsed.heads[2].keep_alive);
        CHECK(parsed.heads[2].target == "http://a/absolute");
        CHECK(!parsed.heads[3].keep_alive);
        CHECK(!parsed.heads[3].expects_continue);  // there is no body to wait for
    }
}

TEST_CASE("what comes after a request for another protocol is left alone") {
    const std::string head =
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (const std::size_t step : {std::size_t{1}, std::size_t{5}, std::size_t{1000}}) {
        const Parsed parsed = parse(head + "\x81\x02hi", step);
        REQUIRE(parsed.heads.size() == 1);
        CHECK(parsed.heads[0].upgrade);
        CHECK(parsed.rest == "\x81\x02hi");
        const Parsed tunnel = parse("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\nany bytes", step);
        REQUIRE(tunnel.heads.size() == 1);
        CHECK(tunnel.heads[0].method == "CONNECT");
        CHECK(tunnel.heads[0].upgrade);
        CHECK(tunnel.rest == "any bytes");
    }
}

struct Answer {
    const char* name;
    const char* method;
    std::string text;
    BodyLength length;
    std::string body;
    bool keep_alive;
};

TEST_CASE("a response ends where its status, its fields and its request say") {
    const std::vector<Answer> answers = {
        {"a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", BodyLength::known,
         "hi", true},
        {"chunks", "GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
         BodyLength::chunked, "hi", true},
        {"up to the end", "GET", "HTTP/1.1 200 OK\r\n\r\nhi", BodyLength::to_end, "hi", false},
        {"1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", BodyLength::known, "hi",
         false},
        {"to HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", BodyLength::none, "",
         true},
        {"to HEAD without a length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", BodyLength::none, "", true},
        {"to HEAD with chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         BodyLength::none, "", true},
        {"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", BodyLength::none, "", true},
        {"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
         BodyLength::none, "", true},
        {"100", "POST", "HTTP/1.1 100 Continue\r\n\r\n", BodyLength::none, "", true},
        {"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", BodyLength::none, "",
         true},
    };
    for (const Answer& each : answers) {
        for (const std::size_t step : {std::size_t{1}, std::size_t{1000}}) {
            INFO(each.name << ", in pieces of " << step);
            const Parsed parsed = parse(each.text, step, MessageType::response, each.method);
            REQUIRE(parsed.why == "");
            REQUIRE(parsed.complete);
            REQUIRE(parsed.heads.size() == 1);
            CHECK(parsed.bodies[0] == each.body);
            CHECK(parsed.heads[0].body == each.length);
            CHECK(parsed.heads[0].keep_alive == each.keep_alive);
        }
    }
    for (const char* refused :
         {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/2 200\r\n\r\n",
          "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 999 OK\r\n\r\n", "HTTP/1.1 200 OK\n\n",
          "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "ICY 200 OK\r\n\r\n"}) {
        INFO(refused);
        CHECK(parse(refused, 1000, MessageType::response, "GET").refused != 0);
        CHECK(parse(refused, 1, MessageType::response, "GET").refused != 0);
    }
    CHECK(!parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", 9, MessageType::response, "GET")
               .complete);
    const Parsed upgraded = parse("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n\x81",
                                  9, MessageType::response, "GET");
    CHECK(upgraded.rest == "\x81");
    const Parsed tunnel =
        parse("HTTP/1.1 200 OK\r\n\r\nbytes", 3, MessageType::response, "CONNECT");
    CHECK(tunnel.rest == "bytes");
}

TEST_CASE("random requests are the same in whatever pieces they come") {
    static const char* const words[] = {"GET ",
                                        "POST ",
                                        "/ ",
                                        "HTTP/1.1",
                                        "HTTP/1.0",
                                        "\r\n",
                                        "\n",
                                        "\r",
                                        "Host: a\r\n",
                                        "Content-Length: 3\r\n",
                                        "Transfer-Encoding: chunked\r\n",
                                        "0\r\n\r\n",
                                        "3\r\nabc\r\n",
                                        ";x=y",
                                        ": ",
                                        " ",
                                        "\t",
                                        "Expect: 100-continue\r\n",
                                        "abc",
                                        "\xff",
                                        "GET / HTTP/1.1\r\nHost: a\r\n",
                                        "\r\n\r\n"};
    for (unsigned seed = 0; seed < 3000; ++seed)
        support::fuzz_with_words(seed, words, &support::fuzz_http_request);
}

TEST_CASE("random responses are the same in whatever pieces they come") {
    static const char* const words[] = {"HTTP/1.1 ",
                                        "HTTP/1.0 ",
                                        "200 OK\r\n",
                                        "204 \r\n",
                                        "100 Continue\r\n\r\n",
                                        "\r\n",
                                        "\n",
                                        "\r",
                                        "Content-Length: 3\r\n",
                                        "Transfer-Encoding: chunked\r\n",
                                        "0\r\n\r\n",
                                        "3\r\nabc\r\n",
                                        ";x=y",
                                        " ",
                                        "abc",
                                        "\xff",
                                        "HTTP/1.1 200 OK\r\n",
                                        "\r\n\r\n"};
    for (unsigned seed = 0; seed < 3000; ++seed)
        support::fuzz_with_words(seed, words, &support::fuzz_http_response);
}

}  // namespace
}  // namespace parser_test
