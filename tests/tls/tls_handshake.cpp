// SPDX-License-Identifier: MIT
// TLS handshakes: who is believed, what is agreed upon, and how one ends that comes to nothing
// (SEMANTICS 116).
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <openssl/ssl.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include "../support/heap.hpp"
#include "../support/interleave.hpp"
#include "../support/tls_peers.hpp"

namespace tls_handshake_test {

namespace {

using namespace std::chrono_literals;
using support::bytes_in_use;
using support::CertificateRequest;
using support::client_context;
using support::client_options;
using support::has_sanitizer;
using support::Identity;
using support::server_context;
using support::StreamPair;
using support::Transport;
using weft::Coro;
using weft::Stream;
using weft::Task;
using weft::TlsContext;
using weft::TlsFailure;
using weft::TlsOptions;

/// The TlsError that a coroutine ends with.
struct Refusal {
    Refusal() noexcept {}
    explicit Refusal(const weft::TlsError& error)
        : failure(error.failure()),
          code(error.code().value()),
          reason(error.reason()),
          verify_result(error.verify_result()),
          host(error.host()),
          what(error.what()) {}
    std::optional<TlsFailure> failure;
    int code = 0;
    std::string reason;
    std::string verify_result;
    std::string host;
    std::string what;
};

Refusal refusal_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const weft::TlsError& error) {
        return Refusal(error);
    }
    return Refusal();
}

/// How a handshake went, and what was agreed upon if it went well.
struct Outcome {
    Refusal client;
    Refusal server;
    std::optional<weft::TlsInfo> seen_by_client;
    std::optional<weft::TlsInfo> seen_by_server;
};
Coro<Refusal> one_side(Stream plain, TlsOptions options, std::optional<weft::TlsInfo>& info) {
    try {
        Stream stream = co_await weft::start_tls(std::move(plain), std::move(options));
        info = weft::tls_info(stream);
        // A client knows after the first read whether the server has let it in.
        co_await stream.write("x");
        const std::string got = co_await stream.read_exactly(1);
        co_await stream.write_eof();
        char rest[1];
        (void)co_await stream.read(rest);
    } catch (const weft::TlsError& error) {
        co_return Refusal(error);
    } catch (const std::system_error&) {
        // The other side has gone.
    }
    co_return Refusal();
}
Coro<Outcome> shake_hands(TlsOptions client, TlsOptions server) {
    StreamPair plain = support::stream_pair(Transport::tcp);
    Outcome outcome;
    Task<Refusal> accepting = weft::create_task(
        one_side(std::move(plain.far), std::move(server), outcome.seen_by_server));
    outcome.client =
        co_await one_side(std::move(plain.near), std::move(client), outcome.seen_by_client);
    outcome.server = co_await accepting;
    co_return outcome;
}

/// Both contexts speak this version at most.
void limit_version(const TlsContext& context, int version) {
    SSL_CTX_set_max_proto_version(context.native_handle(), version);
}

WEFT_TEST_CASE("a certificate that is not to be trusted, or of another host, is refused by name") {
    const support::Authority& authority = support::trusted_authority();
    const support::Authority unknown(CertificateRequest("nobody's root").authority());
    const support::Authority alone(CertificateRequest("localhost").alt("DNS:localhost"));
    struct Row {
        const char* what;
        Identity identity;
        std::string host;
        std::string verify_result;
    };
    const auto good = [] { return CertificateRequest("localhost").alt("DNS:localhost"); };
    const std::vector<Row> rows{
        {"of another host", authority.issue(good()), "example.org", "hostname mismatch"},
        {"a wildcard over two labels",
         authority.issue(CertificateRequest("w").alt("DNS:*.example.com")), "a.b.example.com",
         "hostname mismatch"},
        {"of another address", authority.issue(CertificateRequest("a").alt("IP:127.0.0.1")),
         "127.0.0.2", "IP address mismatch"},
        {"expired", authority.issue(good().days(-10, -1)), "localhost", "certificate has expired"},
        {"not valid yet", authority.issue(good().days(1, 10)), "localhost",
         "certificate is not yet valid"},
        {"self-signed", alone.own_identity(), "localhost", "self-signed certificate"},
        {"of an unknown authority", unknown.issue(good()), "localhost",
         "unable to get local issuer certificate"},
    };
    for (const Row& row : rows) {
        CAPTURE(row.what);
        const Outcome outcome = co_await shake_hands(client_options(row.host),
                                                     TlsOptions(support::context_of(row.identity)));
        CHECK(outcome.client.failure == TlsFailure::certificate);
        CHECK(outcome.client.code == EPROTO);
        CHECK(outcome.client.host == row.host);
        CHECK(outcome.client.reason == "certificate verify failed");
        CHECK(outcome.client.verify_result == row.verify_result);
        CHECK(outcome.client.what.find(row.host) != std::string::npos);
        // The server is told why.
        CHECK(outcome.server.failure == TlsFailure::protocol);
        CHECK(outcome.server.reason.find("alert") != std::string::npos);
    }
}

