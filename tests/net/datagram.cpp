// SPDX-License-Identifier: MIT
// Datagrams: whole, or told to be cut; refusals where they belong; none lost to a cancel
// (SEMANTICS 97, 117).
// rungs: all
#include <weft/deadline/move_on_after.hpp>
#include <weft/net/datagram.hpp>
#include <weft/net/open_datagram.hpp>
#include <weft/net/socket.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace datagram_test {

using support::End;
using support::ending;
using support::Failure;
using support::failure;
using support::turns;
using weft::Address;
using weft::Coro;
using weft::create_task;
using weft::Datagram;
using weft::DatagramOptions;
using weft::ReceivedDatagram;

namespace {

Datagram on_loopback() { return Datagram::bind(Address::ip(support::own_host(), 0)); }

Coro<std::string> receive(Datagram& from, std::size_t room = 2048) {
    std::string text(room, '\0');
    const ReceivedDatagram got = co_await from.receive_from(text);
    text.resize(got.size);
    co_return text;
}

/// A peer that is certainly not there: its number was in use a moment ago.
Address nobody() {
    const Datagram gone = on_loopback();
    return gone.local_address();
}

Coro<void> ask_nobody(Datagram& client) {
    co_await client.send("is anybody there?");
    co_await turns(3);
}

}  // namespace

WEFT_TEST_CASE("a datagram arrives whole, with its sender", "[datagram]") {
    Datagram server = on_loopback();
    Datagram client =
        co_await weft::connect_datagram(support::own_host(), server.local_address().port());
    co_await client.send("hello");
    char buffer[16];
    const ReceivedDatagram got = co_await server.receive_from(buffer);
    CHECK(std::string(buffer, got.size) == "hello");
    CHECK_FALSE(got.truncated());
    CHECK(got.from.to_string() == client.local_address().to_string());
    co_await server.send_to("world", got.from);
    const std::string answer = co_await receive(client);
    CHECK(answer == "world");
}

WEFT_TEST_CASE("a datagram that does not fit is cut, and the length that it had is told",
               "[datagram]") {
    auto [a, b] = Datagram::pair();
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    co_await client.send("0123456789");
    co_await a.send("0123456789");
    char buffer[4];
    ReceivedDatagram got = co_await server.receive_from(buffer);
    CHECK(got.truncated());
    CHECK(got.size == 4);
    CHECK(got.length == 10);
    got = co_await b.receive_from(buffer);
    CHECK(got.length == 10);
    co_await client.send("next");
    got = co_await server.receive_from(buffer);
    CHECK(std::string(buffer, got.size) == "next");
    CHECK_FALSE(got.truncated());
}

WEFT_TEST_CASE("an empty datagram is a datagram, and no end", "[datagram]") {
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    co_await client.send("");
    co_await client.send("after");
    const std::string first = co_await receive(server);
    CHECK(first.empty());
    const std::string second = co_await receive(server);
    CHECK(second == "after");
}

WEFT_TEST_CASE("receives are served in the order in which they began", "[datagram]") {
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    std::string order;
    auto one = [&](char name) -> Coro<void> {
        const std::string text = co_await receive(server);
        order += name + text + " ";
    };
    std::vector<weft::Task<void>> tasks;
    for (const char name : {'a', 'b', 'c'}) tasks.push_back(create_task(one, name));
    co_await turns(3);
    for (const char* const text : {"1", "2", "3"}) co_await client.send(text);
    for (weft::Task<void>& task : tasks) co_await task;
    CHECK(order == "a1 b2 c3 ");
}

WEFT_TEST_CASE("a refusal is told to the receive that waits", "[datagram]") {
    Datagram client = Datagram::connect(nobody());
    weft::Task<std::string> waits = create_task(receive(client, 16));
    co_await turns(2);
    co_await client.send("is anybody there?");
    auto join = [&] { return std::move(waits); };
    const Failure refused = co_await failure(join);
    CHECK(refused.error == ECONNREFUSED);
    CHECK(refused.names("recv " + support::own_host() + ":"));
}

