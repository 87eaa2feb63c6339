// SPDX-License-Identifier: MIT
// FileStat: the wait for what the file system knows of an open file.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>

#include "../../kernel/operation.hpp"
#include "../file_info.hpp"
#include "file_transfer.hpp"

namespace weft::detail {

class [[nodiscard]] [[gnu::warn_unused]] FileStat final : public FileCallWait {
public:
    explicit FileStat(FileState& file) noexcept : FileCallWait(OpCode::statx, file) {
        address = const_cast<char*>("");
        offset = reinterpret_cast<std::uintptr_t>(&status_);
        flags = AT_EMPTY_PATH;
        length = STATX_BASIC_STATS | STATX_BTIME;
    }
    FileInfo await_resume() const {
        checked();
        return FileInfo(status_);
    }

private:
    struct statx status_ {};
};

}  // namespace weft::detail
