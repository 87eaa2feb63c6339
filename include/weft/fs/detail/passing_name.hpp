// SPDX-License-Identifier: MIT
// PassingName: the name of a temporary file, which goes with the frame that has made it.
#pragma once

#include <unistd.h>

#include <string>
#include <utility>

#include "../../base/config.hpp"
#include "../../task/coro.hpp"
#include "path_wait.hpp"

namespace weft::detail {

#if WEFT_BODIES
/// A name in a directory that goes with this object, unless it was kept.
class PassingName {
public:
    PassingName(int folder, std::string name) noexcept : folder_(folder), name_(std::move(name)) {}
    PassingName(const PassingName&) = delete;
    PassingName& operator=(const PassingName&) = delete;
    /// (For a frame that is destroyed where it stands.)
    ~PassingName() {
        if (there_) ::unlinkat(folder_, name_.c_str(), 0);
    }

    const char* text() const noexcept { return name_.c_str(); }
    void made() noexcept { there_ = true; }
    void kept() noexcept { there_ = false; }
    Coro<void> remove() {
        if (!there_) co_return;
        co_await PathCleanUp(PathRequest(OpCode::unlinkat, name_.c_str(), 0, folder_));
        there_ = false;
    }

private:
    int folder_;
    std::string name_;
    bool there_ = false;
};
#endif

}  // namespace weft::detail
