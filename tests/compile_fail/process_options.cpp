// expect: weft: the words of a command are texts, and its options come last
// SPDX-License-Identifier: MIT
// Each call has options of its own, and they stand behind the words.
#include <weft/process/run_process.hpp>

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    weft::RunProcessOptions options;
#else
    weft::ProcessOptions options;
#endif
    co_await weft::run_process("ls", "-l", options);
}
