// SPDX-License-Identifier: MIT
// Files where the system lets no thread be started (RLIMIT_NPROC, a filter): slower, and not
// refused (SEMANTICS 102).
// program: own
// sanitizers: no, they have a pthread_create of their own
#include <weft/fs.hpp>
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <pthread.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

extern "C" int pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) {
    return EAGAIN;
}

namespace no_threads_test {

using weft::Coro;

WEFT_TEST_CASE("without threads a tree is written, walked, copied, locked and removed") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    co_await weft::files::mkdir(scratch.file("below"));
    const std::string content(100'000, 'x');
    co_await weft::write_file(scratch.file("below/first"), content);
    co_await weft::files::symlink("first", scratch.file("below/second"));
    const std::string target = co_await weft::files::read_link(scratch.file("below/second"));
    CHECK(target == "first");
    co_await weft::files::copy(scratch.file("below/first"), scratch.file("copy"));
    const std::string copied = co_await weft::read_text(scratch.file("copy"));
    CHECK(copied == content);
    {
        weft::File file = co_await weft::open_file(scratch.file("copy"));
        co_await file.lock();
        const auto info = co_await file.stat();
        CHECK(info.size() == content.size());
    }
    std::size_t found = 0;
    auto walk = weft::files::walk(scratch.path());
    while (const auto entry = co_await walk.next()) ++found;
    CHECK(found == 4);
    co_await weft::files::remove_all(scratch.file("below"));
    found = 0;
    auto rest = weft::files::walk(scratch.path());
    while (const auto entry = co_await rest.next()) ++found;
    CHECK(found == 1);
}

}  // namespace no_threads_test
