// expect: nodiscard
// SPDX-License-Identifier: MIT
// A task whose handle is thrown away is fire-and-forget: it must be said.
#include <weft/task/task.hpp>

weft::Coro<void> child() { co_return; }

void start() {
#ifdef WEFT_EXPECT_OK
    (void)weft::create_task(child());
#else
    weft::create_task(child());
#endif
}
