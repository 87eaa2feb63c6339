// SPDX-License-Identifier: MIT
// need_file_support: the backends' part that is about files, for who makes operations on them.
#pragma once

#include <atomic>

#include "../base/config.hpp"
#include "detail/helper.hpp"
#if WEFT_BODIES
#include "detail/file_helper.hpp"
#if WEFT_HAS_URING
#include "detail/uring_files.hpp"
#endif
#endif

namespace weft::detail {

void add_file_support() noexcept;

/// Called by whoever makes an operation that may be one on a file, before it is started. (In a
/// program where nobody does, the linker finds no use of the helper threads.)
/// Thread:   any: all of them store the same.
inline void need_file_support() noexcept {
    if (!known_file_support.load(std::memory_order_relaxed)) [[unlikely]]
        add_file_support();
}

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE void add_file_support() noexcept {
    // (g++ compiles a table outside of a function into every file, and all that it names.)
    static constexpr FileSupport all {
        &FileHelper::make,
            [](const Helper& helper, int fd) noexcept {
                return static_cast<const FileHelper&>(helper).uses_position(fd);
            },
            [](Helper& helper, Operation& op, bool waits_for_others) noexcept {
                return static_cast<FileHelper&>(helper).hand_over(op, waits_for_others);
            },
            [](Helper& helper, Operation& op) noexcept {
                return static_cast<FileHelper&>(helper).take_back(op);
            },
            [](Helper& helper, int fd, OperationList& ended) noexcept {
                return static_cast<FileHelper&>(helper).end_all_on(fd, ended);
            },
            [](Helper& helper, int fd) noexcept { static_cast<FileHelper&>(helper).wait_for(fd); },
            [](Helper& helper, OperationList& finished) noexcept {
                static_cast<FileHelper&>(helper).collect(finished);
            },
            [](Helper* helper) noexcept { delete static_cast<FileHelper*>(helper); }, &write_some,
#if WEFT_HAS_URING
            &prepare_file_call,
#else
            nullptr,
#endif
    };
    known_file_support.store(&all, std::memory_order_relaxed);
}
#endif

}  // namespace weft::detail
