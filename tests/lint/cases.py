# SPDX-License-Identifier: MIT
"""The table for weft-lint: (kind, code). An @ stands where the finding must point to; without one nothing may be found.

Code that begins with a word of a declaration and holds no function is the body of a coroutine; `file:` is a whole file.
The patterns were compiled with g++ 12.2 and run under AddressSanitizer: what is found breaks there, what is silent does
not. Names that nothing declares (`unknown`, `Elsewhere`) stand for what the script cannot see."""

# What the rows may use.
PRELUDE = """
#include <weft/weft.hpp>
using weft::Coro;
using Clock = std::chrono::steady_clock;
struct Alive { Alive(); explicit Alive(int); Alive(const Alive&); ~Alive(); };
struct Request { int number = 0; Alive counted; };
struct Point { int x = 0; int y = 0; };
struct Named { std::string first; std::string last; };
struct Built { explicit Built(int n); Built(int n, Alive a); std::string text; };
class Hidden { public: Hidden(); private: std::string text_; };
enum class Colour { red, green };
Coro<int> ready(int value = 1);
Coro<bool> flag(bool value = true);
Coro<Alive> gives();
Coro<std::string> text();
Coro<int> takes(Alive, int value = 1);
Coro<int> takes_request(const Request& request);
Coro<int> takes_point(Point point);
Coro<int> takes_text(std::string text);
Coro<int> takes_built(Built built);
Coro<int> takes_all(std::vector<std::string> all);
template <class T> Coro<int> any(T);
template <class Fn> Coro<int> calls(Fn fn);
int use(const Request& request);
"""

