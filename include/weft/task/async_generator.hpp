// SPDX-License-Identifier: MIT
// AsyncGenerator<T>: a coroutine that gives one item after the other, and may await in between.
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "../base/error.hpp"
#include "../base/frame_allocator.hpp"
#include "../base/outcome.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/go_on.hpp"

namespace weft {

template <class T>
class AsyncGenerator;

/// Thrown by the co_yield at which a generator stands when `aclose` ends it. Not a std::exception,
/// like CancelledError: clean up and let it go.
class GeneratorExit final {
public:
    const char* what() const noexcept { return "the generator was closed"; }
};

namespace detail {

/// What `next` gives: an optional, or for references a pointer. Empty at the end.
template <class T>
using ItemOf =
    std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, std::optional<T>>;

template <class T>
class NextAwaiter;

template <class T>
class GeneratorPromise final : public RunsInSteps {
public:
    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        release_frame(memory, size);
    }

    /// Back to whoever asked, by returning to whoever resumed us. That one may ask again in place,
    /// so a loop over items that are there uses no stack.
    class GiveBack {
    public:
        explicit GiveBack(GeneratorPromise& promise) noexcept : promise_(&promise) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<>) const noexcept {
            const auto consumer = std::exchange(promise_->consumer_, nullptr);
            goes_on = consumer ? address_of(consumer) : was_in_place;
        }
        void await_resume() const {
            if (promise_->closing_) [[unlikely]]
                throw GeneratorExit();
        }

    private:
        GeneratorPromise* promise_;
    };
    class Final {
    public:
        explicit Final(GeneratorPromise& promise) noexcept : promise_(&promise) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) const noexcept {
            promise_->outcome_ = nullptr;
            GiveBack(*promise_).await_suspend(frame);
        }
        void await_resume() const noexcept {}

    private:
        GeneratorPromise* promise_;
    };

    AsyncGenerator<T> get_return_object() noexcept;
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return Final(*this); }

    /// A value is built where it is wanted. (One whose constructor throws was not given.)
    template <class U = T>
        requires(!std::is_reference_v<T> && std::is_constructible_v<T, U&&>)
    GiveBack yield_value(U&& value) {
        static_assert(fits_into_frame<T>,
                      "weft: a generator yields an over-aligned type, for which compilers do not "
                      "align the frame that awaits it: yield a std::unique_ptr to it");
        outcome_->set_value(std::in_place, std::forward<U>(value));
        outcome_ = nullptr;
        return GiveBack(*this);
    }
    /// A temporary of the yielding expression lives until the next item is asked for.
    GiveBack yield_value(
        std::add_lvalue_reference_t<T> value) noexcept requires std::is_lvalue_reference_v<T> {
        std::exchange(outcome_, nullptr)->set_value(std::addressof(value));
        return GiveBack(*this);
    }
    void return_void() noexcept { outcome_->set_value(ItemOf<T>()); }
    void unhandled_exception() noexcept {
        if (closing_ && handling_generator_exit()) return outcome_->set_value(ItemOf<T>());
        outcome_->set_current_exception();
    }

    bool running() const noexcept { return outcome_ != nullptr; }
    // The generator, its calls and the await that runs it each keep the frame.
    void add_ref() noexcept { ++refs_; }
    static void release(std::coroutine_handle<GeneratorPromise> frame) noexcept {
        if (--frame.promise().refs_ == 0) frame.destroy();
    }
    /// The generator goes: nobody may begin to ask any more.
    void abandon() noexcept { abandoned_ = true; }
    bool abandoned() const noexcept { return abandoned_; }
    void run_for(Outcome<ItemOf<T>>& outcome, bool closing) noexcept {
        outcome_ = &outcome;
        closing_ = closing;
        started_ = true;
    }
    bool started() const noexcept { return started_; }
    void set_consumer(std::coroutine_handle<> consumer) noexcept { consumer_ = consumer; }

private:
    static bool handling_generator_exit() noexcept {
        const std::type_info* const type = abi::__cxa_current_exception_type();
        return type && *type == typeid(GeneratorExit);
    }

    std::coroutine_handle<> consumer_;       // null while it runs us in place
    Outcome<ItemOf<T>>* outcome_ = nullptr;  // where the next item goes; null between two
    std::uint32_t refs_ = 1;
    bool closing_ = false;
    bool started_ = false;
    bool abandoned_ = false;
};

/// Runs the generator to its next co_yield, in place like CoroAwaiter does (docs/decisions/0001).
template <class T>
class [[nodiscard]] [[gnu::warn_unused]] NextAwaiter {
    using Frame = std::coroutine_handle<GeneratorPromise<T>>;

public:
    /// Takes over a reference to the frame; null for a generator that is at its end.
    explicit NextAwaiter(Frame frame) noexcept : frame_(frame) {}
    NextAwaiter(const NextAwaiter&) = delete;
    NextAwaiter& operator=(const NextAwaiter&) = delete;
    ~NextAwaiter() {
        if (!frame_) return;
        if (suspended_ && outcome_.empty()) [[unlikely]]
            frame_.promise().set_consumer(nullptr);  // the frame that waits is destroyed
        GeneratorPromise<T>::release(frame_);
    }

