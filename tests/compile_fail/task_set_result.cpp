// expect: use of deleted function
// expect-clang: deleted
// SPDX-License-Identifier: MIT
// A task's result is what its coroutine returns; nobody else sets it.
#include <weft/task/future.hpp>
#include <weft/task/task.hpp>

void finish(weft::Task<void>& task, weft::Future<void>& future) {
#ifdef WEFT_EXPECT_OK
    (void)task;
    future.set_result();
#else
    (void)future;
    task.set_result();
#endif
}
