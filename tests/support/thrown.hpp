// SPDX-License-Identifier: MIT
// Counts the exceptions that this program throws. Include it in one source file of a program.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>

namespace support {

inline std::size_t thrown = 0;

}  // namespace support

// In front of the C++ runtime's, which the program's own definition hides.
extern "C" [[noreturn]] void __cxa_throw(void* object, void* type, void (*destroy)(void*)) {
    using Throw = void (*)(void*, void*, void (*)(void*));
    static const auto next = reinterpret_cast<Throw>(::dlsym(RTLD_NEXT, "__cxa_throw"));
    ++support::thrown;
    next(object, type, destroy);
    std::abort();  // it does not return
}