    bool await_ready() {
        if (frame_ && !frame_.done()) return false;
        outcome_.set_value(ItemOf<T>());
        return true;
    }
    template <class Consumer>
    bool await_suspend(std::coroutine_handle<Consumer> consumer) {
        return run(consumer, false);
    }
    bool await_cancelled() const noexcept { return outcome_.kind() == OutcomeKind::cancelled; }
    ItemOf<T> await_resume() { return outcome_.take(); }

protected:
    template <class Consumer>
    bool run(std::coroutine_handle<Consumer> consumer, bool closing) {
        GeneratorPromise<T>& promise = frame_.promise();
        if (promise.running()) [[unlikely]]
            throw_runtime_error("weft: the generator runs already, for another task or for itself");
        if (promise.abandoned()) [[unlikely]]
            throw_runtime_error("weft: the generator was destroyed before it was asked");
        promise.run_for(outcome_, closing);
        if (answers_at_once(frame_, consumer)) return false;
        suspended_ = true;
        promise.set_consumer(consumer);
        return true;
    }

    Frame frame_;
    bool suspended_ = false;
    Outcome<ItemOf<T>> outcome_;
};

template <class T>
class [[nodiscard]] [[gnu::warn_unused]] CloseGeneratorAwaiter final : public NextAwaiter<T> {
public:
    using NextAwaiter<T>::NextAwaiter;

    template <class Consumer>
    bool await_suspend(std::coroutine_handle<Consumer> consumer) {
        return this->run(consumer, true);
    }
    void await_resume() {
        if (this->outcome_.take()) {
            throw_runtime_error("weft: the generator went on although it was closed");
        }
    }
};

/// What `next` and `aclose` return: it may be handed on, its awaiter may not.
template <class Awaiter, class Frame>
class [[nodiscard]] GeneratorCall {
public:
    /// A cancel ends the whole generator: `race` refuses to do that to a loser.
    static constexpr bool cancel_ends_its_object = true;
    explicit GeneratorCall(Frame frame) noexcept : frame_(frame) {
        if (frame) frame.promise().add_ref();
    }
    GeneratorCall(const GeneratorCall& other) noexcept : GeneratorCall(other.frame_) {}
    GeneratorCall(GeneratorCall&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    GeneratorCall& operator=(GeneratorCall other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~GeneratorCall() {
        if (frame_) [[unlikely]]
            frame_.promise().release(frame_);
    }
    Awaiter operator co_await() && noexcept { return Awaiter(std::exchange(frame_, nullptr)); }
    Awaiter operator co_await() const& noexcept { return GeneratorCall(*this).operator co_await(); }

private:
    Frame frame_;
};

}  // namespace detail

/// The items of a coroutine that uses co_yield. It runs when it is asked, up to its next co_yield:
///
///     while (auto item = co_await lines.next()) use(*item);
///
/// `item` is a std::optional<T>, and for `AsyncGenerator<T&>` a T*, which points to what was
/// yielded and is valid until the next call. Giving an item allocates nothing.
///
/// Destroying a generator destroys its locals where it stands, or, if a task waits for its next
/// item meanwhile, once that has it. Destructors cannot await: a generator whose clean-up does is
/// ended with `co_await generator.aclose()` (`async_with` does it on every way out).
/// Cancel:   passes through: what the generator awaits is what is cancelled. A generator that
///           CancelledError (or any other exception) has left is at its end.
/// Thread:   loop thread only; one task at a time asks.
template <class T>
class [[nodiscard]] AsyncGenerator {
public:
    using promise_type = detail::GeneratorPromise<T>;
    using value_type = T;
    using Frame = std::coroutine_handle<promise_type>;

    explicit AsyncGenerator(Frame frame) noexcept : frame_(frame) {}
    AsyncGenerator(AsyncGenerator&& other) noexcept
        : frame_(std::exchange(other.frame_, nullptr)),
          ended_(std::exchange(other.ended_, false)) {}
    /// The one that was here before is destroyed.
    AsyncGenerator& operator=(AsyncGenerator&& other) noexcept {
        if (this != &other) {
            let_go();
            frame_ = std::exchange(other.frame_, nullptr);
            ended_ = std::exchange(other.ended_, false);
        }
        return *this;
    }
    ~AsyncGenerator() { let_go(); }

    /// The next item; empty once the coroutine has ended.
    /// Throws:   what the coroutine throws, once; RuntimeError while another task asks, and when the
    ///           generator was moved from.
    auto next() {
        if (!frame_ && !ended_) [[unlikely]]
            detail::throw_runtime_error("weft: the generator is empty: it was moved from");
        return detail::GeneratorCall<detail::NextAwaiter<T>, Frame>(frame_);
    }

    /// Ends it: the co_yield at which it stands throws GeneratorExit, and its clean-up, which may
    /// await (after the handler, or in a `clean_up`), is waited for. Not started: its body never
    /// runs. Idempotent, and does nothing for a generator that was moved from.
    /// Throws:   what the clean-up throws; RuntimeError when it yields once more, or runs.
    auto aclose() noexcept {
        if (frame_ && !frame_.promise().started()) {
            let_go();
            ended_ = true;
        }
        return detail::GeneratorCall<detail::CloseGeneratorAwaiter<T>, Frame>(frame_);
    }
    /// Refused: a range-based for does not await.
    template <class Given = T>
    const int* begin() const {
        static_assert(!std::is_same_v<Given, T>,
                      "weft: a generator is asked: while (auto item = co_await generator.next())");
        return nullptr;
    }
    const int* end() const noexcept { return nullptr; }

    /// The same under the name that `async_with` looks for.
    auto close() noexcept { return aclose(); }

private:
    void let_go() noexcept {
        if (!frame_) return;
        const Frame frame = std::exchange(frame_, nullptr);
        frame.promise().abandon();
        promise_type::release(frame);
    }

    Frame frame_;
    bool ended_ = false;  // closed before it was started: there is no frame any more
};

template <class T>
AsyncGenerator<T> detail::GeneratorPromise<T>::get_return_object() noexcept {
    return AsyncGenerator<T>(std::coroutine_handle<GeneratorPromise>::from_promise(*this));
}

}  // namespace weft
