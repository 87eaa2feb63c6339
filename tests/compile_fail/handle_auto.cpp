// expect: weft: a handler has one parameter, which names the type that it takes
// SPDX-License-Identifier: MIT
// The type of a handler's parameter says what it catches.
#include <weft/together/exception_group.hpp>

#include <system_error>

void user(const weft::ExceptionGroup& errors) {
#ifdef WEFT_EXPECT_OK
    errors.handle([](const std::system_error& error) { (void)error.code(); });
#else
    errors.handle([](const auto& error) { (void)error.code(); });
#endif
}