FOUND = [
    # ?: of class type: a temporary of the type is made, and it has a destructor
    ("conditional", "Alive a = c @? co_await gives() : Alive();"),
    ("conditional", "std::string n = c @? co_await text() : std::string();"),
    ("conditional", "co_await (c @? takes(Alive()) : takes(Alive(), 2));"),
    ("conditional", "co_await takes_text(c @? std::string(9, 'a') : std::string());"),
    ("conditional", "std::string n; co_await takes_text(c @? n : \"none\");"),
    ("conditional", "std::string n; co_await takes_text(c @? std::move(n) : std::string());"),
    ("conditional", "std::string n, m; co_await takes_text(c @? n : std::move(m));"),
    ("conditional", "std::string n; n = co_await flag() @? std::string(9, 'a') : std::string(9, 'b');"),
    ("conditional", "auto n = c @? co_await text() : throw 1;"),
    ("conditional", "std::string s = (c @? co_await text() : std::string()) + \"x\";"),
    ("conditional", "auto p = std::make_shared<int>(1); co_await any(c @? p : nullptr);"),
    ("conditional", "co_await ready((c @? std::string(9, 'a') : std::string()).size());"),
    ("conditional", "file: Coro<std::string> f(bool c) { co_return c @? co_await text() : std::string(); }"),
    ("conditional", "co_await task_of(c @? \"a\"s : \"b\"s);"),
    ("conditional", "co_await any(c ? 1 : 2, c @? text_of(1) : text_of(2));"),

    # closures with captures that have a destructor
    ("closure", "Alive p; co_await calls(@[p] { return 1; });"),
    ("closure", "Alive p; co_await calls(@[p = std::move(p)] { return 1; });"),
    ("closure", "std::string p; co_await calls(@[=] { return p.size(); });"),
    ("closure", "std::string p; int n = 1; co_await calls(@[&n, p]() mutable { return n; });"),
    ("closure", "Alive p; co_await any(std::function<int()>(@[p] { return 1; }));"),
    ("closure", "Alive p; const int v = f(co_await ready(), @[p] { return 1; });"),
    ("closure", "Alive p; auto f = @[p, n = co_await ready()] { return n; };"),
    ("closure", "Alive p; co_await weft::create_task(@[p](int more) -> Coro<int> { co_return more; }, 1);"),
    ("closure", "file: template <class T> Coro<int> f(T p) { co_return co_await calls(@[p] { return 1; }); }"),
    ("closure", "file: Coro<int> f(const std::string& p) { co_return co_await calls(@[p] { return 1; }); }"),
    ("closure", "file: struct S { std::string s; Coro<int> f() { co_return co_await calls(@[*this] { return 1; }); } };"),
    ("closure", "file: template <class... T> Coro<int> f(T... p) { co_return co_await calls(@[... p = std::move(p)] { return 1; }); }"),
    ("closure", "Alive p; co_await calls([&] { return [p] { return 1; }; }, @[p] { return 2; });"),

    # aggregates, written and unwritten
    ("aggregate", "co_await takes_request(Request@{1, Alive()});"),
    ("aggregate", "co_await takes_request(Request@{});"),
    ("aggregate", "co_await takes_request(@{});"),
    ("aggregate", "co_await takes_request(@{1, Alive()});"),
    ("aggregate", "co_await takes_request(@{.number = 1});"),
    ("aggregate", "co_await takes_request(@Request(1, Alive()));"),
    ("aggregate", "co_await unknown(@{1, \"s\", Alive()});"),
    ("aggregate", "co_await unknown(Elsewhere@{1});"),
    ("aggregate", "co_await Elsewhere@{1};"),
    ("aggregate", "co_await any(Named@{\"a\", \"b\"});"),
    ("aggregate", "auto r = Request@{co_await ready(), Alive()};"),
    ("aggregate", "Request r@{co_await ready(), Alive()};"),
    ("aggregate", "Request r = @{co_await ready(), Alive()};"),
    ("aggregate", "Request r; r = @{co_await ready(), Alive()};"),
    ("aggregate", "int v = use(Request@{co_await ready(), Alive()});"),
    ("aggregate", "Alive a[] = @{co_await gives(), co_await gives()};"),
    ("aggregate", "std::array<Alive, 2> a = @{co_await gives(), co_await gives()};"),
    ("aggregate", "co_await any(std::array@{std::string(\"x\"), std::string(\"y\")});"),
    ("aggregate", "co_await any(std::pair{1, Request@{1, Alive()}});"),
    ("aggregate", "co_await any(weft::RunOptions@{});"),
    ("aggregate", "file: Coro<Named> f() { co_return Named@{co_await text(), \"b\"}; }"),
    ("aggregate", "file: using Other = Named; Coro<void> f() { co_await any(Other@{}); }"),
    ("aggregate", "file: weft::AsyncGenerator<Named> f() { co_yield Named@{\"a\", \"b\"}; }"),

    # lists of elements, which do not compile
    ("list", "co_await takes_all(@{\"a\", \"b\"});"),
    ("list", "Alive a, b; co_await weft::wait(std::vector@{a, b});"),
    ("list", "auto v = std::vector@{co_await ready(), co_await ready()};"),
    ("list", "std::vector<int> v@{co_await ready(), co_await ready()};"),
    ("list", "std::vector<int> v; v = @{co_await ready()};"),
    ("list", "for (int x : std::vector<int>@{co_await ready(), 2}) use(x);"),

    # new
    ("new", "std::unique_ptr<Alive> p(@new Alive(co_await gives()));"),
    ("new", "auto* p = @new std::string(co_await text());"),
    ("new", "co_await any(std::unique_ptr<Alive>(@new Alive(Alive())));"),
    ("new", "auto* p = @new Request{1, co_await gives()};"),

    # conditions of a coroutine that declares nothing
    ("condition", "file: Coro<void> f(int& n) { while (@co_await flag(n-- > 0)) ++n; }"),
    ("condition", "file: Coro<void> f(int& n) { if (!@co_await flag()) ++n; }"),
    ("condition", "file: Coro<void> f(int& n) { for (; @co_await flag();) ++n; }"),
    ("condition", "file: Coro<void> f(int& n) { do { ++n; } while (@co_await flag()); }"),
    ("condition", "file: Coro<void> f(int& n) { switch (@co_await ready(n)) { case 3: break; default: ++n; } }"),
    ("condition", "file: Coro<void> f(int& n) { if (n && @co_await flag()) { co_await ready(); } }"),
    ("condition", "file: Coro<void> f(int& n) { try { if (@co_await flag()) ++n; } catch (...) {} }"),
    ("condition", "file: struct S { int n = 3; Coro<void> f() const { while (@co_await flag(n > 0)) {} } };"),
    ("condition", "file: template <class T> Coro<void> f(T& n) { static_assert(true); if (@co_await flag()) ++n; }"),

    # lambdas that are called where they stand
    ("in-place", "int k = 1; auto coro = @[k]() -> Coro<int> { co_return k; }();"),
    ("in-place", "int k = 1; auto task = weft::create_task(@[&]() -> Coro<void> { co_await ready(k); }());"),
    ("in-place", "file: struct S { Coro<void> f() { return @[this]() -> Coro<void> { co_await ready(); }(); } };"),
    ("in-place", "file: void f(weft::TaskGroup& g, int k) { g.create_task(@[k](int n) -> Coro<void> { co_await ready(n); }(2)); }"),

    # awaiters that are captured
    ("awaiter", "auto pause = weft::sleep(1s); auto f = [&pause]() -> Coro<void> { @co_await pause; }; co_await f();"),
    ("awaiter", "auto pause = weft::sleep(1s); auto f = [&]() -> Coro<void> { @co_await (pause); }; co_await f();"),
    ("awaiter", "auto f = [pause = weft::sleep(1s)]() mutable -> Coro<void> { @co_await pause; }; co_await f();"),

    ("macro", "REQUIRE(@co_await ready() == 1);"),
    ("macro", "CHECK_FALSE(@co_await flag());"),
]

