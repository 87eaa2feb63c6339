// SPDX-License-Identifier: MIT
// DescriptorCensus: which descriptors are open, before and after.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "../base/error.hpp"

namespace weft::testing {

/// The process's open descriptors at one moment.
class DescriptorCensus {
public:
    DescriptorCensus() : open_(take()) {}

    /// One line for each descriptor that is open now and was not then ("7 -> socket:[1234]").
    std::string leaked() const {
        std::string text;
        for (const int fd : take()) {
            if (!std::binary_search(open_.begin(), open_.end(), fd)) text += describe(fd);
        }
        return text;
    }
    /// One line for each that was open then and is not now.
    std::string vanished() const {
        const std::vector<int> now = take();
        std::string text;
        for (const int fd : open_) {
            if (!std::binary_search(now.begin(), now.end(), fd)) text += std::to_string(fd) + "\n";
        }
        return text;
    }
    std::size_t count() const noexcept { return open_.size(); }

private:
    static std::vector<int> take() {
        DIR* const folder = ::opendir("/proc/self/fd");
        if (!folder) weft::detail::throw_system_error(errno, "opendir /proc/self/fd");
        std::vector<int> open;
        const int own = ::dirfd(folder);
        while (const dirent* const entry = ::readdir(folder)) {
            const int fd = std::atoi(entry->d_name);
            if (entry->d_name[0] != '.' && fd != own) open.push_back(fd);
        }
        ::closedir(folder);
        std::sort(open.begin(), open.end());
        return open;
    }
    static std::string describe(int fd) {
        char target[256];
        const std::string link = "/proc/self/fd/" + std::to_string(fd);
        const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
        return std::to_string(fd) + " -> " +
               std::string(target, size > 0 ? static_cast<std::size_t>(size) : 0) + "\n";
    }

    std::vector<int> open_;
};

}  // namespace weft::testing
