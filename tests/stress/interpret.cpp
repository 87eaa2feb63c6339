// SPDX-License-Identifier: MIT
// Runs programs of the differential fuzz on weft, in virtual time, and prints what each of their
// statements saw. `interpret_asyncio.py` does the same on asyncio; `fuzz` compares, and describes
// the language.
// program: own
//
//     interpret [--debug] PROGRAMS      (the backend is WEFT_BACKEND's)
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using std::chrono::milliseconds;
using weft::Coro;
using weft::Task;

// --- the program
// ----------------------------------------------------------------------------------

struct Node {
    int line = 0;
    std::string op;
    std::vector<std::string> words;  // after the op
    std::vector<int> numbers;        // the same, where they are numbers
    std::vector<Node> body, handler, last;
};
using Block = std::vector<Node>;

struct Program {
    std::string name;
    std::map<int, Block> coros;
};

bool opens_block(const std::string& op) {
    for (const char* const each :
         {"try", "scope", "group", "lock", "sem", "cond", "soon", "later", "ondone", "onfut"}) {
        if (op == each) return true;
    }
    return false;
}

struct Reader {
    std::istream& in;
    int line = 0;
    std::string first = {};
    std::vector<std::string> rest = {};

    bool next() {
        std::string text;
        while (std::getline(in, text)) {
            ++line;
            std::vector<std::string> words;
            for (std::size_t at = 0; at < text.size();) {
                const std::size_t from = text.find_first_not_of(' ', at);
                if (from == std::string::npos) break;
                at = std::min(text.find(' ', from), text.size());
                words.push_back(text.substr(from, at - from));
            }
            if (words.empty()) continue;
            first = words.front();
            rest.assign(words.begin() + 1, words.end());
            return true;
        }
        return false;
    }

    /// Up to the word that ends the block, which it returns.
    std::string block(Block& into) {
        while (next()) {
            if (first == "end" || first == "except" || first == "finally") return first;
            Node node;
            node.line = line;
            node.op = first;
            node.words = rest;
            for (const std::string& word : rest) {
                const bool number = word.find_first_not_of("-0123456789") == std::string::npos;
                node.numbers.push_back(number ? std::stoi(word) : 0);
            }
            if (opens_block(first)) {
                std::string end = block(node.body);
                if (end == "except") end = block(node.handler);
                if (end == "finally") end = block(node.last);
            }
            into.push_back(std::move(node));
        }
        return "end";
    }
};

std::vector<Program> read_programs(std::istream& in) {
    std::vector<Program> programs;
    Reader reader{in};
    while (reader.next()) {
        if (reader.first == "program") {
            programs.emplace_back();
            programs.back().name = reader.rest.at(0);
            reader.line = 0;
        } else if (reader.first == "coro") {
            Block& block = programs.back().coros[std::stoi(reader.rest.at(0))];
            reader.block(block);
        } else {
            throw std::runtime_error("not a program: " + reader.first);
        }
    }
    return programs;
}

// --- what it works on
// -----------------------------------------------------------------------------

struct ProgramError : std::runtime_error {
    explicit ProgramError(int of) : std::runtime_error("program"), number(of) {}
    int number;
};

constexpr int objects = 4;  // of each kind
constexpr std::size_t most_tasks = 60;
constexpr int horizon = 1000;

struct World {
    World(const Program& of, std::string& into)
        : program(of), out(into), loop(weft::get_running_loop()) {
        for (int i = 0; i < objects; ++i) {
            futures.push_back(loop.create_future<int>());
            semaphores.emplace_back(i);
            barriers.emplace_back(i == 0 ? 2 : i);
            queues.emplace_back(static_cast<std::size_t>(i));
        }
    }

    long long now() const {
        return std::chrono::duration_cast<milliseconds>(loop.time().time_since_epoch()).count() -
               began;
    }
    void log(const std::string& who, int line, std::string_view what) {
        out += std::to_string(now());
        out += ' ';
        out += who;
        out += ' ';
        out += std::to_string(line);
        out += ' ';
        out += what;
        out += '\n';
    }

