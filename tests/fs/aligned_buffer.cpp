// SPDX-License-Identifier: MIT
// rungs: all
// AlignedBuffer: what O_DIRECT takes, registered with the loop or not.
#include <optional>
#include <string>
#include <vector>

#include <weft/fs/aligned_buffer.hpp>
#include <weft/fs/file.hpp>
#include <weft/fs/temporary.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace aligned_buffer_test {

WEFT_TEST_CASE("an aligned buffer goes past the page cache and back", "[buffer]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory(".");
    constexpr weft::OpenMode mode =
        weft::OpenMode::read_write | weft::OpenMode::create | weft::OpenMode::direct;
    weft::File file = co_await weft::open_file(scratch.file("data"), mode);
    weft::AlignedBuffer buffer(10'000, file.alignment());
    CHECK(buffer.size() >= 10'000);
    CHECK(buffer.size() % file.alignment() == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % file.alignment() == 0);
    for (std::size_t at = 0; at < buffer.size(); ++at) buffer.data()[at] = static_cast<char>(at);
    co_await file.write(buffer);
    weft::AlignedBuffer back(2 * buffer.size());
    const std::size_t got = co_await file.read_at(back, 0);
    CHECK(got == buffer.size());
    CHECK((back.text(got) == buffer.text(got)));
    weft::AlignedBuffer moved = std::move(back);
    const std::size_t block = file.alignment();
    co_await file.read_at(moved.part(block, block), block);
    CHECK((moved.text(got) == buffer.text(got)));
}

WEFT_TEST_CASE("a registered buffer reads and writes the same as any other", "[buffer]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory(".");
    constexpr weft::OpenMode mode = weft::OpenMode::read_write | weft::OpenMode::create;
    weft::AlignedBuffer text(12'288);
    for (std::size_t at = 0; at < text.size(); ++at) text.data()[at] = static_cast<char>(at / 7);
    text.pin();
    for (const bool direct : {true, false}) {
        CAPTURE(direct);
        weft::OpenMode how = mode;
        if (direct) how = mode | weft::OpenMode::direct;
        weft::File file = co_await weft::open_file(scratch.file("data"), how);
        co_await file.write(text);
        co_await file.write_at(text, 3 * text.size());
        std::vector<weft::AlignedBuffer> into;
        for (int number = 0; number < 300; ++number) {  // more than there is room for
            into.emplace_back(4096);
            into.back().pin();
        }
        into.erase(into.begin(), into.begin() + 100);
        into[7].pin();
        std::vector<weft::Task<std::size_t>> reads;
        for (std::size_t number = 0; number < into.size(); ++number) {
            const std::uint64_t at = number % 3 * 4096 + number % 2 * 3 * text.size();
            reads.push_back(
                weft::create_task([&file, &into, number, at]() -> weft::Coro<std::size_t> {
                    co_return co_await file.read_at(into[number], at);
                }));
        }
        for (std::size_t number = 0; number < into.size(); ++number) {
            const std::size_t got = co_await reads[number];
            REQUIRE(got == 4096);
            const bool same =
                into[number].text(4096) == text.text(text.size()).substr(number % 3 * 4096, 4096);
            CHECK(same);
        }
    }
}

TEST_CASE("a registered buffer may outlive its loop, and be used with the next", "[buffer]") {
    std::optional<weft::AlignedBuffer> buffer(std::in_place, 4096);
    std::vector<std::uint8_t> numbers;
    for (int loops = 0; loops < 3; ++loops) {
        weft::testing::run([&]() -> weft::Coro<void> {
            weft::AlignedBuffer other(8192);
            other.pin();
            CHECK(buffer->pinned() == 0);
            weft::File file = co_await weft::temporary_file();
            if (loops == 1) buffer->pin();
            co_await file.write(*buffer);
            co_await file.write(other);
            const std::size_t got = co_await file.read_at(*buffer, 4096);
            CHECK(got == 4096);
        });
        CHECK(buffer->pinned() == 0);
    }
    buffer.reset();
}

}  // namespace aligned_buffer_test
