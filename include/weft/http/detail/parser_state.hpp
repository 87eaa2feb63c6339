// SPDX-License-Identifier: MIT
// ParserState: what llhttp calls, and what is refused on top of it.
#pragma once

#include "../../base/config.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <llhttp.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../../base/error.hpp"
#include "../headers.hpp"
#include "../protocol_error.hpp"
#include "message_head.hpp"
#include "text.hpp"

namespace weft::http::detail {

// Called from C: nothing may be thrown.
struct ParserState {
    static constexpr std::size_t tail_size = 16;  // a method, what is before it, and a blank
    static constexpr std::uint32_t no_name = ~0u;

    llhttp_t http;
    MessageHead* head = nullptr;
    ParserLimits limits;
    std::vector<std::string_view> pieces;
    std::size_t next_piece = 0;
    std::size_t head_bytes = 0;
    std::size_t chunk_extras = 0;
    std::size_t extras_allowed = 0;
    const char* input = nullptr;
    const char* error = nullptr;  // of ours
    int error_status = 400;
    std::uint32_t name_at = 0;
    std::uint32_t value_at = 0;
    char first = 0;  // byte of the message
    bool no_memory = false;
    bool in_value = false;
    bool has_head = false;
    bool complete = false;
    bool skip_body = false;  // of a response to HEAD
    bool to_connect = false;
    bool line_begins = false;   // the last byte seen ended a line
    char tail[tail_size] = {};  // the last bytes of the input before

    static ParserState& of(llhttp_t* http) noexcept {
        return *static_cast<ParserState*>(http->data);
    }

    int fail(int status, const char* why) noexcept {
        error = why;
        error_status = status;
        return HPE_USER;
    }
    /// The byte `distance` before `at`, which is in the input.
    char before(const char* at, std::size_t distance) const noexcept {
        const auto offset = static_cast<std::size_t>(at - input);
        return offset >= distance ? at[-static_cast<std::ptrdiff_t>(distance)]
                                  : tail[tail_size + offset - distance];
    }
    void keep_tail(const char* end) noexcept {
        char last[tail_size];
        for (std::size_t index = 0; index < tail_size; ++index)
            last[index] = before(end, tail_size - index);
        std::memcpy(tail, last, tail_size);
    }

    template <class Append>
    int append(Append&& append) noexcept {
        try {
            return append();
        } catch (...) {
            no_memory = true;
            return HPE_USER;
        }
    }

    static int on_url(llhttp_t* http, const char* at, std::size_t size) noexcept;
    static int on_version(llhttp_t* http, const char* at, std::size_t size) noexcept;
    static int on_status(llhttp_t* http, const char* at, std::size_t size) noexcept;
    static int on_field(llhttp_t* http, const char* at, std::size_t size) noexcept;
    static int on_value(llhttp_t* http, const char* at, std::size_t size) noexcept;
    static int on_value_end(llhttp_t* http) noexcept;
    static int on_head_end(llhttp_t* http) noexcept;
    static int on_body(llhttp_t* http, const char* at, std::size_t size) noexcept;
    static int on_chunk(llhttp_t* http) noexcept;
    static int on_end(llhttp_t* http) noexcept;
    static const llhttp_settings_t& settings() noexcept;

