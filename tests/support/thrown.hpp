// SPDX-License-Identifier: MIT
// Counts the exceptions that this program throws. Include it in one source file of a program.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <typeinfo>

namespace support {

inline std::size_t thrown = 0;

// As the compiler declares it: each has a declaration of its own, which must not be contradicted.
#if defined(__clang__)
using ThrownType = std::type_info;
#else
using ThrownType = void;
#endif

}  // namespace support

// In front of the C++ runtime's, which the program's own definition hides.
extern "C" void __cxa_throw(void* object, support::ThrownType* type, void (*destroy)(void*));
extern "C" void __cxa_throw(void* object, support::ThrownType* type, void (*destroy)(void*)) {
    using Throw = void (*)(void*, support::ThrownType*, void (*)(void*));
    static const auto next = reinterpret_cast<Throw>(::dlsym(RTLD_NEXT, "__cxa_throw"));
    ++support::thrown;
    next(object, type, destroy);
    std::abort();  // it does not return
}
