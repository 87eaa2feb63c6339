// SPDX-License-Identifier: MIT
// PathCall and its kin: what an operation on a path, or on two, waits on.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <coroutine>
#include <cstdint>

#include "../../base/fd.hpp"
#include "../../kernel/file_support.hpp"
#include "../../kernel/operation.hpp"
#include "../../net/operation_wait.hpp"
#include "../../runtime/loop.hpp"
#include "../file_info.hpp"

namespace weft::detail {

/// What is asked for; the paths outlive the await.
struct PathRequest {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    PathRequest(OpCode op, const char* first, std::uint32_t how = 0, int in = AT_FDCWD) noexcept
        : code(op), path(first), flags(how), folder(in) {}
    PathRequest& with(const char* to, int in = AT_FDCWD) noexcept {
        second = to;
        second_folder = in;
        return *this;
    }
    PathRequest& with_mode(unsigned bits) noexcept {
        second_folder = static_cast<int>(bits);
        return *this;
    }

    OpCode code;
    const char* path;
    const char* second = nullptr;
    std::uint32_t flags;
    int folder;
    int second_folder = 0;
};

class PathWait : public OperationWait {
protected:
    explicit PathWait(const PathRequest& request) noexcept : OperationWait(request.code) {
        need_file_support();
        fd = request.folder;
        address = const_cast<char*>(request.path);  // the kernel only reads it
        offset = reinterpret_cast<std::uintptr_t>(request.second);
        length = static_cast<std::uint32_t>(request.second_folder);
        flags = request.flags;
    }
    ~PathWait() = default;
};

class [[nodiscard]] [[gnu::warn_unused]] PathCall final : public PathWait {
public:
    explicit PathCall(const PathRequest& request) noexcept : PathWait(request) {}
    void await_resume() const { checked(); }
};

/// The error is a value: 0 or more, or -errno. Throws what a cancel leads to.
class [[nodiscard]] [[gnu::warn_unused]] PathTry final : public PathWait {
public:
    explicit PathTry(const PathRequest& request) noexcept : PathWait(request) {}
    int await_resume() const {
        check_leftover();
        return await_cancelled() ? checked() : result;
    }
};

/// For a clean-up: begun even when a cancel is pending, and not to be cancelled.
class [[nodiscard]] [[gnu::warn_unused]] PathCleanUp final : public PathWait {
public:
    explicit PathCleanUp(const PathRequest& request) noexcept : PathWait(request) {}
    bool await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.suspend(handle, *this);
        if (!loop.start(*this)) return true;
        task_->waiting_on = nullptr;
        return false;
    }
    TaskCore* cancel() noexcept override { return nullptr; }
    int await_resume() const {
        check_leftover();
        return result;
    }
};

class [[nodiscard]] [[gnu::warn_unused]] PathStat final : public PathWait {
public:
    PathStat(const char* path, std::uint32_t how, int folder = AT_FDCWD) noexcept
        : PathWait(PathRequest(OpCode::statx, path, how, folder)) {
        offset = reinterpret_cast<std::uintptr_t>(&status_);
        length = STATX_BASIC_STATS | STATX_BTIME;
    }
    FileInfo await_resume() const {
        checked();
        return FileInfo(status_);
    }

private:
    struct statx status_ {};
};

/// 0 or -errno; what it found is in `into`.
inline PathTry try_stat(const char* path, std::uint32_t how, int folder,
                        struct statx& into) noexcept {
    PathRequest request(OpCode::statx, path, how, folder);
    request.with(reinterpret_cast<const char*>(&into), STATX_BASIC_STATS);
    return PathTry(request);
}

/// In a folder that is open already.
class [[nodiscard]] [[gnu::warn_unused]] OpenAt final : public DescriptorWait {
public:
    OpenAt(int folder, const char* path, int how, unsigned mode = 0) noexcept
        : DescriptorWait(OpCode::openat) {
        need_file_support();
        fd = folder;
        address = const_cast<char*>(path);
        flags = static_cast<std::uint32_t>(how | O_CLOEXEC);
        length = mode;
    }
    Fd await_resume() { return taken(); }
};

}  // namespace weft::detail
