// SPDX-License-Identifier: MIT
// What is asked of an object that was moved from, never filled or closed: an answer or an error by
// name, and never what is not there. A new class joins by a row.
#include <weft/adapters.hpp>
#include <weft/weft.hpp>

#include <array>
#include <exception>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>

#include "descriptors.hpp"

namespace empty_objects_test {

namespace {

using namespace std::chrono_literals;
using weft::Coro;

template <class T>
struct Call {
    const char* name;
    Coro<void> (*make)(T&);
};

/// Makes each call. Where the object is `empty`, the error has to say so by its name.
/// Returns:  what is wrong, a line for each call.
template <class T>
Coro<std::string> ask_all(const char* of, T& object, const std::vector<Call<T>>& calls,
                          bool empty) {
    std::string wrong;
    for (const Call<T>& call : calls) {
        std::string said = "nothing was refused";
        bool is_named = false;
        try {
            co_await weft::wait_for(call.make(object), 1s);
        } catch (const weft::RuntimeError& error) {
            said = error.what();
            is_named = said.find(std::string("an empty ") + of) != said.npos;
        } catch (const weft::TimeoutError&) {
            wrong += std::string(of) + "::" + call.name + " waits for ever\n";
        } catch (const std::exception& error) {
            said = error.what();
        }
        if (empty && !is_named) wrong += std::string(of) + "::" + call.name + ": " + said + "\n";
    }
    co_return wrong;
}

std::array<char, 16> room;
weft::MutableBuffer into() { return weft::MutableBuffer(room); }
weft::Address somewhere() { return weft::Address::ip("127.0.0.1", 9); }
weft::Stream stream_on(support::Pair& pair) { return weft::Stream(std::move(pair.a)); }

using weft::Alarm;
using weft::Datagram;
using weft::FdWatch;
using weft::ReadStream;
using weft::Server;
using weft::Socket;
using weft::Stream;
using weft::WriteStream;

// --- a row for each class: what throws, and what answers ---

const std::vector<Call<Stream>> of_stream{
    {"read", [](Stream& it) -> Coro<void> { (void)co_await it.read(into()); }},
    {"read_chunk", [](Stream& it) -> Coro<void> { (void)co_await it.read_chunk(); }},
    {"read_line", [](Stream& it) -> Coro<void> { (void)co_await it.read_line(); }},
    {"read_exactly", [](Stream& it) -> Coro<void> { (void)co_await it.read_exactly(1); }},
    {"read_until", [](Stream& it) -> Coro<void> { (void)co_await it.read_until("x"); }},
    {"read_all", [](Stream& it) -> Coro<void> { (void)co_await it.read_all(9); }},
    {"try_read", [](Stream& it) -> Coro<void> { co_return (void) it.try_read(into()); }},
    {"has_buffered", [](Stream& it) -> Coro<void> { co_return (void) it.has_buffered(); }},
    {"write", [](Stream& it) -> Coro<void> { co_await it.write("x"); }},
    {"write of parts", [](Stream& it) -> Coro<void> { co_await it.write("x", "y"); }},
    {"write_some", [](Stream& it) -> Coro<void> { (void)co_await it.write_some("x"); }},
    {"write_eof", [](Stream& it) -> Coro<void> { co_await it.write_eof(); }},
    {"lines", [](Stream& it) -> Coro<void> { (void)co_await it.lines().next(); }},
    {"chunks", [](Stream& it) -> Coro<void> { (void)co_await it.chunks().next(); }},
    {"set_limit", [](Stream& it) -> Coro<void> { co_return it.set_limit(9); }},
    {"local_address", [](Stream& it) -> Coro<void> { co_return (void) it.local_address(); }},
    {"peer_address", [](Stream& it) -> Coro<void> { co_return (void) it.peer_address(); }},
    {"set_no_delay", [](Stream& it) -> Coro<void> { co_return it.set_no_delay(); }},
    {"fd", [](Stream& it) -> Coro<void> { co_return (void) it.fd(); }},
    {"close", [](Stream& it) -> Coro<void> { co_await it.close(); }},
};
const std::vector<Call<ReadStream>> of_reader{
    {"read", [](ReadStream& it) -> Coro<void> { (void)co_await it.read(into()); }},
    {"read_line", [](ReadStream& it) -> Coro<void> { (void)co_await it.read_line(); }},
    {"chunks", [](ReadStream& it) -> Coro<void> { (void)co_await it.chunks().next(); }},
    {"has_buffered", [](ReadStream& it) -> Coro<void> { co_return (void) it.has_buffered(); }},
    {"fd", [](ReadStream& it) -> Coro<void> { co_return (void) it.fd(); }},
};
const std::vector<Call<WriteStream>> of_writer{
    {"write", [](WriteStream& it) -> Coro<void> { co_await it.write("x"); }},
    {"write_eof", [](WriteStream& it) -> Coro<void> { co_await it.write_eof(); }},
    {"written", [](WriteStream& it) -> Coro<void> { co_return (void) it.written(); }},
    {"fd", [](WriteStream& it) -> Coro<void> { co_return (void) it.fd(); }},
};
const std::vector<Call<Server>> of_server{
    {"address", [](Server& it) -> Coro<void> { co_return (void) it.address(); }},
    {"addresses", [](Server& it) -> Coro<void> { co_return (void) it.addresses(); }},
    {"sockets", [](Server& it) -> Coro<void> { co_return (void) it.sockets(); }},
    {"connections", [](Server& it) -> Coro<void> { co_return (void) it.connections(); }},
    {"is_serving", [](Server& it) -> Coro<void> { co_return (void) it.is_serving(); }},
    {"start_serving", [](Server& it) -> Coro<void> { co_return it.start_serving(); }},
    {"serve_forever", [](Server& it) -> Coro<void> { co_await it.serve_forever(); }},
    {"close_clients", [](Server& it) -> Coro<void> { co_return it.close_clients(); }},
    {"abort_clients", [](Server& it) -> Coro<void> { co_return it.abort_clients(); }},
    {"close", [](Server& it) -> Coro<void> { co_return it.close(); }},
    {"wait_closed", [](Server& it) -> Coro<void> { co_await it.wait_closed(); }},
    {"shutdown", [](Server& it) -> Coro<void> { co_await it.shutdown(1ms); }},
};
const std::vector<Call<Datagram>> of_datagram{
    {"receive_from", [](Datagram& it) -> Coro<void> { (void)co_await it.receive_from(into()); }},
    {"try_receive_from",
     [](Datagram& it) -> Coro<void> { co_return (void) it.try_receive_from(into()); }},
    {"send", [](Datagram& it) -> Coro<void> { co_await it.send("x"); }},
    {"send_to", [](Datagram& it) -> Coro<void> { co_await it.send_to("x", somewhere()); }},
    {"receive_batch",
     [](Datagram& it) -> Coro<void> {
         std::vector<Datagram::Slot> slots(1, Datagram::Slot(into()));
         (void)co_await it.receive_batch(slots);
     }},
    {"send_batch",
     [](Datagram& it) -> Coro<void> {
         const std::vector<Datagram::Message> one(1, Datagram::Message("x", somewhere()));
         (void)co_await it.send_batch(one);
     }},
    {"join_group", [](Datagram& it) -> Coro<void> { co_return it.join_group(somewhere()); }},
    {"leave_group", [](Datagram& it) -> Coro<void> { co_return it.leave_group(somewhere()); }},
    {"set_multicast", [](Datagram& it) -> Coro<void> { co_return it.set_multicast(1); }},
    {"connect_to", [](Datagram& it) -> Coro<void> { co_return it.connect_to(somewhere()); }},
    {"local_address", [](Datagram& it) -> Coro<void> { co_return (void) it.local_address(); }},
    {"peer_address", [](Datagram& it) -> Coro<void> { co_return (void) it.peer_address(); }},
    {"fd", [](Datagram& it) -> Coro<void> { co_return (void) it.fd(); }},
    {"close", [](Datagram& it) -> Coro<void> { co_await it.close(); }},
};
const std::vector<Call<Socket>> of_socket{
    {"connect", [](Socket& it) -> Coro<void> { co_await it.connect(somewhere()); }},
    {"recv", [](Socket& it) -> Coro<void> { (void)co_await it.recv(into()); }},
    {"send", [](Socket& it) -> Coro<void> { (void)co_await it.send("x"); }},
    {"accept", [](Socket& it) -> Coro<void> { (void)co_await it.accept(); }},
    {"fd", [](Socket& it) -> Coro<void> { co_return (void) it.fd(); }},
};
const std::vector<Call<FdWatch>> of_watch{
    {"want", [](FdWatch& it) -> Coro<void> { co_return it.want(weft::FdEvents::read); }},
};
const std::vector<Call<Alarm>> of_alarm{
    {"set_after", [](Alarm& it) -> Coro<void> { co_return it.set_after(1h); }},
};

/// `filled` is moved from and asked; so is one that nobody has filled; then where it went is
/// closed, if it can be, and asked. (What it then says is not looked at, nor whether it is an
/// error.)
template <class T>
Coro<std::string> check(const char* of, T filled, const std::vector<Call<T>>& calls) {
    T other(std::move(filled));
    std::string wrong = co_await ask_all(of, filled, calls, true);
    if constexpr (std::is_default_constructible_v<T>) {
        T never;
        wrong += co_await ask_all(of, never, calls, true);
    }
    constexpr bool closes = requires { other.is_closed(); };
    constexpr bool closes_at_once = requires { other.wait_closed(); };
    if constexpr (closes) co_await other.close();
    if constexpr (closes_at_once) other.close();
    if (closes || closes_at_once) wrong += co_await ask_all(of, other, calls, false);
    co_return wrong;
}

}  // namespace

WEFT_TEST_CASE("an object without anything in it says so, whatever is asked of it") {
    std::string wrong;
    support::Pair pair = support::tcp_pair();
    support::Pair others = support::tcp_pair();
    weft::StreamHalves halves = weft::split(stream_on(others));
    auto handler = [](Stream) -> Coro<void> { co_return; };
    wrong += co_await check<Stream>("Stream", stream_on(pair), of_stream);
    wrong += co_await check<ReadStream>("ReadStream", std::move(halves.reader), of_reader);
    wrong += co_await check<WriteStream>("WriteStream", std::move(halves.writer), of_writer);
    Server server = co_await weft::start_server(handler, "127.0.0.1", 0);
    wrong += co_await check<Server>("Server", std::move(server), of_server);
    wrong += co_await check<Datagram>("Datagram", Datagram::bind(weft::Address::ip("127.0.0.1", 0)),
                                      of_datagram);
    wrong += co_await check<Socket>("Socket", Socket(std::move(others.b)), of_socket);
    wrong += co_await check<FdWatch>("FdWatch", FdWatch(0, [](weft::FdEvents) {}), of_watch);
    wrong += co_await check<Alarm>("Alarm", Alarm([] {}), of_alarm);
    CHECK(wrong == "");

    // What cannot fail answers.
    FdWatch watch;
    watch.stop();
    CHECK(watch.fd() == -1);
    CHECK(watch.wanted() == weft::FdEvents::none);
    Alarm alarm;
    alarm.cancel();
    CHECK_FALSE(alarm.is_set());
}

}  // namespace empty_objects_test
