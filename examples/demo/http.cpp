// SPDX-License-Identifier: MIT
#include "http.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace demo {
namespace {

/// Cuts `text` at the first `separator`: returns what stands before it and leaves what follows.
std::string_view cut(std::string_view& text, std::string_view separator) {
    const std::size_t at = std::min(text.find(separator), text.size());
    const std::string_view before = text.substr(0, at);
    text.remove_prefix(std::min(at + separator.size(), text.size()));
    return before;
}

std::string_view trim(std::string_view text) {
    const std::size_t first = std::min(text.find_first_not_of(" \t"), text.size());
    const std::size_t last = text.find_last_not_of(" \t");
    return text.substr(first, last == text.npos ? 0 : last + 1 - first);
}

char lower(char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

/// Is `word` one of the words in a comma-separated list?
bool lists(std::string_view list, std::string_view word) {
    while (!list.empty()) {
        if (equal_ignoring_case(trim(cut(list, ",")), word)) return true;
    }
    return false;
}

/// Calls `visit(name, value)` for each header field; `fields` is what follows the first line.
template <class Visit>
void for_each_field(std::string_view fields, Visit visit) {
    for (;;) {
        std::string_view line = cut(fields, "\r\n");
        if (line.empty()) return;
        if (line.find(':') == line.npos) throw BadMessage("a header field without a colon");
        const std::string_view name = cut(line, ":");
        // Among these are lines that continue the one before: forbidden since RFC 7230.
        if (name.empty() || name.find_first_of(" \t") != name.npos) {
            throw BadMessage("a space where the name of a header field should be");
        }
        visit(name, trim(line));
    }
}

template <class Number>
Number to_number(std::string_view digits, const char* what) {
    Number number{};
    const char* const end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, number);
    if (digits.empty() || stopped != end || error != std::errc()) {
        throw BadMessage(fmt::format("{} '{}' is not a number", what, digits));
    }
    return number;
}

}  // namespace

Request parse_request(std::string_view head) {
    std::string_view line = cut(head, "\r\n");
    Request request;
    request.method = cut(line, " ");
    std::string_view target = cut(line, " ");
    const std::string_view version = line;
    if (request.method.empty() || target.empty() ||
        (version != "HTTP/1.1" && version != "HTTP/1.0")) {
        throw BadMessage("the first line is not 'METHOD TARGET HTTP/1.1'");
    }
    // "http://host/path" means "/path" to the host itself.
    if (target.starts_with("http://")) {
        const std::size_t path = target.find('/', 7);
        target = path == target.npos ? std::string_view("/") : target.substr(path);
    }
    request.path = cut(target, "?");

    int hosts = 0;
    bool close = version == "HTTP/1.0";
    for_each_field(head, [&](std::string_view name, std::string_view value) {
        if (equal_ignoring_case(name, "Host")) ++hosts;
        if (equal_ignoring_case(name, "Connection") && lists(value, "close")) close = true;
        if (equal_ignoring_case(name, "Transfer-Encoding")) request.has_body = true;
        if (equal_ignoring_case(name, "Content-Length")) {
            request.has_body = to_number<std::uint64_t>(value, "Content-Length") > 0;
        }
    });
    if (version == "HTTP/1.1" && hosts != 1) throw BadMessage("not exactly one Host field");
    request.keep_alive = !close;
    return request;
}

std::string_view reason_phrase(int status) noexcept {
    switch (status) {
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 431:
            return "Request Header Fields Too Large";
        default:
            return "Unknown";
    }
}

std::string to_text(const Response& response, bool head_only, bool keep_alive) {
    return fmt::format(
        "HTTP/1.1 {} {}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Length: {}\r\n"
        "{}{}\r\n{}",
        response.status, reason_phrase(response.status), response.body.size(),
        response.status == 405 ? "Allow: GET, HEAD\r\n" : "",
        keep_alive ? "" : "Connection: close\r\n", head_only ? "" : response.body);
}

ResponseHead parse_response(std::string_view head) {
    std::string_view line = cut(head, "\r\n");
    if (!line.starts_with("HTTP/1.")) throw BadMessage("the answer is not HTTP/1");
    cut(line, " ");
    ResponseHead response;
    response.status = to_number<int>(cut(line, " "), "status");
    for_each_field(head, [&](std::string_view name, std::string_view value) {
        if (equal_ignoring_case(name, "Content-Length")) {
            response.content_length = to_number<std::size_t>(value, "Content-Length");
        }
    });
    return response;
}

}  // namespace demo
