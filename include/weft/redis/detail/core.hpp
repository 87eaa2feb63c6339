// SPDX-License-Identifier: MIT
// Core: a connection to a Redis server, made anew when it breaks, and who waits for answers on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../../adapters/alarm.hpp"
#include "../../base/config.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../base/ref.hpp"
#include "../../base/ring_buffer.hpp"
#include "../../net/stream.hpp"
#include "../../sync/event.hpp"
#include "../../sync/rw_lock.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"
#include "../options.hpp"
#include "parser.hpp"
#include "pending.hpp"

namespace weft::redis::detail {

/// Three tasks serve it, each only while there is something to do: one connects, one writes what is
/// unsent, all of it at once, and one reads. The writer runs in the turn after the first command,
/// so that what the tasks of a turn ask goes out in one write. Each of them ends when it is
/// cancelled (the run ends) and nobody waits; who asks after that, in a clean-up, begins another.
class Core final : public weft::detail::Counted<Core> {
public:
    explicit Core(Options options);
    ~Core();

    void submit(Pending& request);
    void cancel(Pending& request) noexcept;
    /// Commands whose replies nobody wants, before whatever is not sent yet. They are forgotten
    /// when that connection breaks, or has broken.
    void tell(std::string_view wire, std::uint32_t replies, std::uint32_t connection) noexcept;
    /// Who waits gets a ConnectionError.
    void end(const char* reason) noexcept;
    /// Takes no more, and waits until those that wait are served.
    static Coro<void> close(Ref<Core> core);
    static Coro<void> connected(Ref<Core> core);

    bool is_up() const noexcept { return state_ == State::up; }
    bool is_closed() const noexcept { return state_ == State::closed; }
    /// Nothing is under way, and nobody's answer is outstanding.
    bool is_quiet() const noexcept { return unsent_.empty() && sent_.empty() && owed_.empty(); }
    /// No command has made something else of the connection than it was at first.
    bool is_as_made() const noexcept { return !is_opened_ && !is_altered_; }
    /// Of the connection that there is; another one has another.
    std::uint32_t connection() const noexcept { return connection_; }
    const Options& options() const noexcept { return options_; }
    const std::string& name() const noexcept { return name_; }
    /// A transaction that watches keys has it alone; others share it.
    RwLock transactions;

private:
    struct Entry {
        Pending* request;  // null: nobody wants it
        std::uint32_t replies;
    };
    enum class State : unsigned char { down, connecting, up, closed };

    /// An argument of each of the three tasks. One that is cancelled before its first step never
    /// runs, and does not say so: but its arguments are destroyed.
    class Unbegun {
    public:
        using TakeBack = void (Core::*)(std::uint32_t connection) noexcept;
        Unbegun(Core& core, TakeBack take_back) noexcept
            : core_(Ref<Core>::to(core)), take_back_(take_back), connection_(core.connection_) {}
        Unbegun(Unbegun&& other) noexcept
            : core_(std::move(other.core_)),
              take_back_(other.take_back_),
              connection_(other.connection_) {}
        Unbegun& operator=(Unbegun&&) = delete;
        ~Unbegun() {
            if (core_) ((*core_).*take_back_)(connection_);
        }
        void has_begun() noexcept { core_ = Ref<Core>(); }

    private:
        Ref<Core> core_;
        TakeBack take_back_;
        std::uint32_t connection_;
    };
    void connect_not_begun(std::uint32_t connection) noexcept;
    void write_not_begun(std::uint32_t connection) noexcept;
    void read_not_begun(std::uint32_t connection) noexcept;

    /// Each of the three tasks has one: a frame that goes where it stands, because its loop closes,
    /// leaves nothing behind that a client on the next loop would wait for.
    class Serving {
    public:
        using Lost = void (Core::*)(std::uint32_t connection) noexcept;
        Serving(Core& core, Lost lost) noexcept
            : core_(core), lost_(lost), connection_(core.connection_) {}
        Serving(const Serving&) = delete;
        Serving& operator=(const Serving&) = delete;
        ~Serving() { (core_.*lost_)(connection_); }

    private:
        Core& core_;  // (an argument of the frame keeps it)
        Lost lost_;
        std::uint32_t connection_;
    };
    void connect_lost(std::uint32_t connection) noexcept;
    void write_lost(std::uint32_t connection) noexcept;
    void read_lost(std::uint32_t connection) noexcept;

    struct EndAtLast {
        ~EndAtLast() { core.end("the client was closed"); }
        Core& core;
    };

    bool is_on(std::uint32_t connection) const noexcept {
        return connection_ == connection && state_ == State::up;
    }
    void move_to(EventLoop& loop);
    void pump();
    void pump_or_fail() noexcept;
    void begin_to_read();
    void gather(std::string& bytes);
    static Coro<void> connect(Ref<Core> core, Unbegun unbegun);
    static Coro<void> write(Ref<Core> core, Unbegun unbegun);
    static Coro<void> read(Ref<Core> core, Unbegun unbegun);
    void deliver(std::string_view bytes);
    void broke(std::string_view reason) noexcept;
    void lose(std::string_view reason) noexcept;
    void fail_unsent(const Ref<Failure>& failure, bool all) noexcept;
    static void fail(Pending& request, const Ref<Failure>& failure) noexcept;
    void set_alarm(weft::detail::Nanoseconds deadline);
    void give_up_on(const Pending& request) noexcept;
    void watch_given_up(weft::detail::Nanoseconds deadline) noexcept;
    bool given_up_is_held_up() noexcept;
    void look_at_deadlines();
    bool anybody_waits() noexcept;
    void look_whether_quiet() noexcept {
        if (is_closing_ && is_quiet()) quiet_.set();
    }

    const Options options_;
    const std::string name_;
    EventLoop* loop_ = nullptr;  // of the tasks
    State state_ = State::down;
    bool is_closing_ = false;
    bool writes_ = false;
    bool reads_ = false;
    bool is_opened_ = false;  // see Mark
    bool is_altered_ = false;
    std::uint32_t connection_ = 1;
    weft::detail::IntrusiveList<Pending> unsent_;
    weft::detail::RingBuffer<Entry> sent_;
    std::uint64_t first_sent_ = 0;  // the number of the first one in the row
    std::string owed_;              // see `tell`
    std::uint32_t owed_replies_ = 0;
    std::string spare_;  // the writer's memory, while there is none
    std::optional<Stream> stream_;
    std::optional<Parser> parser_;
    Task<void> connector_;
    bool alarm_is_made_ = false;
    Alarm alarm_;
    weft::detail::Nanoseconds alarm_at_ = 0;
    // When the answer to a cancelled command is to be there, and its number in the row; 0: there is
    // none. (Who waits is told by its own deadline. But where all deadlines are the callers', those
    // who are gone are all that shows that a connection is dead.)
    weft::detail::Nanoseconds given_up_until_ = 0;
    std::uint64_t given_up_ = 0;
    std::uint64_t last_given_up_ = 0;
    Event quiet_;
};

}  // namespace weft::redis::detail