WEFT_TEST_CASE("names, wildcards and addresses of a certificate are accepted, and its chain") {
    for (const std::string host :
         {"localhost", "LOCALHOST", "localhost.", "www.example.com", "127.0.0.1"}) {
        CAPTURE(host);
        const Outcome outcome =
            co_await shake_hands(client_options(host), TlsOptions(server_context()));
        CHECK(outcome.client.what == "");
        CHECK(outcome.seen_by_server->server_name == (host == "127.0.0.1"    ? ""
                                                      : host == "localhost." ? "localhost"
                                                                             : host));
    }
    const support::Authority root(CertificateRequest("far away").authority());
    const Identity between = root.issue(CertificateRequest("between").authority());
    // (A chain of one's own: files with the key in the same file.)
    const Identity leaf =
        support::trusted_authority().issue(CertificateRequest("x").alt("DNS:localhost"));
    const support::TemporaryFile file(leaf.chain + between.chain + leaf.key);
    TlsContext server = TlsContext::server();
    server.load_cert_chain(file.path());
    const Outcome outcome = co_await shake_hands(client_options(), TlsOptions(server));
    CHECK(outcome.client.what == "");
}

WEFT_TEST_CASE("what a client does not want to check is not checked, and nothing else is dropped") {
    TlsOptions any_name(client_context().set_check_hostname(false));
    const Outcome nameless = co_await shake_hands(any_name, TlsOptions(server_context()));
    CHECK(nameless.client.what == "");
    const support::Authority unknown(CertificateRequest("localhost"));
    const TlsOptions strange(support::context_of(unknown.own_identity()));
    const Outcome refused = co_await shake_hands(any_name, strange);
    CHECK(refused.client.failure == TlsFailure::certificate);
    TlsOptions anybody(client_context().set_verify_mode(weft::TlsVerify::none));
    const Outcome taken = co_await shake_hands(anybody, strange);
    CHECK(taken.client.what == "");
    std::string refusal;
    StreamPair plain = support::stream_pair(Transport::tcp);
    try {
        (void)co_await weft::start_tls(std::move(plain.near), TlsOptions(client_context()));
    } catch (const weft::RuntimeError& error) {
        refusal = error.what();
    }
    CHECK(refusal.find("server_hostname") != std::string::npos);
}

WEFT_TEST_CASE("TLS 1.1 is refused by either side") {
    TlsContext old_client = client_context();
    SSL_CTX_set_min_proto_version(old_client.native_handle(), TLS1_VERSION);
    SSL_CTX_set_cipher_list(old_client.native_handle(), "ALL:@SECLEVEL=0");
    limit_version(old_client, TLS1_1_VERSION);
    TlsOptions old_options(old_client);
    old_options.server_hostname = "localhost";
    const Outcome by_server = co_await shake_hands(old_options, TlsOptions(server_context()));
    CHECK(by_server.server.failure == TlsFailure::protocol);
    CHECK(by_server.server.reason == "unsupported protocol");
    TlsContext old_server = server_context();
    SSL_CTX_set_min_proto_version(old_server.native_handle(), TLS1_VERSION);
    SSL_CTX_set_cipher_list(old_server.native_handle(), "ALL:@SECLEVEL=0");
    limit_version(old_server, TLS1_1_VERSION);
    const Outcome by_client = co_await shake_hands(client_options(), TlsOptions(old_server));
    CHECK(by_client.client.failure == TlsFailure::protocol);
}