    const Program& program;
    std::string& out;
    weft::EventLoop& loop;
    long long began = 0;
    std::vector<Task<int>> all;        // in the order of their creation
    std::map<int, std::size_t> slots;  // of `all`
    std::map<int, weft::TimerHandle> handles;
    std::vector<weft::Future<int>> futures;
    std::deque<weft::Lock> locks{objects};
    std::deque<weft::BoundedSemaphore> semaphores;
    std::deque<weft::Event> events{objects};
    std::deque<weft::Condition> conditions{objects};
    std::deque<weft::Barrier> barriers;
    std::deque<weft::Queue<int>> queues;
};

/// One task, or one callback.
struct Frame {
    World& world;
    std::string who;
    std::size_t index;  // of `World::all`; callbacks are older than every task
    weft::TaskGroup* group = nullptr;
    weft::Timeout* scope = nullptr;
    std::exception_ptr caught = nullptr;
    int started = 0;
};

constexpr int go_on = -1;  // what a block returns that met no `return`

std::string describe(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const weft::CancelledError& cancelled) {
        return cancelled.message().empty() ? "C" : "C:" + cancelled.message();
    } catch (const ProgramError& failed) {
        return "E" + std::to_string(failed.number);
    } catch (const weft::ExceptionGroup& group) {
        std::string text = "G[";
        for (const std::exception_ptr& each : group.exceptions()) text += describe(each) + ",";
        return text + "]";
    } catch (const weft::TimeoutError&) {
        return "T";
    } catch (const weft::InvalidStateError&) {
        return "invalid";
    } catch (const weft::BrokenBarrierError&) {
        return "broken";
    } catch (const weft::QueueEmpty&) {
        return "empty";
    } catch (const weft::QueueFull&) {
        return "full";
    } catch (const weft::RuntimeError&) {
        return "runtime";
    } catch (const std::exception& other) {
        return std::string("?") + other.what();
    }
}

bool is_cancelled(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const weft::CancelledError&) {
        return true;
    } catch (...) {
        return false;
    }
}

template <class F>
std::string end_of(const F& future) {
    if (!future.done()) return "pending";
    if (future.cancelled() || future.exception()) {
        try {
            (void)future.result();
        } catch (...) {
            return describe(std::current_exception());
        }
    }
    return "=" + std::to_string(future.result());
}

// --- statements that do not wait
// ------------------------------------------------------------------

Coro<int> body(World& world, std::string who, std::size_t index, int coro, weft::TaskGroup* group);
void run_callback(World& world, const std::string& who, const Block& block);

/// A task that this one may wait for: one that is younger, so that nobody waits in a circle.
Task<int> younger(Frame& frame, int slot) {
    const auto found = frame.world.slots.find(slot);
    if (found == frame.world.slots.end() || found->second <= frame.index) return Task<int>();
    return frame.world.all[found->second];
}

std::vector<Task<int>> all_younger(Frame& frame, const Node& node, std::size_t from) {
    std::vector<Task<int>> tasks;
    for (std::size_t i = from; i < node.numbers.size(); ++i) {
        if (Task<int> task = younger(frame, node.numbers[i])) tasks.push_back(std::move(task));
    }
    return tasks;
}

std::string spawn(Frame& frame, const Node& node) {
    World& world = frame.world;
    if (world.all.size() >= most_tasks) return "enough";
    const std::size_t index = world.all.size() + 1;
    std::string who = frame.who + "." + std::to_string(++frame.started);
    const int slot = node.numbers.at(0);
    const int coro = node.numbers.at(1);
    if (node.op == "gspawn") {
        if (!frame.group) return "none";
        auto task =
            frame.group->create_task(body(world, std::move(who), index - 1, coro, frame.group));
        world.slots[slot] = world.all.size();
        world.all.push_back(std::move(task));
    } else {
        auto task = weft::create_task(body(world, std::move(who), index - 1, coro, nullptr));
        world.slots[slot] = world.all.size();
        world.all.push_back(std::move(task));
    }
    return "ok";
}

