// SPDX-License-Identifier: MIT
// sqlite::detail::Session: a database on a thread of its own.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <exception>
#include <string>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/loop.hpp"
#include "../../sql/error.hpp"
#include "../../sql/parameters.hpp"
#include "../../sql/session.hpp"
#include "../../sql/table.hpp"
#include "../../task/coro.hpp"
#include "../../thread/thread_pool.hpp"
#include "handle.hpp"

namespace weft::sqlite::detail {

/// What the thread works with; the last who knows of it closes the file. While a job runs, that job
/// knows of it.
struct Store : weft::detail::CountedByThreads<Store> {
    explicit Store(const Options& options) noexcept : handle(options) {}
    Handle handle;
    // As the last job has left it: the loop's thread does not ask SQLite.
    std::atomic<bool> in_transaction{false};
};
using StoreRef = weft::detail::Ref<Store>;

/// What a job brings back.
struct Done {
    Done() noexcept {}
    weft::detail::Ref<sql::Table> table;
    std::exception_ptr error;
    bool was_stopped = false;  // the error is what became of a cancel
};

class Session final : public sql::Session {
public:
    Session(std::string path, const Options& options)
        : threads_(of_one_thread()),
          store_(new Store(options)),
          server_(weft::detail::concat({"sqlite ", path})) {
        made = last_used = get_running_loop().time();
    }

    bool in_transaction() const noexcept override {
        return is_open() && store_->in_transaction.load(std::memory_order_acquire);
    }
    bool is_open() const noexcept override { return static_cast<bool>(store_); }
    void drop() noexcept override { store_ = StoreRef(); }
    bool looks_alive() noexcept override { return is_open(); }
    bool is_clean() const noexcept override { return is_open() && !in_transaction(); }
    std::string server() const override { return server_; }

    Coro<sql::Rows> run(std::string statement, sql::Parameters parameters) override {
        weft::detail::refuse_zero_byte("sqlite: a statement", statement);
        Done done =
            co_await on_thread([](Handle& handle, const std::string& text,
                                  const sql::Parameters& with) { return handle.run(text, with); },
                               std::move(statement), std::move(parameters));
        settle(done);
        co_return sql::Rows(sql::detail::ResultRef(done.table.leak()));
    }
    Coro<void> run_all(std::string statements) {
        weft::detail::refuse_zero_byte("sqlite: a statement", statements);
        const Done done = co_await on_thread(
            [](Handle& handle, const std::string& text, const sql::Parameters&) -> sql::Table* {
                handle.run_all(text);
                return nullptr;
            },
            std::move(statements), sql::Parameters());
        settle(done);
    }
    Coro<void> open(std::string path) {
        weft::detail::refuse_zero_byte("sqlite: open", path);
        const Done done = co_await on_thread(
            [](Handle& handle, const std::string& text, const sql::Parameters&) -> sql::Table* {
                handle.open(text);
                return nullptr;
            },
            std::move(path), sql::Parameters());
        settle(done);
    }
    Coro<void> close() {
        if (!is_open()) co_return;
        const Done done = co_await on_thread(
            [](Handle& handle, const std::string&, const sql::Parameters&) -> sql::Table* {
                handle.close();
                return nullptr;
            },
            std::string(), sql::Parameters());
        drop();
    }

private:
    using Work = sql::Table* (*)(Handle&, const std::string&, const sql::Parameters&);

    static ThreadPoolOptions of_one_thread() {
        ThreadPoolOptions options;
        options.threads = 1;
        options.name = "sqlite";
        return options;
    }

    /// A call on the thread; owns what it needs.
    struct Job {
        Job(StoreRef with, Work what, std::string words, sql::Parameters values)
            : store(std::move(with)),
              work(what),
              text(std::move(words)),
              parameters(std::move(values)) {}
        Done operator()() {
            Done done;
            try {
                done.table = weft::detail::Ref<sql::Table>(work(store->handle, text, parameters));
            } catch (const sql::Error& error) {
                done.error = std::current_exception();
                const int code = error.number() & 0xff;
                done.was_stopped = thread_stop_token().stop_requested() &&
                                   (code == SQLITE_INTERRUPT || code == SQLITE_BUSY);
            } catch (...) {
                done.error = std::current_exception();
            }
            store->in_transaction.store(store->handle.in_transaction(), std::memory_order_release);
            return done;
        }
        StoreRef store;
        Work work;
        std::string text;
        sql::Parameters parameters;
    };
    Coro<Done> on_thread(Work work, std::string text, sql::Parameters parameters) {
        if (!is_open()) refuse("the database is closed", std::move(text));
        Job job(store_, work, std::move(text), std::move(parameters));
        co_return co_await threads_.run(std::move(job));
    }
    void settle(const Done& done) {
        EventLoop& loop = get_running_loop();
        last_used = loop.time();
        if (!done.error) return;
        if (done.was_stopped) loop.throw_cancelled();
        std::rethrow_exception(done.error);
    }

    ThreadPool threads_;
    StoreRef store_;  // empty: closed
    std::string server_;
};
using SessionRef = weft::detail::Ref<Session>;

}  // namespace weft::sqlite::detail
