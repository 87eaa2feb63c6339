// expect: unused variable
// SPDX-License-Identifier: MIT
// Without the await the name is that of a request, and nothing is locked.
#include <weft/sync/lock.hpp>
#include <weft/task/coro.hpp>

weft::Coro<int> change(weft::Lock& lock, int& value) {
#ifdef WEFT_EXPECT_OK
    auto guard = co_await lock.scoped();
#else
    auto guard = lock.scoped();
#endif
    co_return ++value;
}