    /// Those that say where a message ends, and who it is for.
    struct HeadFields {
        unsigned hosts = 0;
        unsigned lengths = 0;
        unsigned encodings = 0;
        bool expects = false;
    };
    int check_head() noexcept;
    int check_field_of_head(const Headers::Field& field, HeadFields& fields) noexcept;
    int check_body_length(const HeadFields& fields) noexcept;
    bool check_lines(const char* from, const char* to) noexcept;
    [[noreturn, gnu::cold]] void throw_error(llhttp_errno_t code);
};

WEFT_INLINE int ParserState::on_url(llhttp_t* http, const char* at, std::size_t size) noexcept {
    ParserState& self = of(http);
    // (llhttp takes any number of blanks between method and target.)
    if (self.head->target.empty()) {
        if (self.before(at, 1) != ' ' || self.before(at, 2) == ' ')
            return self.fail(400, "a request line with more than one blank");
        // (And any number of CR before the method, which others may take for the end of a line.)
        const auto method = static_cast<llhttp_method_t>(http->method);
        if (self.before(at, std::string_view(llhttp_method_name(method)).size() + 2) == '\r')
            return self.fail(400, "a CR without its LF");
    }
    if (self.head->target.size() + size > self.limits.target)
        return self.fail(414, "a target that is too long");
    return self.append([&] {
        self.head->target.append(at, size);
        return 0;
    });
}
WEFT_INLINE int ParserState::on_version(llhttp_t* http, const char* at, std::size_t) noexcept {
    ParserState& self = of(http);
    // (And it takes other protocols' names; and that span may come in two parts.)
    if (http->type == HTTP_REQUEST && self.before(at, 1) == '/') {
        constexpr std::string_view expected = " HTTP/";
        for (std::size_t index = 0; index < expected.size(); ++index) {
            if (self.before(at, expected.size() - index) != expected[index])
                return self.fail(400, "a request line that does not end with a version of HTTP");
        }
        if (self.before(at, expected.size() + 1) == ' ')
            return self.fail(400, "a request line with more than one blank");
    }
    return 0;
}
WEFT_INLINE int ParserState::on_status(llhttp_t* http, const char* at, std::size_t size) noexcept {
    ParserState& self = of(http);
    return self.append([&] {
        self.head->reason.append(at, size);
        return 0;
    });
}
WEFT_INLINE int ParserState::on_field(llhttp_t* http, const char* at, std::size_t size) noexcept {
    ParserState& self = of(http);
    if (self.has_head) return 0;  // a trailer: nobody reads it
    return self.append([&] {
        Headers& headers = self.head->headers;
        if (self.name_at == no_name) {
            if (headers.size() == self.limits.fields)
                return self.fail(431, "too many header fields");
            self.name_at = static_cast<std::uint32_t>(headers.text_.size());
        }
        headers.text_.append(at, size);
        return 0;
    });
}
WEFT_INLINE int ParserState::on_value(llhttp_t* http, const char* at, std::size_t size) noexcept {
    ParserState& self = of(http);
    if (self.has_head) return 0;
    return self.append([&] {
        std::string& text = self.head->headers.text_;
        if (!self.in_value) self.value_at = static_cast<std::uint32_t>(text.size());
        self.in_value = true;
        text.append(at, size);
        return 0;
    });
}
WEFT_INLINE int ParserState::on_value_end(llhttp_t* http) noexcept {
    ParserState& self = of(http);
    if (self.has_head) return 0;
    return self.append([&] {
        Headers& headers = self.head->headers;
        const auto end = static_cast<std::uint32_t>(headers.text_.size());
        if (!self.in_value) self.value_at = end;
        if (self.name_at >= self.value_at) return self.fail(400, "a field without a name");
        const std::string_view text = headers.text_;
        const std::string_view value = trimmed(text.substr(self.value_at));
        headers.fields_.push_back({self.name_at, self.value_at - self.name_at,
                                   static_cast<std::uint32_t>(value.data() - text.data()),
                                   static_cast<std::uint32_t>(value.size())});
        self.in_value = false;
        self.name_at = no_name;
        return 0;
    });
}

WEFT_INLINE int ParserState::on_head_end(llhttp_t* http) noexcept {
    ParserState& self = of(http);
    if (const int failed = self.check_head(); failed != 0) return failed;
    self.has_head = true;
    MessageHead& head = *self.head;
    head.keep_alive = llhttp_should_keep_alive(http) != 0;
    if (http->type == HTTP_REQUEST) {
        head.method = llhttp_method_name(static_cast<llhttp_method_t>(http->method));
        head.upgrade = http->upgrade != 0;
        // The message ends as any other does, whatever comes after it.
        http->upgrade = 0;
        return http->method == HTTP_CONNECT ? 1 : 0;
    }
    const int status = http->status_code;
    head.upgrade = (http->upgrade != 0 && status == 101) || (self.to_connect && status / 100 == 2);
    http->upgrade = 0;
    // (llhttp waits for a body behind a 304 with a Content-Length.)
    const bool no_body = self.skip_body || (self.to_connect && status / 100 == 2) ||
                         status / 100 == 1 || status == 204 || status == 304;
    if (no_body) {
        // (Without a length it would otherwise count as one that goes to the connection's end.)
        head.body = BodyLength::none;
        http->flags |= F_SKIPBODY;
        head.keep_alive = llhttp_should_keep_alive(http) != 0;
    }
    return no_body ? 1 : 0;
}

/// What llhttp lets pass, or would be the caller's to look at.
WEFT_INLINE int ParserState::check_head() noexcept {
    head->minor_version = http.http_minor;
    if (http.http_major != 1 || http.http_minor > 1)
        return fail(505, "a version of HTTP that is neither 1.0 nor 1.1");
    HeadFields fields;
    for (const Headers::Field field : head->headers) {
        if (const int failed = check_field_of_head(field, fields); failed != 0) return failed;
    }
    if (const int failed = check_body_length(fields); failed != 0) return failed;
    if (http.type == HTTP_RESPONSE) {
        head->status = http.status_code;
        if (head->status < 100 || head->status > 599)
            return fail(400, "a status that is none of HTTP's");
        return 0;
    }
    if (http.method > HTTP_UNLINK) return fail(501, "a method that is none of HTTP's");
    // RFC 9112, 3.2: a server must refuse what has none, more than one, or a bad one.
    const bool good_host = fields.hosts == 1 || (fields.hosts == 0 && head->minor_version == 0);
    if (!good_host) return fail(400, "not exactly one Host field");
    head->expects_continue =
        fields.expects && head->minor_version == 1 && head->body != BodyLength::none;
    return 0;
}

WEFT_INLINE int ParserState::check_field_of_head(const Headers::Field& field,
                                                 HeadFields& fields) noexcept {
    const bool is_request = http.type == HTTP_REQUEST;
    switch (field.name.size()) {
        case 4:
            if (!is_request || !same_name(field.name, "host")) return 0;
            ++fields.hosts;
            for (const char c : field.value) {
                if (!host_chars[c]) return fail(400, "a bad Host field");
            }
            return 0;
        case 6:
            if (!is_request || !same_name(field.name, "expect")) return 0;
            fields.expects = same_name(field.value, "100-continue");
            return fields.expects || head->minor_version == 0 ? 0
                                                              : fail(417, "an unknown expectation");
        case 14:
            if (!same_name(field.name, "content-length")) return 0;
            if (const std::optional<std::uint64_t> number = number_of(field.value)) {
                head->length = *number;
                return ++fields.lengths == 1 ? 0 : fail(400, "more than one Content-Length");
            }
            return fail(400, "a bad Content-Length");
        case 17:
            if (!same_name(field.name, "transfer-encoding")) return 0;
            if (++fields.encodings > 1 || !list_has(field.value, "chunked"))
                return fail(400, "a bad Transfer-Encoding");
            return same_name(field.value, "chunked")
                       ? 0
                       : fail(501, "a Transfer-Encoding other than chunked");
        default:
            return 0;
    }
}

WEFT_INLINE int ParserState::check_body_length(const HeadFields& fields) noexcept {
    if (fields.encodings > 0 && (fields.lengths > 0 || head->minor_version == 0))
        return fail(400, "Transfer-Encoding where there must be none");
    if (fields.encodings > 0) {
        head->body = BodyLength::chunked;
    } else if (fields.lengths > 0) {
        head->body = head->length > 0 ? BodyLength::known : BodyLength::none;
    } else if (llhttp_message_needs_eof(&http)) {
        head->body = BodyLength::to_end;
    }
    if (http.type == HTTP_RESPONSE) {
        const int status = http.status_code;
        if ((status / 100 == 1 || status == 204) && fields.encodings > 0)
            return fail(400, "a Transfer-Encoding where there is no body");
    } else if (http.method == HTTP_CONNECT && head->body != BodyLength::none) {
        return fail(400, "a CONNECT with a body");
    }
    return 0;
}

WEFT_INLINE int ParserState::on_body(llhttp_t* http, const char* at, std::size_t size) noexcept {
    ParserState& self = of(http);
    return self.append([&] {
        self.pieces.emplace_back(at, size);
        return 0;
    });
}
WEFT_INLINE int ParserState::on_chunk(llhttp_t* http) noexcept {
    of(http).extras_allowed += 20;  // what the line of its size, and the end of it, may take
    return 0;
}
WEFT_INLINE int ParserState::on_end(llhttp_t* http) noexcept {
    of(http).complete = true;
    return HPE_PAUSED;
}

WEFT_INLINE const llhttp_settings_t& ParserState::settings() noexcept {
    static const llhttp_settings_t all = [] {
        llhttp_settings_t made;
        llhttp_settings_init(&made);
        made.on_url = &on_url;
        made.on_version = &on_version;
        made.on_status = &on_status;
        made.on_header_field = &on_field;
        made.on_header_value = &on_value;
        made.on_header_value_complete = &on_value_end;
        made.on_headers_complete = &on_head_end;
        made.on_body = &on_body;
        made.on_chunk_header = &on_chunk;
        made.on_message_complete = &on_end;
        return made;
    }();
    return all;
}

/// All but the body's bytes: a line ends with CR LF and nothing else, and none begins with a blank
/// (a folded field, which others might take for one of its own).
WEFT_INLINE bool ParserState::check_lines(const char* from, const char* to) noexcept {
    while (from < to) {
        if (line_begins && (*from == ' ' || *from == '\t')) return false;
        line_begins = false;
        const auto* const end =
            static_cast<const char*>(std::memchr(from, '\n', static_cast<std::size_t>(to - from)));
        if (!end) return true;
        if (before(end, 1) != '\r') return false;
        line_begins = true;
        from = end + 1;
    }
    return true;
}

WEFT_INLINE void ParserState::throw_error(llhttp_errno_t code) {
    if (no_memory) throw std::bad_alloc();
    const char* const why = error ? error : llhttp_get_error_reason(&http);
    int status = 400;
    if (error) {
        status = error_status;
    } else if (code == HPE_INVALID_METHOD && first >= 'A' && first <= 'Z') {
        status = 501;
    } else if (code == HPE_INVALID_VERSION || code == HPE_PAUSED_H2_UPGRADE) {
        status = 505;
    }
    throw ProtocolError(status, weft::detail::concat({"weft: HTTP: ", why ? why : "malformed"}));
}

}  // namespace weft::http::detail
#endif