SILENT = [
    # ?: of numbers, of names, of what has no destructor, or in expressions that do not await
    "int v = c ? co_await ready(1) : 0;",
    "int v = c ? co_await ready(1) : co_await ready(2);",
    "const bool v = c ? co_await unknown() : co_await other();",
    "co_await ready(c ? 1 : 2);",
    "co_await any(c ? 1s : 20ms);",
    "co_await any(c ? std::chrono::seconds(1) : std::chrono::seconds(2));",
    "co_await any(c ? std::string_view(\"a\") : std::string_view(\"b\"));",
    "co_await takes_text(c ? \"a\" : \"b\");",
    "std::string n, m; co_await takes_text(c ? n : m);",
    "std::string n, m; co_await takes_text(c ? std::move(n) : std::move(m));",
    "auto a = takes(Alive()); auto b = takes(Alive()); co_await std::move(c ? a : b);",
    "int x = 0; co_await any(c ? &x : nullptr);",
    "int n = co_await flag() ? 1 : 2;",
    "const int n = co_await ready(); std::string s = n ? std::string(9, 'a') : std::string();",
    "co_await calls([&] { auto s = c ? std::string(9, 'a') : std::string(); return s.size(); });",
    "file: Coro<std::string> f(bool c) { co_await ready(); co_return c ? std::string(9, 'x') : std::string(); }",
    "file: Coro<int> f(bool c) { co_return c ? co_await unknown() : co_await other(); }",
    "std::string s; co_await ready(c ? s.size() : s.size() + 1);",

    # closures without anything to destroy, and closures with a name
    "Alive p; co_await calls([&p] { return 1; });",
    "Alive p; co_await calls([&] { return use(p); });",
    "Alive p; co_await calls([&q = p] { return 1; });",
    "int p = 1; co_await calls([p] { return p; });",
    "int p = 1; co_await calls([=] { return p; });",
    "co_await calls([i = 0]() mutable { return ++i; });",
    "for (std::size_t i = 0; i < 3; ++i) co_await calls([i] { return i; });",
    "const auto limit = 3s; Colour colour = Colour::red; co_await calls([limit, colour] { return 1; });",
    "Alive p; auto* q = &p; co_await calls([q, r = &p] { return 1; });",
    "Alive p; auto f = [p] { return 1; }; co_await calls(std::move(f));",
    "Alive p; auto f = [p] { return 1; };",
    "Alive p; auto f = [&p] { return 1; }; co_await calls([f] { return f(); });",
    "Point p; co_await calls([p] { return p.x; });",
    "Alive p; co_await calls([&] { auto f = [p] { return 1; }; return f(); });",
    "Alive p; auto body = [p]() -> Coro<void> { co_await ready(); }; auto task = weft::create_task(std::move(body));",
    "Alive p; weft::create_task([p]() -> Coro<void> { co_await ready(); });",
    "file: struct S { int n; Coro<int> f() { co_return co_await calls([this] { return n; }); } };",

    # braces behind what has a constructor or no destructor, and aggregates with a name
    "co_await takes_built(Built{1}); co_await takes_built({1, Alive()}); co_await any(Built(1, Alive()));",
    "co_await any(Hidden{});",
    "co_await takes_point(Point{1, 2}); co_await takes_point({.x = 1}); co_await any(Point(1, 2));",
    "co_await any(std::string{\"a\"}); co_await any(std::pair{1, Alive()}); co_await any(std::optional<std::string>{});",
    "co_await any(std::vector<Alive>{}); co_await takes_all({});",
    "char b[4] = {}; co_await any(std::span<const char>{b, 4});",
    "char byte; co_await stream.read({&byte, 1});",
    "std::string s; co_await stream.write({s.data(), s.size()});",
    "co_await weft::retry(ready, {}); co_await io::send_descriptors(1, \"none\", {});",
    "char b[9]; const std::size_t n = co_await stream.read(b); co_await stream.write({b, n});",
    "co_await any(std::chrono::milliseconds{5}); co_await ready(int{5}); co_await any(std::array<int, 2>{1, 2});",
    "int a[] = {co_await ready(), co_await ready()};",
    "std::array<int, 2> a = {co_await ready(), co_await ready()};",
    "int v{co_await ready()}; std::string s{co_await text()};",
    "Point p{co_await ready(), co_await ready()};",
    "const Request request{1, Alive()}; co_await takes_request(request);",
    "auto make = [] { return Request{1, Alive()}; }; co_await takes_request(make());",
    "auto all = std::vector<int>{1, 2, 3}; co_await any(all);",
    "std::string word; co_await takes_text(std::exchange(word, {}));",
    "co_await weft::create_task(takes, Alive(), 1, weft::TaskOptions{\"name\"});",
    "std::map<int, std::string> m; m[1] = co_await text(); m.try_emplace(2, co_await text());",
    "file: Coro<Request> f() { co_await ready(); co_return Request{1, Alive()}; }",

    # new of numbers and of names
    "std::unique_ptr<int> p(new int(co_await ready()));",
    "std::unique_ptr<Built> p(new Built(co_await ready()));",
    "auto p = std::make_unique<Alive>(co_await gives());",

    # conditions with a declaration somewhere, and in lambdas
    "file: Coro<void> f(int& n) { bool more = true; while (more) { more = co_await flag(); ++n; } }",
    "file: Coro<void> f(int& n) { while (co_await flag()) { const int x = n; n = x; } }",
    "file: Coro<void> f(int& n) { while (auto more = co_await flag()) ++n; }",
    "file: Coro<void> f(int& n) { for (int i = 0; co_await flag(i < 3); ++i) ++n; }",
    "file: Coro<void> f(int& n) { try { while (co_await flag()) ++n; } catch (int) {} }",
    "file: Coro<void> f(int& n) { using X = int; if (co_await flag()) n = X(1); }",
    "file: Coro<void> f(int& n) { while (n-- > 0) co_await ready(); }",
    "auto f = [](int& n) -> Coro<void> { while (co_await flag()) ++n; };",

    # lambdas that are called in place and awaited there, or have nothing to lose
    "int k = 1; co_await [k]() -> Coro<int> { co_return k; }();",
    "auto coro = []() -> Coro<int> { co_return 1; }();",
    "int k = 1; co_await weft::gather([&]() -> Coro<void> { co_await ready(k); }(), ready());",
    "int k = [&] { return 1; }();",
    "file: int main() { int k = 1; return weft::run([&]() -> Coro<int> { co_return k; }()); }",

    # captured tasks, and awaiters that are moved or made there
    "auto task = weft::create_task(ready()); auto f = [&task]() -> Coro<void> { co_await task; }; co_await f();",
    "weft::Task<int> task = start(); auto f = [&]() -> Coro<void> { co_await task; }; co_await f();",
    "auto pause = weft::sleep(1s); auto f = [&]() -> Coro<void> { co_await std::move(pause); }; co_await f();",
    "auto pause = weft::sleep(1s); co_await pause;",
    "weft::Event event; auto f = [&]() -> Coro<void> { co_await event.wait(); }; co_await f();",

    "auto v = co_await ready(); REQUIRE(v == 1);",

    "const int arrived = co_await weft::signal({SIGTERM, SIGHUP}); (void)arrived;",

    # what is no code, or looks like something else
    "// co_await takes_request(Request{1, Alive()});",
    "auto s = R\"x(co_await (c ? a() : b());)x\"; auto q = \"{ co_await f({}) ? \\\" :\"; char d = '{', e = '\\'';",
    "/* while (co_await x()) { */ int n = 1'000'000; co_await ready(n);",
    "file: const std::vector<Entry> entries = {ENTRY(co_await x()), ENTRY(co_await takes_request({1, Alive()}))};",
    "#define AWAIT(x) co_await takes_request({1, Alive()})\nco_await ready();",
    "auto [a, b] = pair_of(1); int x[3] = {}; x[a] = co_await ready(b); [[maybe_unused]] int y = a < b ? a : b;",
    "#if 1\nif (c) {\n#else\nif (!c) {\n#endif\nco_await ready(); }",
    "if (c) [[likely]] { co_await ready(1); } else [[unlikely]] { co_await ready(2); }",
    "label: co_await ready(); switch (c) { case true: co_await ready(); break; default: break; }",
    "std::map<int, std::vector<int>> m; const auto& v = m[co_await ready()]; a<b>(co_await ready());",
    "co_await stream.write(co_await text() + \"x\"); delete[] p; auto q = x ? y : z;",
    "file: struct F { F() : a_{1}, b_(2) {} Coro<void> operator()(int n) const noexcept { co_await ready(n); } int a_, b_; };",
    "file: template <class T> requires requires(T t) { t.f(); } Coro<void> g(T t) { int n = co_await ready(); (void)n; }",
    "file: [[nodiscard]] auto g() -> Coro<int> try { co_return co_await ready(); } catch (int) { throw; }",
]