WEFT_TEST_CASE("a send is about its own datagram, whatever became of those before", "[datagram]") {
    const Address peer = nobody();
    Datagram client = Datagram::connect(peer);
    co_await ask_nobody(client);
    std::optional<Datagram> late = Datagram::bind(peer);
    co_await client.send("to one who is there now");
    const std::string got = co_await receive(*late);
    CHECK(got == "to one who is there now");
    late.reset();
    co_await ask_nobody(client);
    auto next = [&] { return receive(client); };
    const Failure refused = co_await failure(next);
    CHECK(refused.error == ECONNREFUSED);
}

WEFT_TEST_CASE("a refusal that a send has met is told to the next receive", "[datagram]") {
    Datagram client = Datagram::connect(nobody());
    co_await ask_nobody(client);
    co_await client.send("again");
    auto next = [&] { return receive(client); };
    const Failure first = co_await failure(next);
    CHECK(first.error == ECONNREFUSED);
    std::vector<Datagram::Slot> slots;
    char room[8];
    slots.emplace_back(weft::MutableBuffer(room));
    co_await ask_nobody(client);
    auto batch = [&] { return client.receive_batch(slots); };
    const Failure second = co_await failure(batch);
    CHECK(second.error == ECONNREFUSED);
    CHECK(second.names("recvmmsg " + support::own_host() + ":"));
}

namespace {

/// As if a firewall between the two had refused what `from` has sent to `to`. False: not permitted.
bool refuse_on_the_way(const Address& from, const Address& to) {
    const weft::Fd raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
    if (!raw) return false;
    struct {
        icmphdr icmp{};
        iphdr ip{};
        udphdr udp{};
    } message;
    message.icmp.type = ICMP_DEST_UNREACH;
    message.icmp.code = ICMP_PKT_FILTERED;
    message.ip.version = 4;
    message.ip.ihl = sizeof message.ip / 4;
    message.ip.protocol = IPPROTO_UDP;
    sockaddr_in source;
    std::memcpy(&source, from.data(), sizeof source);
    sockaddr_in destination;
    std::memcpy(&destination, to.data(), sizeof destination);
    message.ip.saddr = source.sin_addr.s_addr;
    message.ip.daddr = destination.sin_addr.s_addr;
    message.udp.source = source.sin_port;
    message.udp.dest = destination.sin_port;
    std::uint16_t words[sizeof message / 2];
    std::memcpy(words, &message, sizeof message);
    std::uint32_t sum = 0;
    for (const std::uint16_t word : words) sum += word;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    message.icmp.checksum = static_cast<std::uint16_t>(~sum);
    source.sin_port = 0;
    const auto* told = reinterpret_cast<const sockaddr*>(&source);
    return ::sendto(raw.get(), &message, sizeof message, 0, told, sizeof source) > 0;
}

}  // namespace

WEFT_TEST_CASE("what a firewall says of an earlier datagram is told to a receive, as a refusal is",
               "[datagram]") {
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    const auto refuse = [&] {
        return refuse_on_the_way(client.local_address(), server.local_address());
    };
    if (!refuse()) {
        WARN("skipped: no raw sockets here");
        co_return;
    }
    auto next = [&] { return receive(client); };
    co_await client.send("alone");
    const std::string alone = co_await receive(server);
    CHECK(alone == "alone");
    const Failure after_one = co_await failure(next);
    CHECK(after_one.error == EHOSTUNREACH);
    refuse();
    const std::vector<Datagram::Message> batch{Datagram::Message("in a batch", Address())};
    const std::size_t sent = co_await client.send_batch(batch);
    CHECK(sent == 1);
    const std::string in_batch = co_await receive(server);
    CHECK(in_batch == "in a batch");
    const Failure after_batch = co_await failure(next);
    CHECK(after_batch.error == EHOSTUNREACH);
}