/// Nothing when the statement waits.
bool at_once(Frame& frame, const Node& node, std::string& said) {
    World& world = frame.world;
    const std::string& op = node.op;
    const auto number = [&](std::size_t i) { return node.numbers.at(i); };
    const auto task_in = [&](int slot) {
        const auto found = world.slots.find(slot);
        return found == world.slots.end() ? Task<int>() : world.all[found->second];
    };
    const auto message = [&](std::size_t i) {
        return i < node.words.size() ? node.words[i] : std::string();
    };
    const auto nth = [&](std::size_t i) { return static_cast<std::size_t>(number(i)); };
    said = "ok";
    if (op == "spawn" || op == "gspawn") {
        said = spawn(frame, node);
    } else if (op == "cancel") {
        const Task<int> task = task_in(number(0));
        said = !task ? "none" : task.cancel(message(1)) ? "true" : "false";
    } else if (op == "uncancel") {
        auto self = weft::current_task();
        said = self ? std::to_string(self.uncancel()) : "none";
    } else if (op == "cancelling") {
        auto self = weft::current_task();
        said = self ? std::to_string(self.cancelling()) : "none";
    } else if (op == "look") {
        const Task<int> task = task_in(number(0));
        said = !task ? "none" : end_of(task);
    } else if (op == "lookf") {
        said = end_of(world.futures[nth(0)]);
    } else if (op == "set") {
        world.futures[nth(0)].set_result(number(1));
    } else if (op == "fail") {
        world.futures[nth(0)].set_exception(std::make_exception_ptr(ProgramError(number(1))));
    } else if (op == "cancelf") {
        said = world.futures[nth(0)].cancel(message(1)) ? "true" : "false";
    } else if (op == "renew") {
        world.futures[nth(0)] = world.loop.create_future<int>();
    } else if (op == "soon") {
        const std::string who = frame.who + "/" + std::to_string(node.line);
        world.loop.call_soon([&world, &node, who] { run_callback(world, who, node.body); });
    } else if (op == "later") {
        const std::string who = frame.who + "/" + std::to_string(node.line);
        world.handles[number(0)] = world.loop.call_later(
            milliseconds(number(1)), [&world, &node, who] { run_callback(world, who, node.body); });
    } else if (op == "unlater") {
        const auto found = world.handles.find(number(0));
        if (found == world.handles.end()) {
            said = "none";
        } else {
            found->second.cancel();
        }
    } else if (op == "ondone") {
        const Task<int> task = task_in(number(0));
        const std::string who = frame.who + "/" + std::to_string(node.line);
        if (!task) {
            said = "none";
        } else {
            (void)task_in(number(0)).add_done_callback(
                [&world, &node, who](const weft::Future<int>& done) {
                    world.log(who, node.line, end_of(done));
                    run_callback(world, who, node.body);
                });
        }
    } else if (op == "onfut") {
        const std::string who = frame.who + "/" + std::to_string(node.line);
        (void)world.futures[nth(0)].add_done_callback(
            [&world, &node, who](const weft::Future<int>& done) {
                world.log(who, node.line, end_of(done));
                run_callback(world, who, node.body);
            });
    } else if (op == "resched") {
        if (!frame.scope) {
            said = "none";
        } else if (number(0) < 0) {
            frame.scope->reschedule(std::nullopt);
        } else {
            frame.scope->reschedule(world.loop.time() + milliseconds(number(0)));
        }
    } else if (op == "release") {
        world.locks[nth(0)].release();
    } else if (op == "srelease") {
        world.semaphores[nth(0)].release();
    } else if (op == "eset") {
        world.events[nth(0)].set();
    } else if (op == "eclear") {
        world.events[nth(0)].clear();
    } else if (op == "notify") {
        world.conditions[nth(0)].notify(nth(1));
    } else if (op == "breset") {
        world.barriers[nth(0)].reset();
    } else if (op == "babort") {
        world.barriers[nth(0)].abort();
    } else if (op == "putn") {
        world.queues[nth(0)].put_nowait(number(1));
    } else if (op == "getn") {
        said = "=" + std::to_string(world.queues[nth(0)].get_nowait());
    } else if (op == "qdone") {
        world.queues[nth(0)].task_done();
    } else if (op == "qsize") {
        said = std::to_string(world.queues[nth(0)].qsize());
    } else if (op == "raise") {
        throw ProgramError(number(0));
    } else if (op == "reraise") {
        if (frame.caught) std::rethrow_exception(frame.caught);
    } else {
        return false;
    }
    return true;
}