WEFT_TEST_CASE("a server sees the certificate of its client, and refuses who has to show one") {
    const support::Authority& authority = support::trusted_authority();
    const support::Authority unknown(CertificateRequest("nobody's root").authority());
    const Identity known = authority.issue(CertificateRequest("alice"));
    const Identity stranger = unknown.issue(CertificateRequest("mallory"));
    struct Row {
        weft::TlsVerify mode;
        const Identity* identity;
        std::string subject;
        std::string reason;
    };
    const std::vector<Row> rows{
        {weft::TlsVerify::none, &known, "", ""},
        {weft::TlsVerify::optional, nullptr, "", ""},
        {weft::TlsVerify::optional, &known, "CN=alice", ""},
        {weft::TlsVerify::optional, &stranger, "", "certificate verify failed"},
        {weft::TlsVerify::required, &known, "CN=alice", ""},
        {weft::TlsVerify::required, nullptr, "", "peer did not return a certificate"},
        {weft::TlsVerify::required, &stranger, "", "certificate verify failed"},
    };
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        for (const Row& row : rows) {
            CAPTURE(version, row.subject, row.reason);
            TlsContext server = server_context();
            server.set_verify_mode(row.mode).add_roots(authority.pem());
            limit_version(server, version);
            TlsOptions client = client_options();
            if (row.identity)
                client.context->use_cert_chain(row.identity->chain, row.identity->key);
            const Outcome outcome = co_await shake_hands(client, TlsOptions(server));
            CHECK(outcome.server.reason == row.reason);
            if (!row.reason.empty()) {
                // Told by an alert: TLS 1.3 has let it speak by then.
                CHECK(outcome.client.reason.find("alert") != std::string::npos);
                continue;
            }
            CHECK(outcome.client.what == "");
            CHECK(outcome.seen_by_server->peer_subject == row.subject);
        }
    }
}

WEFT_TEST_CASE("a server takes the first of its application protocols that the client has") {
    struct Row {
        std::vector<std::string> client;
        std::vector<std::string> server;
        std::string chosen;
        bool refused;
    };
    const std::vector<Row> rows{
        {{"http/1.1", "h2"}, {"h2", "http/1.1"}, "h2", false},
        {{"http/1.1"}, {"h2", "http/1.1"}, "http/1.1", false},
        {{}, {"h2"}, "", false},
        {{"h2"}, {}, "", false},
        {{"smtp"}, {"h2"}, "", true},
    };
    for (const Row& row : rows) {
        CAPTURE(row.chosen, row.refused);
        TlsContext server = server_context();
        if (!row.server.empty()) server.set_alpn_protocols(row.server);
        TlsOptions client = client_options();
        if (!row.client.empty()) client.context->set_alpn_protocols(row.client);
        const Outcome outcome = co_await shake_hands(client, TlsOptions(server));
        CHECK((outcome.server.failure == TlsFailure::protocol) == row.refused);
        if (row.refused) continue;
        CHECK(outcome.seen_by_client->alpn == row.chosen);
        CHECK(outcome.seen_by_server->alpn == row.chosen);
    }
}

WEFT_TEST_CASE("the name that a client asks for chooses the certificate") {
    const Identity other =
        support::trusted_authority().issue(CertificateRequest("other").alt("DNS:other.test"));
    TlsContext front = server_context();
    const TlsContext second = support::context_of(other);
    front.set_sni_callback([second](std::string_view name) -> std::optional<TlsContext> {
        if (name == "other.test") return second;
        if (name == "www.example.com") throw std::runtime_error("not here");
        return std::nullopt;
    });
    const Outcome chosen = co_await shake_hands(client_options("other.test"), TlsOptions(front));
    CHECK(chosen.client.what == "");
    CHECK(chosen.seen_by_client->peer_subject == "CN=other");
    const Outcome as_usual = co_await shake_hands(client_options(), TlsOptions(front));
    CHECK(as_usual.seen_by_client->peer_subject == "CN=localhost");
    StreamPair plain = support::stream_pair(Transport::tcp);
    Task<Stream> accepting =
        weft::create_task(weft::start_tls(std::move(plain.far), TlsOptions(front)));
    std::optional<weft::TlsInfo> nothing;
    const Refusal client =
        co_await one_side(std::move(plain.near), client_options("www.example.com"), nothing);
    CHECK(client.reason.find("unrecognized name") != std::string::npos);
    std::string thrown;
    try {
        (void)co_await accepting;
    } catch (const std::runtime_error& error) {
        thrown = error.what();
    }
    CHECK(thrown == "not here");
}

WEFT_TEST_CASE("the second connection to a server resumes the session of the first") {
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        for (const weft::TlsVerify mode : {weft::TlsVerify::none, weft::TlsVerify::optional}) {
            CAPTURE(version);
            TlsContext server = server_context();
            server.set_verify_mode(mode).add_roots(support::trusted_authority().pem());
            limit_version(server, version);
            const TlsOptions client = client_options();
            std::vector<bool> resumed;
            for (int connection = 0; connection < 3; ++connection) {
                const Outcome outcome = co_await shake_hands(client, TlsOptions(server));
                CHECK(outcome.client.what == "");
                CHECK(outcome.seen_by_server->resumed == outcome.seen_by_client->resumed);
                resumed.push_back(outcome.seen_by_client->resumed);
                CHECK(outcome.seen_by_client->peer_subject == "CN=localhost");
            }
            CHECK(resumed == std::vector<bool>{false, true, true});
        }
    }
}