WEFT_TEST_CASE("what a datagram comes from is true on a connected socket", "[datagram]") {
    Datagram stranger = on_loopback();
    Datagram server = on_loopback();
    // What was there before it was connected stays, with its sender.
    Datagram late = on_loopback();
    co_await stranger.send_to("of a stranger", late.local_address());
    late.connect_to(server.local_address());
    co_await stranger.send_to("too late", late.local_address());
    co_await server.send_to("of the peer", late.local_address());
    std::array<char, 64> room;
    const weft::ReceivedDatagram before = co_await late.receive_from(room);
    CHECK(before.size == 13);
    CHECK(before.from == stranger.local_address());
    const weft::ReceivedDatagram after = co_await late.receive_from(room);
    CHECK(after.from == server.local_address());

    // One that was connected from the start; waiting and not, whole and cut, one after the other.
    Datagram client = Datagram::connect(server.local_address());
    co_await stranger.send_to("of a stranger", client.local_address());
    auto waits = [&]() -> Coro<void> {
        const weft::ReceivedDatagram got = co_await client.receive_from(room);
        CHECK(got.size == 5);
        CHECK(got.from == server.local_address());
    };
    weft::Task<void> waiting = create_task(waits);
    co_await turns(3);
    for (int number = 0; number < 100; ++number)
        co_await server.send_to("first", client.local_address());
    co_await waiting;
    for (int number = 1; number < 99; ++number) co_await waits();
    std::array<char, 2> small;
    const weft::ReceivedDatagram cut = co_await client.receive_from(small);
    CHECK(cut.truncated());
    CHECK(cut.length == 5);
    CHECK(cut.from == server.local_address());
    const auto none =
        co_await weft::move_on_after(std::chrono::milliseconds(5), client.receive_from(room));
    CHECK_FALSE(none.has_value());
    // Another peer: whatever comes says itself where from.
    client.connect_to(stranger.local_address());
    co_await stranger.send_to("new", client.local_address());
    const weft::ReceivedDatagram other = co_await client.receive_from(room);
    CHECK(other.from == stranger.local_address());

    // A wait that began under the old peer could have got a datagram of either.
    Datagram moves = Datagram::connect(server.local_address());
    std::array<char, 8> small_room;
    auto unsure = [&]() -> Coro<void> {
        const weft::ReceivedDatagram got = co_await moves.receive_from(small_room);
        CHECK(got.size == 3);
        CHECK(got.from == Address());
    };
    weft::Task<void> changing = create_task(unsure);
    co_await turns(3);
    moves.connect_to(stranger.local_address());
    co_await stranger.send_to("new", moves.local_address());
    co_await changing;
}

