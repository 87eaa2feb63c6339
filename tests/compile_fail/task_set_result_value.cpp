// expect: set_result
// SPDX-License-Identifier: MIT
// Nor is there an overload with a value.
#include <weft/task/future.hpp>
#include <weft/task/task.hpp>

void finish(weft::Task<int>& task, weft::Future<int>& future) {
#ifdef WEFT_EXPECT_OK
    (void)task;
    future.set_result(1);
#else
    (void)future;
    task.set_result(1);
#endif
}
