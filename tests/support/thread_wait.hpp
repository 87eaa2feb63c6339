// SPDX-License-Identifier: MIT
// How the threads of a test wait for each other.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace support {

/// `changed.wait(lock, over)` that looks now and then: before 2.41 glibc may lose a notification
/// where several threads wait.
template <class Over>
void wait_until(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, Over over) {
    while (!changed.wait_for(lock, std::chrono::milliseconds(100), over)) {
    }
}

}  // namespace support