WEFT_TEST_CASE("errors name the call and the address", "[datagram]") {
    Datagram first = on_loopback();
    const Address taken = first.local_address();
    auto again = [&]() -> Coro<void> {
        Datagram second = Datagram::bind(taken);
        co_return;
    };
    const Failure in_use = co_await failure(again);
    CHECK(in_use.error == EADDRINUSE);
    CHECK(in_use.names("bind " + taken.to_string()));

    const std::string huge(70'000, 'x');
    auto too_long = [&] { return first.send_to(huge, taken); };
    const Failure refused = co_await failure(too_long);
    CHECK(refused.error == EMSGSIZE);
    CHECK(refused.names("sendmsg " + taken.to_string()));

    auto nowhere = [&] { return first.send("to whom?"); };
    const Failure no_peer = co_await failure(nowhere);
    CHECK(no_peer.error == EDESTADDRREQ);

    // What has no name is named by its number, and never by nothing.
    auto no_address = [&] { return first.send_to("to whom?", Address()); };
    const Failure unnamed = co_await failure(no_address);
    CHECK(unnamed.error == EDESTADDRREQ);
    CHECK(unnamed.names("send " + taken.to_string() + ": "));
    auto [near, far] = Datagram::pair();
    co_await far.close();
    auto to_nobody = [&near = near] { return near.send("x"); };
    const Failure gone = co_await failure(to_nobody);
    CHECK(gone.names("send fd "));
    auto when_closed = [&far = far] { return receive(far); };
    const Failure closed = co_await failure(when_closed);
    CHECK(closed.names("recvmsg fd -1 (closed): "));
}

WEFT_TEST_CASE("an empty address is the connected peer", "[datagram]") {
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    co_await client.send_to("to the peer", Address());
    const std::string got = co_await receive(server);
    CHECK(got == "to the peer");
    weft::Socket socket(AF_INET, SOCK_DGRAM);
    co_await socket.connect(server.local_address());
    co_await socket.send_to("the same", Address());
    const std::string same = co_await receive(server);
    CHECK(same == "the same");
}

WEFT_TEST_CASE("bound to no host, it takes datagrams of IPv6 and of IPv4", "[datagram]") {
    Datagram anywhere = co_await weft::bind_datagram("", 0);
    const std::uint16_t port = anywhere.local_address().port();
    for (const char* const host : {"127.0.0.1", "::1"}) {
        std::optional<Datagram> client;
        try {
            client.emplace(Datagram::connect(Address::ip(host, port)));
        } catch (const std::system_error&) {
            continue;  // a host without IPv6
        }
        co_await client->send(host);
        const std::string got = co_await receive(anywhere);
        CHECK(got == host);
    }
}

WEFT_TEST_CASE("a socket without room makes its sender wait, and nothing is dropped",
               "[datagram]") {
    auto [a, b] = Datagram::pair();
    constexpr int count = 2000;
    const std::string payload(512, 'p');
    auto send_all = [&]() -> Coro<void> {
        for (int index = 0; index < count; ++index) co_await a.send(payload);
    };
    weft::Task<void> sender = create_task(send_all);
    co_await turns(200);
    CHECK_FALSE(sender.done());
    for (int index = 0; index < count; ++index) {
        const std::string text = co_await receive(b);
        REQUIRE(text == payload);
    }
    co_await sender;
}

WEFT_TEST_CASE("a cancelled receive loses no datagram", "[datagram]") {
    auto [a, b] = Datagram::pair();
    std::string sent;
    std::string got;
    int cancelled = 0;
    int completed = 0;
    for (int round = 0; round < 10'000; ++round) {
        weft::Task<std::string> reader = create_task(receive(b, 4));
        co_await turns(round % 3);
        const char letter = static_cast<char>('a' + round % 26);
        if (round % 4 == 0) reader.cancel();
        co_await a.send(std::string(1, letter));
        sent += letter;
        co_await turns(round % 2);
        reader.cancel();
        co_await reader.wait();
        if (reader.cancelled()) {
            ++cancelled;
        } else {
            ++completed;
            got += reader.result();
        }
        while (true) {
            char room[4];
            const std::optional<ReceivedDatagram> more = b.try_receive_from(room);
            if (!more) break;
            got.append(room, more->size);
        }
        REQUIRE(got.size() == sent.size());
    }
    CHECK(got == sent);
    CHECK(cancelled > 100);
    CHECK(completed > 100);
}

WEFT_TEST_CASE("a batch is received in one call and sent in one", "[datagram]") {
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    const std::vector<std::string> texts{"one", "two", "three", "four"};
    std::vector<Datagram::Message> messages;
    for (const std::string& text : texts) messages.emplace_back(text, Address());
    const std::size_t sent = co_await client.send_batch(messages);
    CHECK(sent == 4);
    char rooms[8][4];
    std::vector<Datagram::Slot> slots;
    for (auto& room : rooms) slots.emplace_back(weft::MutableBuffer(room));
    std::size_t count = 0;
    while (count < 4) {
        const std::span<Datagram::Slot> rest(slots.data() + count, slots.size() - count);
        count += co_await server.receive_batch(rest);
    }
    CHECK(count == 4);
    CHECK(slots[0].received.size == 3);
    CHECK(slots[2].received.truncated());
    CHECK(slots[2].received.length == 5);
    CHECK(slots[3].received.from.to_string() == client.local_address().to_string());

    weft::Task<std::size_t> waits = create_task(server.receive_batch(slots));
    co_await turns(3);
    CHECK_FALSE(waits.done());
    std::vector<Datagram::Message> addressed;
    addressed.emplace_back("late", server.local_address());
    Datagram other = on_loopback();
    co_await other.send_batch(addressed);
    const std::size_t late = co_await waits;
    CHECK(late == 1);
    CHECK(std::memcmp(rooms[0], "late", 4) == 0);
}

namespace {

/// What may happen to a Datagram while somebody waits on it.
enum class Fate { destroyed, moved_over, closed };

Coro<void> meet(std::optional<Datagram>& datagram, Fate fate) {
    if (fate == Fate::destroyed) datagram.reset();
    if (fate == Fate::moved_over) *datagram = on_loopback();
    if (fate == Fate::closed) co_await datagram->close();
}

}  // namespace

WEFT_TEST_CASE("a Datagram that goes ends the waits on it with an error", "[datagram]") {
    for (const Fate fate : {Fate::destroyed, Fate::moved_over, Fate::closed}) {
        std::optional<Datagram> datagram = on_loopback();
        weft::Task<std::string> first = create_task(receive(*datagram));
        weft::Task<std::string> second = create_task(receive(*datagram));
        co_await turns(3);
        co_await meet(datagram, fate);
        const End one = co_await ending(first);
        const End two = co_await ending(second);
        CHECK(one == End::closed);
        CHECK(two == End::closed);
    }
}

WEFT_TEST_CASE("a Datagram that moves takes the waits on it along", "[datagram]") {
    Datagram server = on_loopback();
    Datagram client = Datagram::connect(server.local_address());
    weft::Task<std::string> waits = create_task(receive(server));
    co_await turns(2);
    Datagram moved = std::move(server);
    co_await client.send("found");
    const std::string got = co_await waits;
    CHECK(got == "found");
    CHECK(server.is_closed());
    std::string what;
    try {
        static_cast<void>(server.fd());
    } catch (const weft::RuntimeError& error) {
        what = error.what();
    }
    CHECK(what == "weft: an empty Datagram: it was moved from");
}

WEFT_TEST_CASE("who joins a group gets what is sent to it", "[datagram]") {
    const Address group = Address::ip("239.255.77.7", 0);
    DatagramOptions shared;
    shared.reuse_address = true;
    Datagram member = Datagram::bind(Address::ip("0.0.0.0", 0), shared);
    member.join_group(group, "lo");
    Datagram sender = on_loopback();
    sender.set_multicast(0, true, "lo");
    Address to = group;
    to.set_port(member.local_address().port());
    co_await sender.send_to("to all", to);
    const std::string got = co_await receive(member);
    CHECK(got == "to all");
    member.leave_group(group, "lo");
    auto wrong = [&]() -> Coro<void> {
        member.join_group(group, "no-such-if");
        co_return;
    };
    const Failure unknown = co_await failure(wrong);
    CHECK(unknown.names("interface 'no-such-if'"));
}

WEFT_TEST_CASE("a group is joined on the interface that its address names", "[datagram]") {
    const auto is_joined = [] {
        const weft::Fd file(::open("/proc/net/igmp6", O_RDONLY | O_CLOEXEC));
        const std::string all = support::text_to_end(file.get());
        const std::size_t at = all.find("ff020000000000000000000000007777");
        if (at == std::string::npos) return false;
        const std::size_t line = all.rfind('\n', at) + 1;  // (0: it is the first)
        return all.substr(line, at - line).find("lo ") != std::string::npos;
    };
    if (::access("/proc/net/igmp6", R_OK) != 0) {
        WARN("no IPv6 here: nothing was tested");
        co_return;
    }
    Datagram member = Datagram::bind(Address::ip("::", 0));
    const Address group = Address::ip("ff02::7777%lo", 0);
    CHECK(!is_joined());
    member.join_group(group);
    CHECK(is_joined());
    member.leave_group(group);
    CHECK(!is_joined());
}

TEST_CASE("an exchange of datagrams may be killed after any step", "[datagram]") {
    const weft::testing::DescriptorCensus before;
    auto scenario = []() -> Coro<void> {
        Datagram server = on_loopback();
        Datagram client = Datagram::connect(server.local_address());
        weft::Task<std::string> waits = create_task(receive(server));
        co_await turns(1);
        co_await client.send("ping");
        const std::string got = co_await waits;
        CHECK(got == "ping");
        co_await server.send_to("pong", client.local_address());
        const std::string answer = co_await receive(client);
        CHECK(answer == "pong");
        co_await client.close();
    };
    const std::size_t steps = weft::testing::kill_at_every_step(scenario);
    CHECK(steps > 3);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    CHECK(before.leaked() == "");
}

}  // namespace datagram_test
