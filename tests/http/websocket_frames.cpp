// SPDX-License-Identifier: MIT
// What a peer may send and what not: cases like those of the Autobahn suite, for both roles, with
// the bytes cut in several ways.
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <weft/http/websocket.hpp>
#include <weft/streams/memory_stream.hpp>
#include <weft/task/sleep.hpp>

#include "fuzz_websocket_frames.hpp"

namespace websocket_frames_test {
namespace {

using weft::Coro;
using weft::Stream;
using weft::http::WebSocket;
using weft::http::WebSocketOptions;
using Role = WebSocket::Role;

/// What a peer of that kind sends.
struct Wire {
    explicit Wire(bool masks) : masked(masks) {}

    Wire& frame(unsigned first, std::string payload) {
        const std::size_t size = payload.size();
        std::string length;
        if (size > 0xFFFF) {
            length = big_endian(size, 8);
        } else if (size > 125) {
            length = big_endian(size, 2);
        }
        return frame(first, size > 0xFFFF ? 127 : size > 125 ? 126 : size, length, payload);
    }
    /// With a length of the caller's.
    Wire& frame(unsigned first, std::size_t short_length, const std::string& length,
                std::string payload) {
        bytes += static_cast<char>(first);
        bytes += static_cast<char>(short_length | (masked ? 0x80U : 0U));
        bytes += length;
        if (masked) {
            const char key[] = {'\x37', '\xfa', '\x21', '\x3d'};
            bytes.append(key, 4);
            for (std::size_t at = 0; at < payload.size(); ++at)
                payload[at] = static_cast<char>(payload[at] ^ key[at % 4]);
        }
        bytes += payload;
        return *this;
    }
    Wire& close(unsigned code, const std::string& reason = {}) {
        return frame(0x88, big_endian(code, 2) + reason);
    }
    static std::string big_endian(std::uint64_t number, int size) {
        std::string text;
        for (int byte = size - 1; byte >= 0; --byte)
            text += static_cast<char>(number >> (8 * byte) & 0xFF);
        return text;
    }

