// SPDX-License-Identifier: MIT
// Runs a coroutine on a thread whose stack is small: what must not recurse fails there.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <exception>

#include <weft/testing/catch.hpp>

namespace support {

/// Runs `body()` in a coroutine on a loop of its own, on a thread with a stack of 1 MiB.
template <class Body>
void on_small_stack(Body body) {
    struct Call {
        Body* body;
        std::exception_ptr failure;
    } call{&body, nullptr};
    const auto entry = [](void* argument) -> void* {
        auto& self = *static_cast<Call*>(argument);
        try {
            weft::testing::run(*self.body);
        } catch (...) {
            self.failure = std::current_exception();
        }
        return nullptr;
    };
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, std::size_t{1} << 20);
    pthread_t thread;
    const int error = ::pthread_create(&thread, &attributes, entry, &call);
    ::pthread_attr_destroy(&attributes);
    // (Catch2 is not for two threads at once: nothing is asserted here while the other runs.)
    if (error == 0) ::pthread_join(thread, nullptr);
    REQUIRE(error == 0);
    if (call.failure) std::rethrow_exception(call.failure);
}

}  // namespace support
