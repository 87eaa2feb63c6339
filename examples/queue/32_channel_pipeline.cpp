// SPDX-License-Identifier: MIT
// A pipeline: each stage ends when the one before it has ended, without anybody telling it.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cctype>
#include <map>
#include <string>
#include <string_view>
#include <utility>

using Words = weft::Channel<std::string>;

weft::Coro<void> split(std::string_view text, Words::Sender out) {
    std::string word;
    for (const char c : text) {
        if (c != ' ') {
            word += c;
        } else if (!word.empty()) {
            co_await out.send(std::exchange(word, {}));
        }
    }
    if (!word.empty()) co_await out.send(std::move(word));
}  // `out` goes here: the next stage's channel ends once it is empty

weft::Coro<void> normalise(Words::Receiver in, Words::Sender out) {
    while (auto word = co_await in.recv()) {
        std::string clean;
        for (const char c : *word) {
            const auto letter = static_cast<unsigned char>(c);
            if (std::isalpha(letter)) clean += static_cast<char>(std::tolower(letter));
        }
        co_await out.send(std::move(clean));
    }
}

weft::Coro<void> count_words() {
    Words raw(4);
    Words clean(4);
    // Two tasks share the second stage: ends of a channel are copied to have more of them.
    const auto first = weft::create_task(
        split("The cat and the dog. The bird, the bee and THE END!", std::move(raw.sender)));
    const auto second = weft::create_task(normalise(raw.receiver, clean.sender));
    const auto third =
        weft::create_task(normalise(std::move(raw.receiver), std::move(clean.sender)));

    std::map<std::string, int> counts;
    while (auto word = co_await clean.receiver.recv()) ++counts[*word];
    for (const auto& [word, count] : counts) fmt::print("{:5} {}\n", word, count);
    co_await first;
    co_await second;
    co_await third;
}

int main() { weft::run(count_words()); }