WEFT_TEST_CASE("a peer that does not answer ends a handshake with a TimeoutError") {
    StreamPair plain = support::stream_pair(Transport::tcp);
    TlsOptions options = client_options();
    options.handshake_timeout = 5s;
    const weft::TimePoint began = weft::get_running_loop().time();
    std::string what;
    try {
        (void)co_await weft::start_tls(std::move(plain.near), options);
    } catch (const weft::TimeoutError& error) {
        what = error.what();
    }
    CHECK(what.find("TLS handshake fd") != std::string::npos);
    CHECK(what.find("localhost") != std::string::npos);
    CHECK(weft::get_running_loop().time() - began >= 5s);
    // A deadline of the caller's does, too.
    StreamPair other = support::stream_pair(Transport::tcp);
    const auto late = co_await weft::move_on_after(
        1s, weft::start_tls(std::move(other.far), TlsOptions(server_context())));
    CHECK(!late);
}

WEFT_TEST_CASE("a connection that is cut within the handshake is a cut, for both sides") {
    for (const bool is_client : {true, false}) {
        StreamPair plain = support::stream_pair(Transport::tcp);
        const TlsOptions options = is_client ? client_options() : TlsOptions(server_context());
        Task<Stream> shaking = weft::create_task(weft::start_tls(std::move(plain.near), options));
        // (What is unread when a socket is closed makes a reset of it.)
        if (is_client) (void)co_await plain.far.read_chunk();
        co_await plain.far.write(weft::ConstBuffer("\x16\x03\x01\x02", 4));
        co_await plain.far.close();
        co_await shaking.wait();
        const Refusal refusal = refusal_of([&] { (void)std::move(shaking).result(); });
        CHECK(refusal.failure == TlsFailure::cut_off);
        CHECK(refusal.code == ECONNRESET);
    }
}

WEFT_TEST_CASE("a connection that is reset within the handshake is an error that names the host") {
    StreamPair plain = support::stream_pair(Transport::tcp);
    const TlsOptions options = client_options();
    Task<Stream> shaking = weft::create_task(weft::start_tls(std::move(plain.near), options));
    (void)co_await plain.far.read_chunk();
    plain.far.abort();
    co_await shaking.wait();
    std::string text;
    try {
        (void)std::move(shaking).result();
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::connection_reset);
        text = error.what();
    }
    CHECK(text.find("TLS handshake fd ") == 0);
    CHECK(text.find(" (" + options.server_hostname + "): ") != std::string::npos);
}

WEFT_TEST_CASE("plain text where TLS was to begin is refused, and nothing of it is read later") {
    // The flaw of STARTTLS: what an attacker has put behind the command is not the peer's.
    StreamPair injected = support::stream_pair(Transport::tcp);
    co_await injected.far.write("STARTTLS\r\nMAIL FROM:<mallory>\r\n");
    const std::string command = co_await injected.near.read_line();
    CHECK(command == "STARTTLS\r\n");
    Task<Stream> shaking =
        weft::create_task(weft::start_tls(std::move(injected.near), TlsOptions(server_context())));
    co_await shaking.wait();
    const Refusal refusal = refusal_of([&] { (void)std::move(shaking).result(); });
    CHECK(refusal.failure == TlsFailure::plaintext);
    CHECK(refusal.what.find("21 bytes of plain text") != std::string::npos);
    // Whoever answers in the clear is not taken for a server.
    StreamPair clear = support::stream_pair(Transport::tcp);
    co_await clear.far.write("HTTP/1.1 400 Bad Request\r\n\r\n");
    std::optional<weft::TlsInfo> nothing;
    const Refusal wrong = co_await one_side(std::move(clear.near), client_options(), nothing);
    CHECK(wrong.failure == TlsFailure::protocol);
    CHECK(wrong.reason == "wrong version number");
    std::string sent(64, '\0');
    const std::size_t hello = co_await clear.far.read(sent);
    REQUIRE(hello > 0);
    CHECK(sent[0] == 22);
}