void run_callback(World& world, const std::string& who, const Block& block) {
    Frame frame{world, who, 0};
    for (const Node& node : block) {
        std::string said;
        try {
            if (!at_once(frame, node, said)) said = "waits";
        } catch (...) {
            said = describe(std::current_exception());
        }
        world.log(who, node.line, said);
    }
}

// --- statements that wait
// -------------------------------------------------------------------------

Coro<int> run_block(Frame& frame, const Block& block);

Coro<int> perform_try(Frame& frame, const Node& node) {
    int flow = go_on;
    std::exception_ptr error;
    try {
        flow = co_await run_block(frame, node.body);
    } catch (...) {
        error = std::current_exception();
    }
    const std::string& kind = node.words.at(0);
    if (error && (kind == "any" || (kind == "cancelled" && is_cancelled(error)) ||
                  (kind == "error" && !is_cancelled(error)))) {
        const std::exception_ptr outer = std::exchange(frame.caught, error);
        error = nullptr;
        try {
            flow = co_await run_block(frame, node.handler);
        } catch (...) {
            error = std::current_exception();
        }
        frame.caught = outer;
    }
    if (!node.last.empty()) {
        const int end = co_await run_block(frame, node.last);
        if (end != go_on) co_return end;
    }
    if (error) std::rethrow_exception(error);
    co_return flow;
}

Coro<int> perform_scope(Frame& frame, const Node& node) {
    weft::Timeout* const outer = frame.scope;
    const auto inside = [&frame, &node](weft::Timeout& scope) -> Coro<int> {
        frame.scope = &scope;
        return run_block(frame, node.body);
    };
    int flow = go_on;
    std::exception_ptr error;
    try {
        if (node.numbers.at(0) < 0) {
            flow = co_await weft::timeout(std::nullopt, inside);
        } else {
            flow = co_await weft::timeout(milliseconds(node.numbers[0]), inside);
        }
    } catch (...) {
        error = std::current_exception();
    }
    frame.scope = outer;
    if (error) std::rethrow_exception(error);
    co_return flow;
}

Coro<int> perform_group(Frame& frame, const Node& node) {
    weft::TaskGroup* const outer = frame.group;
    // A body that returns a value and is struck is an error of its own, so this one has none.
    int flow = go_on;
    const auto inside = [&frame, &node, &flow](weft::TaskGroup& group) -> Coro<void> {
        frame.group = &group;
        flow = co_await run_block(frame, node.body);
    };
    std::exception_ptr error;
    try {
        co_await weft::task_group(inside);
    } catch (...) {
        error = std::current_exception();
    }
    frame.group = outer;
    if (error) std::rethrow_exception(error);
    co_return flow;
}

template <class Guarded>
Coro<int> perform_guarded(Frame& frame, const Node& node, Guarded& guarded) {
    auto guard = co_await guarded.scoped();
    frame.world.log(frame.who, node.line, "in");
    co_return co_await run_block(frame, node.body);
}

Coro<std::string> perform_wait(Frame& frame, const Node& node) {
    const std::string& mode = node.words.at(0);
    const int limit = node.numbers.at(1);
    std::vector<Task<int>> tasks = all_younger(frame, node, 2);
    if (tasks.empty()) co_return "none";
    const auto when = mode == "first"   ? weft::first_completed
                      : mode == "error" ? weft::first_exception
                                        : weft::all_completed;
    std::vector<Task<int>> asked = tasks;
    if (limit < 0) {
        auto found = co_await weft::wait(std::move(asked), when);
    } else {
        auto found = co_await weft::wait(std::move(asked), when, milliseconds(limit));
    }
    std::string text;
    for (const Task<int>& task : tasks) text += task.done() ? "d" : "p";
    co_return text;
}