    bool masked;
    std::string bytes;
};

/// "text:Hello pong:x close:1000", of well-formed frames.
std::string read_frames(std::string_view bytes, bool masked) {
    std::string text;
    while (bytes.size() >= 2) {
        const unsigned first = static_cast<unsigned char>(bytes[0]);
        const unsigned second = static_cast<unsigned char>(bytes[1]);
        std::uint64_t size = second & 0x7F;
        std::size_t header = 2;
        if (size >= 126) {
            const std::size_t more = size == 126 ? 2 : 8;
            size = 0;
            for (std::size_t byte = 0; byte < more; ++byte)
                size = size << 8 | static_cast<unsigned char>(bytes[header++]);
        }
        if (((second & 0x80) != 0) != masked) return text + " MASK?";
        const std::string key =
            masked ? std::string(bytes.substr(header, 4)) : std::string(4, '\0');
        header += masked ? 4 : 0;
        if (bytes.size() < header + size) return text + " CUT";
        std::string payload(bytes.substr(header, size));
        for (std::size_t at = 0; at < payload.size(); ++at)
            payload[at] = static_cast<char>(payload[at] ^ key[at % 4]);
        bytes.remove_prefix(header + static_cast<std::size_t>(size));
        if (!text.empty()) text += ' ';
        switch (first) {
            case 0x81:
                text += "text:";
                break;
            case 0x82:
                text += "binary:";
                break;
            case 0x89:
                text += "ping:";
                break;
            case 0x8A:
                text += "pong:";
                break;
            case 0x88: {
                text += "close:";
                if (payload.size() >= 2) {
                    const unsigned code = static_cast<unsigned char>(payload[0]) * 256U +
                                          static_cast<unsigned char>(payload[1]);
                    payload = std::to_string(code) + payload.substr(2);
                }
                break;
            }
            default:
                text += "?" + std::to_string(first) + ":";
        }
        text += payload.size() > 40 ? "[" + std::to_string(payload.size()) + "]" : payload;
    }
    return text;
}

void append(std::string& text, const std::string& what) {
    if (!text.empty() && !what.empty()) text += ' ';
    text += what;
}

Coro<void> receive(WebSocket& socket, std::string& got) {
    try {
        while (auto message = co_await socket.recv()) {
            const std::string& data = message->data;
            append(got, std::string(message->is_text ? "text:" : "binary:") +
                            (data.size() > 40 ? "[" + std::to_string(data.size()) + "]" : data));
        }
    } catch (const weft::http::WebSocketError& error) {
        if (error.code() == weft::http::WebSocketCode::abnormal) append(got, "cut");
    }
    co_await socket.close();
}

Coro<void> dictate(Stream& peer, const std::string& bytes, std::size_t step) {
    try {
        for (std::size_t at = 0; at < bytes.size(); at += step) {
            co_await peer.write(std::string_view(bytes).substr(at, step));
            if (step < bytes.size()) co_await weft::yield();
        }
        co_await peer.write_eof();
    } catch (const std::system_error&) {  // it has heard enough
    }
}

/// What a WebSocket gives of those bytes, and then what it answers.
Coro<std::string> answers(Role role, const std::string& bytes, std::size_t step,
                          WebSocketOptions options) {
    weft::StreamPair pair = weft::memory_stream(1 << 20);
    WebSocket socket(std::move(pair.near), role, options);
    Stream peer = std::move(pair.far);
    std::string got;
    weft::Task<void> receiving = weft::create_task(receive(socket, got));
    weft::Task<void> talking = weft::create_task(dictate(peer, bytes, step));
    const std::string answer = co_await peer.read_all(1 << 22);
    co_await talking;
    co_await receiving;
    append(got, read_frames(answer, role == Role::client));
    co_return got;
}

struct Case {
    const char* name;
    void (*in)(Wire&);
    std::string out;
};

constexpr char invalid[] =
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"
    "edited";

const std::vector<Case>& cases() {
    static const std::vector<Case> all = {
        {"1.1 text", [](Wire& w) { w.frame(0x81, "Hello").close(1000); }, "text:Hello close:1000"},
        {"1.1.1 empty text", [](Wire& w) { w.frame(0x81, "").close(1000); }, "text: close:1000"},
        {"1.1 lengths of 125, 126, 127, 128",
         [](Wire& w) {
             for (const std::size_t size : {125u, 126u, 127u, 128u})
                 w.frame(0x81, std::string(size, '*'));
             w.close(1000);
         },
         "text:[125] text:[126] text:[127] text:[128] close:1000"},
        {"1.2 lengths of 65535 and 65536",
         [](Wire& w) {
             w.frame(0x82, std::string(65535, '\xfe')).frame(0x82, std::string(65536, '\xfe'));
             w.close(1000);
         },
         "binary:[65535] binary:[65536] close:1000"},
        {"2.1 empty ping", [](Wire& w) { w.frame(0x89, "").close(1000); }, "pong: close:1000"},
        {"2.4 ping of 125", [](Wire& w) { w.frame(0x89, std::string(125, 'p')).close(1000); },
         "pong:[125] close:1000"},
        {"2.5 ping of 126", [](Wire& w) { w.frame(0x89, std::string(126, 'p')).close(1000); },
         "close:1002"},
        {"2.7 pongs unasked for",
         [](Wire& w) { w.frame(0x8A, "").frame(0x8A, "12345678").close(1000); }, "close:1000"},
        {"2.10 ten pings",
         [](Wire& w) {
             for (char digit = '0'; digit <= '9'; ++digit) w.frame(0x89, std::string(1, digit));
             w.close(1000);
         },
         "pong:0 pong:1 pong:2 pong:3 pong:4 pong:5 pong:6 pong:7 pong:8 pong:9 close:1000"},
        {"3.1 RSV3", [](Wire& w) { w.frame(0x91, "x"); }, "close:1002"},
        {"3.2 RSV2 behind a text", [](Wire& w) { w.frame(0x81, "a").frame(0xA1, "x"); },
         "text:a close:1002"},
        {"3.4 RSV1: no extension was agreed upon", [](Wire& w) { w.frame(0xC1, "x"); },
         "close:1002"},
        {"3.6 RSV on a ping", [](Wire& w) { w.frame(0xE9, ""); }, "close:1002"},
        {"4.1 opcode 3", [](Wire& w) { w.frame(0x83, ""); }, "close:1002"},
        {"4.1 opcode 7", [](Wire& w) { w.frame(0x87, "x"); }, "close:1002"},
        {"4.2 opcode 11", [](Wire& w) { w.frame(0x8B, ""); }, "close:1002"},
        {"4.2 opcode 15", [](Wire& w) { w.frame(0x81, "a").frame(0x8F, "x"); },
         "text:a close:1002"},
        {"5.1 fragmented ping", [](Wire& w) { w.frame(0x09, "a").frame(0x80, "b"); }, "close:1002"},
        {"5.2 fragmented pong", [](Wire& w) { w.frame(0x0A, "a").frame(0x80, "b"); }, "close:1002"},
        {"5.3 two fragments", [](Wire& w) { w.frame(0x01, "Hel").frame(0x80, "lo").close(1000); },
         "text:Hello close:1000"},
        {"5.6 a ping between them",
         [](Wire& w) { w.frame(0x01, "Hel").frame(0x89, "p").frame(0x80, "lo").close(1000); },
         "text:Hello pong:p close:1000"},
        {"5.9 a continuation of nothing", [](Wire& w) { w.frame(0x80, "x").frame(0x81, "a"); },
         "close:1002"},
        {"5.12 a continuation of nothing, to be continued", [](Wire& w) { w.frame(0x00, "x"); },
         "close:1002"},
        {"5.15 and one behind a whole message",
         [](Wire& w) { w.frame(0x01, "a").frame(0x80, "b").frame(0x00, "c"); },
         "text:ab close:1002"},
        {"5.18 a text inside of a text", [](Wire& w) { w.frame(0x01, "a").frame(0x81, "b"); },
         "close:1002"},
        {"5.19 five fragments, pings between",
         [](Wire& w) {
             w.frame(0x01, "1").frame(0x00, "2").frame(0x89, "x").frame(0x00, "3");
             w.frame(0x00, "4").frame(0x89, "y").frame(0x80, "5").close(1000);
         },
         "text:12345 pong:x pong:y close:1000"},
        {"6.1 empty fragments",
         [](Wire& w) { w.frame(0x01, "").frame(0x00, "").frame(0x80, "").close(1000); },
         "text: close:1000"},
        {"6.2 UTF-8 cut inside of a character",
         [](Wire& w) { w.frame(0x01, "\xce").frame(0x80, "\xba").close(1000); },
         "text:\xce\xba close:1000"},
        {"6.3 invalid UTF-8", [](Wire& w) { w.frame(0x81, invalid); }, "close:1007"},
        {"6.4 invalid UTF-8 in a first fragment: refused at once",
         [](Wire& w) { w.frame(0x01, invalid); }, "close:1007"},
        {"6.6 a text that ends inside of a character", [](Wire& w) { w.frame(0x81, "\xce"); },
         "close:1007"},
        {"6.7 the last of three and of four bytes",
         [](Wire& w) { w.frame(0x81, "\xef\xbf\xbf").frame(0x81, "\xf4\x8f\xbf\xbf").close(1000); },
         "text:\xef\xbf\xbf text:\xf4\x8f\xbf\xbf close:1000"},
        {"6.8 five bytes", [](Wire& w) { w.frame(0x81, "\xf8\x88\x80\x80\x80"); }, "close:1007"},
        {"6.12 an overlong one", [](Wire& w) { w.frame(0x81, "\xc0\xaf"); }, "close:1007"},
        {"6.13 an overlong one of three", [](Wire& w) { w.frame(0x81, "\xe0\x80\xaf"); },
         "close:1007"},
        {"6.15 above U+10FFFF", [](Wire& w) { w.frame(0x81, "\xf4\x90\x80\x80"); }, "close:1007"},
        {"6.20 a surrogate", [](Wire& w) { w.frame(0x81, "\xed\xbf\xbf"); }, "close:1007"},
        {"6 binary is no UTF-8", [](Wire& w) { w.frame(0x82, "\xed\xbf\xbf").close(1000); },
         "binary:\xed\xbf\xbf close:1000"},
        {"7.1 what follows a close is not read",
         [](Wire& w) { w.close(1000).frame(0x81, "a").frame(0x89, "p"); }, "close:1000"},
        {"7.3.1 a close without a code", [](Wire& w) { w.frame(0x88, ""); }, "close:"},
        {"7.3.2 a close with half a code", [](Wire& w) { w.frame(0x88, "x"); }, "close:1002"},
        {"7.3.4 a close with a reason", [](Wire& w) { w.close(1000, "Hello World!"); },
         "close:1000"},
        {"7.3.5 the longest reason", [](Wire& w) { w.close(1000, std::string(123, 'r')); },
         "close:1000"},
        {"7.3.6 a longer one", [](Wire& w) { w.close(1000, std::string(124, 'r')); }, "close:1002"},
        {"7.5.1 a reason that is no UTF-8", [](Wire& w) { w.close(1000, invalid); }, "close:1007"},
        {"a fragmented close", [](Wire& w) { w.frame(0x08, "\x03\xe8"); }, "close:1002"},
        {"a close in the middle of a message", [](Wire& w) { w.frame(0x01, "a").close(1001); },
         "close:1001"},
        {"a length in 2 bytes that fits 7 bits",
         [](Wire& w) { w.frame(0x81, 126, Wire::big_endian(125, 2), std::string(125, 'x')); },
         "close:1002"},
        {"a length in 8 bytes that fits 2",
         [](Wire& w) { w.frame(0x81, 127, Wire::big_endian(126, 8), std::string(126, 'x')); },
         "close:1002"},
        {"a length with its highest bit set",
         [](Wire& w) { w.frame(0x82, 127, Wire::big_endian(1ULL << 63, 8), "x"); }, "close:1002"},
        {"a message as long as allowed",
         [](Wire& w) { w.frame(0x82, std::string(70000, 'x')).close(1000); },
         "binary:[70000] close:1000"},
        {"a longer one, refused before it comes",
         [](Wire& w) { w.frame(0x82, 127, Wire::big_endian(70001, 8), ""); }, "close:1009"},
        {"a longer one in fragments",
         [](Wire& w) { w.frame(0x02, std::string(69999, 'x')).frame(0x80, "yz"); }, "close:1009"},
        {"the limit counts for each message",
         [](Wire& w) {
             w.frame(0x02, std::string(60000, 'x')).frame(0x80, std::string(9000, 'y'));
             w.frame(0x82, std::string(60000, 'x')).close(1000);
         },
         "binary:[69000] binary:[60000] close:1000"},
        {"nothing at all", [](Wire&) {}, "cut"},
        {"an end without a close", [](Wire& w) { w.frame(0x81, "a"); }, "text:a cut"},
        {"an end inside of a frame", [](Wire& w) { w.frame(0x82, 10, "", "cut"); }, "cut"},
    };
    return all;
}

Coro<void> check(Role role, const std::string& name, const std::string& bytes,
                 const std::string& out) {
    WebSocketOptions options;
    options.max_message = 70000;
    options.ping_interval = weft::Duration(0);
    for (const std::size_t step : {bytes.size() + 1, std::size_t(1), std::size_t(7)}) {
        if (step == 1 && bytes.size() > 2000) continue;
        if (step == 7 && bytes.size() > 20000) continue;
        const std::string answer = co_await answers(role, bytes, step, options);
        const bool is_right = answer == out;
        if (!is_right) {
            UNSCOPED_INFO(name << ", " << (role == Role::client ? "client" : "server")
                               << ", in steps of " << step);
            CHECK(answer == out);
        }
    }
}

WEFT_TEST_CASE("each case of the table is answered as RFC 6455 wants it, by clients and servers") {
    for (const Case& each : cases()) {
        for (const Role role : {Role::client, Role::server}) {
            Wire wire(role == Role::server);
            each.in(wire);
            co_await check(role, each.name, wire.bytes, each.out);
        }
    }
}

WEFT_TEST_CASE("close codes that may be sent are given back, others are errors") {
    for (const unsigned code : {1000u, 1001u, 1002u, 1003u, 1007u, 1008u, 1009u, 1010u, 1011u,
                                1012u, 1013u, 1014u, 3000u, 3999u, 4000u, 4999u}) {
        Wire wire(true);
        wire.close(code);
        co_await check(Role::server, "7.7", wire.bytes, "close:" + std::to_string(code));
    }
    for (const unsigned code :
         {0u, 999u, 1004u, 1005u, 1006u, 1015u, 1016u, 1100u, 2000u, 2999u, 5000u, 65535u}) {
        Wire wire(true);
        wire.close(code);
        co_await check(Role::server, "7.9", wire.bytes, "close:1002");
    }
}

WEFT_TEST_CASE("a client's frame without a mask and a server's with one are refused") {
    Wire bare(false);
    bare.frame(0x81, "Hello");
    co_await check(Role::server, "bare", bare.bytes, "close:1002");
    Wire masked(true);
    masked.frame(0x81, "Hello");
    co_await check(Role::client, "masked", masked.bytes, "close:1002");
}

WEFT_TEST_CASE("a frame that is longer than allowed is refused, although the message is not") {
    WebSocketOptions options;
    options.max_frame = 10;
    options.ping_interval = weft::Duration(0);
    Wire wire(true);
    wire.frame(0x01, std::string(10, 'a')).frame(0x80, std::string(10, 'b'));
    wire.frame(0x81, std::string(11, 'c'));
    const std::string answer =
        co_await answers(Role::server, wire.bytes, wire.bytes.size(), options);
    CHECK(answer == "text:aaaaaaaaaabbbbbbbbbb close:1009");
}

TEST_CASE("what is written is what is read, for every length around those that matter") {
    using namespace weft::http::detail;
    std::mt19937 random(7);
    for (const bool masked : {false, true}) {
        std::string bytes;
        std::vector<std::string> sent;
        for (const std::size_t size : {0u, 1u, 7u, 8u, 9u, 125u, 126u, 127u, 65535u, 65536u}) {
            std::string payload(size, '\0');
            for (char& each : payload) each = static_cast<char>(random());
            Mask mask;
            for (unsigned char& each : mask.bytes) each = static_cast<unsigned char>(random());
            append_frame(bytes, Opcode::binary, true, payload, masked ? &mask : nullptr);
            sent.push_back(payload);
        }
        FrameDecoder decoder(masked ? WebSocketRole::server : WebSocketRole::client, 1 << 20,
                             1 << 20);
        std::vector<std::string> got;
        std::string part;
        for (std::string_view rest = bytes; !rest.empty();) {
            std::string_view some = rest.substr(0, random() % 1000 + 1);
            rest.remove_prefix(some.size());
            for (;;) {
                const FrameEvent event = decoder.next(some, part);
                if (event.kind == FrameEvent::Kind::nothing) break;
                if (!event.ends) continue;
                got.push_back(part);
                part.clear();
            }
        }
        CHECK((got == sent));
        CHECK(decoder.is_between_messages());
    }
}

TEST_CASE("random frames say the same however they are cut, and never more than is allowed") {
    std::mt19937 random(42);
    std::vector<std::string> seeds;
    for (const bool masked : {false, true}) {
        for (const Case& each : cases()) {
            Wire wire(masked);
            each.in(wire);
            if (wire.bytes.size() < 1000) seeds.push_back((masked ? "\x07" : "\x06") + wire.bytes);
        }
    }
    for (int round = 0; round < 5'000; ++round) {
        std::string input = seeds[random() % seeds.size()];
        if (random() % 2 == 0) input += seeds[random() % seeds.size()].substr(1);
        for (unsigned change = random() % 4; change > 0; --change) {
            const std::size_t at = random() % input.size();
            switch (random() % 4) {
                case 0:
                    input[at] = static_cast<char>(random());
                    break;
                case 1:
                    input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
                    break;
                case 2:
                    input.insert(at, 1, static_cast<char>(random()));
                    break;
                default:
                    input.resize(at + 1);
            }
        }
        support::fuzz_websocket_frames(reinterpret_cast<const std::uint8_t*>(input.data()),
                                       input.size());
    }
    SUCCEED();
}

TEST_CASE("UTF-8 is told from what is none, character by character") {
    using weft::http::detail::is_utf8;
    std::string all;
    for (std::uint32_t point = 0; point <= 0x10FFFF; point += point < 0x1000 ? 1 : 17) {
        if (point >= 0xD800 && point <= 0xDFFF) continue;
        std::string one;
        if (point < 0x80) {
            one += static_cast<char>(point);
        } else if (point < 0x800) {
            one += static_cast<char>(0xC0 | point >> 6);
            one += static_cast<char>(0x80 | (point & 0x3F));
        } else if (point < 0x10000) {
            one += static_cast<char>(0xE0 | point >> 12);
            one += static_cast<char>(0x80 | (point >> 6 & 0x3F));
            one += static_cast<char>(0x80 | (point & 0x3F));
        } else {
            one += static_cast<char>(0xF0 | point >> 18);
            one += static_cast<char>(0x80 | (point >> 12 & 0x3F));
            one += static_cast<char>(0x80 | (point >> 6 & 0x3F));
            one += static_cast<char>(0x80 | (point & 0x3F));
        }
        all += one;
        if (point % 97 == 0 && one.size() > 1) CHECK(!is_utf8(one.substr(0, one.size() - 1)));
    }
    CHECK(is_utf8(all));
    std::size_t good = 0;  // of all pairs of bytes
    for (unsigned pair = 0; pair < 0x10000; ++pair) {
        const char two[] = {static_cast<char>(pair >> 8), static_cast<char>(pair & 0xFF)};
        good += is_utf8(std::string_view(two, 2)) ? 1u : 0u;
    }
    CHECK(good == 128 * 128 + 30 * 64);
}

}  // namespace
}  // namespace websocket_frames_test