WEFT_TEST_CASE("a stream that has spoken in the clear goes on with TLS, whatever was read ahead") {
    StreamPair plain = support::stream_pair(Transport::tcp);
    const auto client = [](Stream stream) -> Coro<std::string> {
        co_await stream.write("STARTTLS\r\n");
        // (Without waiting for an answer, so that the server has read ahead.)
        Stream secure = co_await weft::start_tls(std::move(stream), client_options());
        co_await secure.write("secret\n");
        const std::string answer = co_await secure.read_line();
        co_return answer;
    };
    Task<std::string> asking = weft::create_task(client, std::move(plain.near));
    for (int turn = 0; turn < 10; ++turn) co_await weft::yield();
    const std::string command = co_await plain.far.read_line();
    CHECK(command == "STARTTLS\r\n");
    Stream secure = co_await weft::start_tls(std::move(plain.far), TlsOptions(server_context()));
    const std::string secret = co_await secure.read_line();
    co_await secure.write(secret);
    const std::string answer = co_await asking;
    CHECK(answer == "secret\n");
}

TEST_CASE("what a context cannot use is refused with its name and OpenSSL's reason") {
    const Identity one = support::trusted_authority().issue(CertificateRequest("one"));
    const Identity two = support::trusted_authority().issue(CertificateRequest("two"));
    TlsContext context = TlsContext::server();
    const Refusal missing = refusal_of([&] { context.load_cert_chain("/no/such/file.pem"); });
    CHECK(missing.failure == TlsFailure::setup);
    CHECK(missing.code == ENOENT);
    CHECK(missing.what.find("/no/such/file.pem") != std::string::npos);
    const Refusal mixed = refusal_of([&] { context.use_cert_chain(one.chain, two.key); });
    CHECK(mixed.failure == TlsFailure::setup);
    CHECK(mixed.reason == "key values mismatch");
    const Refusal garbage = refusal_of([&] { context.use_cert_chain("garbage", one.key); });
    CHECK(garbage.reason == "no start line");
    const Refusal no_roots = refusal_of([&] { context.add_roots("nothing"); });
    CHECK(no_roots.failure == TlsFailure::setup);
    const Refusal long_name =
        refusal_of([&] { context.set_alpn_protocols({std::string(256, 'x')}); });
    CHECK(long_name.failure == TlsFailure::setup);
}

TEST_CASE("a handshake that is cancelled, or whose loop goes, at any step leaves nothing behind") {
    const auto both = [] { return support::tls_pair(Transport::tcp); };
    const auto scenario = [both]() -> Coro<void> {
        StreamPair pair = co_await both();
        co_await pair.near.close();
        co_await pair.far.close();
    };
    const weft::testing::DescriptorCensus before;
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](const Task<void>&) {});
    CHECK(before.leaked() == "");
}

Coro<void> greet(Stream plain, TlsOptions options, int& greeted) {
    Stream stream = co_await weft::start_tls(std::move(plain), std::move(options));
    co_await stream.write("hello");
    const std::string hello = co_await stream.read_exactly(5);
    greeted += hello == "hello";
}

WEFT_TEST_CASE("handshakes that race cancels end whole or not at all, and leave nothing behind") {
    // (Each is half a millisecond of OpenSSL's; ten thousand have found nothing more.)
    constexpr int rounds = has_sanitizer ? 500 : 3'000;
    constexpr int warm = rounds / 5;
    const TlsOptions client = client_options();  // (whose sessions are resumed, as in real life)
    const TlsOptions server(server_context());
    support::Dice dice(16);
    int greeted = 0;
    int cut = 0;
    std::size_t before = 0;
    for (int round = 0; round < rounds; ++round) {
        if (round == warm) before = bytes_in_use();
        StreamPair plain = support::stream_pair(Transport::unix_pair);
        int greeted_now = 0;
        Task<void> sides[] = {
            weft::create_task(greet, std::move(plain.near), client, std::ref(greeted_now)),
            weft::create_task(greet, std::move(plain.far), server, std::ref(greeted_now))};
        for (unsigned turn = dice.below(5); turn > 0; --turn) co_await weft::yield();
        if (dice.below(10) > 0) sides[dice.below(2)].cancel();
        if (dice.below(2) > 0) sides[dice.below(2)].cancel();
        bool cancelled = false;
        for (Task<void>& side : sides) {
            co_await side.wait();
            cancelled = cancelled || side.cancelled();
            if (!side.cancelled()) (void)side.exception();
        }
        // Nobody was cancelled: both have done it. One was: the other has done it or was told.
        if (!cancelled && greeted_now != 2) FAIL("nobody was cancelled in round " << round);
        greeted += greeted_now == 2;
        cut += greeted_now < 2;
    }
    CHECK(greeted > rounds / 100);
    CHECK(cut > rounds / 100);
    if (!has_sanitizer) CHECK(bytes_in_use() < before + 64 * 1024);
}

}  // namespace
}  // namespace tls_handshake_test