Coro<std::string> perform_as_completed(Frame& frame, const Node& node) {
    std::vector<Task<int>> tasks = all_younger(frame, node, 1);
    if (tasks.empty()) co_return "none";
    const int limit = node.numbers.at(0);
    auto completed = weft::as_completed(std::move(tasks), milliseconds(limit < 0 ? 500000 : limit));
    for (;;) {
        auto task = co_await completed.next();
        if (!task) break;
        const int value = task.result();
        frame.world.log(frame.who, node.line, "=" + std::to_string(value));
    }
    co_return "ok";
}

Coro<std::string> perform_gather(Frame& frame, const Node& node) {
    std::vector<Task<int>> tasks = all_younger(frame, node, 0);
    std::string text = "=";
    if (node.op == "gather") {
        auto results = co_await weft::gather(std::move(tasks));
        for (const int each : results) text += std::to_string(each) + ",";
    } else {
        auto results = co_await weft::gather(weft::return_exceptions, std::move(tasks));
        for (const auto& each : results) {
            text += (each ? std::to_string(*each) : describe(each.exception())) + ",";
        }
    }
    co_return text;
}

/// What is a single await, and what it said.
Coro<std::string> perform_await(Frame& frame, const Node& node) {
    World& world = frame.world;
    const std::string& op = node.op;
    const auto number = [&](std::size_t i) { return node.numbers.at(i); };
    const auto nth = [&](std::size_t i) { return static_cast<std::size_t>(number(i)); };
    if (op == "sleep") {
        co_await weft::sleep(milliseconds(number(0)));
        co_return "ok";
    }
    if (op == "yield") {
        co_await weft::yield();
        co_return "ok";
    }
    if (op == "await" || op == "shield" || op == "waitfor") {
        const Task<int> task = younger(frame, number(0));
        if (!task) co_return "none";
        int value = 0;
        if (op == "await") {
            value = co_await task;
        } else if (op == "shield") {
            value = co_await weft::shield(task);
        } else {
            value = co_await weft::wait_for(task, milliseconds(number(1)));
        }
        co_return "=" + std::to_string(value);
    }
    if (op == "awaitf" || op == "shieldf" || op == "waitforf") {
        const weft::Future<int> future = world.futures[nth(0)];
        int value = 0;
        if (op == "awaitf") {
            value = co_await future;
        } else if (op == "shieldf") {
            value = co_await weft::shield(future);
        } else {
            value = co_await weft::wait_for(future, milliseconds(number(1)));
        }
        co_return "=" + std::to_string(value);
    }
    if (op == "acquire") {
        co_await world.locks[nth(0)].acquire();
        co_return "ok";
    }
    if (op == "sacquire") {
        co_await world.semaphores[nth(0)].acquire();
        co_return "ok";
    }
    if (op == "ewait") {
        co_await world.events[nth(0)].wait();
        co_return "ok";
    }
    if (op == "cwait") {
        co_await world.conditions[nth(0)].wait();
        co_return "ok";
    }
    if (op == "bwait") {
        const std::size_t place = co_await world.barriers[nth(0)].wait();
        co_return std::to_string(place);
    }
    if (op == "put") {
        co_await world.queues[nth(0)].put(number(1));
        co_return "ok";
    }
    if (op == "get") {
        const int item = co_await world.queues[nth(0)].get();
        co_return "=" + std::to_string(item);
    }
    if (op == "join") {
        co_await world.queues[nth(0)].join();
        co_return "ok";
    }
    if (op == "call") {
        const std::string who = frame.who + "+" + std::to_string(node.line);
        const int value = co_await body(world, who, frame.index, number(0), frame.group);
        co_return "=" + std::to_string(value);
    }
    if (op == "wait") co_return co_await perform_wait(frame, node);
    if (op == "ascompleted") co_return co_await perform_as_completed(frame, node);
    if (op == "gather" || op == "gatherx") co_return co_await perform_gather(frame, node);
    throw std::runtime_error("not a statement: " + op);
}

