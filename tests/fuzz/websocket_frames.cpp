// SPDX-License-Identifier: MIT
// A target of libFuzzer; the tests run the same with random bytes
// (tests/http/websocket_frames.cpp).
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Itests/support
//   tests/fuzz/websocket_frames.cpp
#include "fuzz_websocket_frames.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    support::fuzz_websocket_frames(data, size);
    return 0;
}
