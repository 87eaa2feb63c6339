// SPDX-License-Identifier: MIT
// BlockingWait: a call that may block and that no kernel has an operation for, made by a helper
// thread.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../../kernel/file_support.hpp"
#include "../../kernel/operation.hpp"
#include "../../net/operation_wait.hpp"

namespace weft::detail {

/// `Fn` gives 0 or more, or -errno, and stands for a short call: the helper threads are few.
/// Cancel:   taken back as long as it has not begun; else its result is the answer.
template <class Fn>
class [[nodiscard]] [[gnu::warn_unused]] BlockingWait final : public OperationWait,
                                                              private BlockingCall {
public:
    /// `number`: the descriptor that it uses, or -1; what it is called in an error: `name "path"`.
    BlockingWait(const char* name, int number, const std::string& path, Fn fn) noexcept
        : OperationWait(OpCode::blocking_call),
          BlockingCall{&make},
          call_(std::move(fn)),
          name_(name),
          path_(path) {
        need_file_support();
        fd = number;
        address = static_cast<BlockingCall*>(this);
    }
    int await_resume() const { return checked(); }
    WaitInfo describe() const noexcept override {
        return {name_, fd, nullptr, [](const Suspension& wait) {
                    const auto& self = static_cast<const BlockingWait&>(wait);
                    return self.path_.empty() ? fd_text(self.name_, self.fd)
                                              : concat({self.name_, " ", in_quotes(self.path_)});
                }};
    }

private:
    static int make(BlockingCall& call) noexcept {
        return static_cast<BlockingWait&>(call).call_();
    }

    Fn call_;
    const char* name_;
    const std::string& path_;
};

/// `path` and what `call` refers to outlive the await. (The call is copied: name a lambda that
/// captures anything with a destructor.)
template <class Fn>
BlockingWait<Fn> blocking(const char* name, int number, const std::string& path, Fn fn) noexcept {
    static_assert(std::is_trivially_destructible_v<Fn>, "g++ 12 destroys it twice in an await");
    return BlockingWait<Fn>(name, number, path, std::move(fn));
}

}  // namespace weft::detail