Coro<int> perform(Frame& frame, const Node& node) {
    World& world = frame.world;
    const std::string& op = node.op;
    const auto nth = [&] { return static_cast<std::size_t>(node.numbers.at(0)); };
    if (op == "return") co_return node.numbers.at(0);
    if (op == "try") co_return co_await perform_try(frame, node);
    if (op == "scope") co_return co_await perform_scope(frame, node);
    if (op == "group") co_return co_await perform_group(frame, node);
    if (op == "lock") co_return co_await perform_guarded(frame, node, world.locks[nth()]);
    if (op == "sem") co_return co_await perform_guarded(frame, node, world.semaphores[nth()]);
    if (op == "cond") co_return co_await perform_guarded(frame, node, world.conditions[nth()]);
    const std::string said = co_await perform_await(frame, node);
    world.log(frame.who, node.line, said);
    co_return go_on;
}

Coro<int> run_block(Frame& frame, const Block& block) {
    World& world = frame.world;
    for (const Node& node : block) {
        std::exception_ptr error;
        int flow = go_on;
        try {
            std::string said;
            if (at_once(frame, node, said)) {
                world.log(frame.who, node.line, said);
            } else {
                world.log(frame.who, node.line, node.op);
                flow = co_await perform(frame, node);
            }
        } catch (...) {
            error = std::current_exception();
        }
        if (error) {
            world.log(frame.who, node.line, describe(error));
            std::rethrow_exception(error);
        }
        if (flow != go_on) co_return flow;
    }
    co_return go_on;
}

Coro<int> body(World& world, std::string who, std::size_t index, int coro, weft::TaskGroup* group) {
    Frame frame{world, std::move(who), index, group};
    world.log(frame.who, 0, "begins");
    const int flow = co_await run_block(frame, world.program.coros.at(coro));
    world.log(frame.who, 0, "ends");
    co_return flow == go_on ? 0 : flow;
}

/// Runs the first coroutine, and cancels what is left again and again when time has come to its
/// horizon. False when that was to no avail.
Coro<bool> run_program(const Program& program, std::string& out) {
    World world(program, out);
    world.began = world.now();
    const auto begin = world.loop.time();
    world.all.push_back(weft::create_task(body(world, "0", 0, 0, nullptr)));
    int quiet = 0;  // callbacks may start tasks, so nothing may happen for a whole round
    for (int round = 1; quiet < 2 && round <= 100; ++round) {
        co_await weft::sleep_until(begin + milliseconds(horizon) * round);
        std::vector<Task<int>> left;
        for (const Task<int>& task : world.all) {
            if (!task.done()) left.push_back(task);
        }
        quiet = left.empty() ? quiet + 1 : 0;
        for (Task<int>& task : left) {
            if (!task.done()) task.cancel("horizon");
        }
    }
    if (quiet < 2) out += "stuck\n";
    for (std::size_t i = 0; i < world.all.size(); ++i) {
        out += "task " + std::to_string(i) + " " + end_of(world.all[i]) + "\n";
    }
    co_return quiet == 2;
}

}  // namespace

int main(int count, char** arguments) {
    weft::RunOptions options;
    options.virtual_time = true;
    options.hang_limit = std::chrono::seconds(10);
    int at = 1;
    if (count > at && std::strcmp(arguments[at], "--debug") == 0) {
        options.debug = true;
        ++at;
    }
    if (count != at + 1) {
        std::cerr << "interpret [--debug] PROGRAMS\n";
        return 2;
    }
    std::ifstream file(arguments[at]);
    if (!file) {
        std::cerr << "interpret: cannot read " << arguments[at] << "\n";
        return 2;
    }
    const std::vector<Program> programs = read_programs(file);
    std::size_t next = 0;
    std::string out;
    // As many as one loop will take: one that is stuck gets a new loop for those after it.
    const auto run_some = [&]() -> Coro<void> {
        weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext&) {});
        for (bool sound = true; sound && next < programs.size();) {
            const Program& program = programs[next++];
            out = "program " + program.name + "\n";
            sound = co_await run_program(program, out);
            std::fwrite(out.data(), 1, out.size(), stdout);
            std::fflush(stdout);  // should the next one crash
            out.clear();
        }
    };
    while (next < programs.size()) {
        try {
            weft::run(run_some, options);
        } catch (const std::exception& failure) {
            std::cout << out << "failed " << failure.what() << std::endl;
        }
    }
    return 0;
}
