// SPDX-License-Identifier: MIT
// A target of libFuzzer; the tests run the same with random bytes (tests/http/url.cpp).
#include "fuzz_http.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    support::fuzz_url(data, size);
    return 0;
}
