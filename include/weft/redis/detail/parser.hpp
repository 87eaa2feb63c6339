// SPDX-License-Identifier: MIT
// Parser: hiredis' reader, which makes Replies in place.
#pragma once

#include <hiredis/read.h>

#include <cstddef>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/config.hpp"
#include "../error.hpp"
#include "../reply.hpp"

namespace weft::redis::detail {

/// Nothing is allocated for a reply but what a text or a list needs: hiredis asks for an object for
/// each value, and gets the place where that value is to be.
class Parser {
public:
    Parser();
    Parser(const Parser&) = delete;
    Parser& operator=(const Parser&) = delete;
    ~Parser() { ::redisReaderFree(reader_); }

    /// Throws:   std::bad_alloc.
    void feed(std::string_view bytes) {
        if (::redisReaderFeed(reader_, bytes.data(), bytes.size()) != REDIS_OK)
            throw std::bad_alloc();
    }
    /// The next whole one. False: more has to come. `into` is valid until the next call.
    /// Throws:   ConnectionError for what is no protocol of Redis'; std::bad_alloc.
    bool next(Reply*& into) {
        void* reply = nullptr;
        if (::redisReaderGetReply(reader_, &reply) != REDIS_OK) [[unlikely]]
            fail();
        into = static_cast<Reply*>(reply);
        return reply != nullptr;
    }

private:
    [[noreturn]] void fail() const;
    /// The place of a value: the root, or the next one of the list around it. (It is appended, and
    /// not there from the beginning: a length is a stranger's word. A list moves its items only
    /// when one is added, and then none of them is still being filled.)
    static Reply* place(const redisReadTask* task) {
        if (!task->parent) {
            Reply& root = static_cast<Parser*>(task->privdata)->root_;
            root = Reply();
            return &root;
        }
        return &static_cast<Reply*>(task->parent->obj)->items_.emplace_back();
    }
    // (No exception may pass through C: null means that there is no memory.)
    static void* text(const redisReadTask* task, char* bytes, std::size_t size) noexcept {
        try {
            Reply* const reply = place(task);
            reply->kind_ = task->type == REDIS_REPLY_ERROR    ? Reply::Kind::error
                           : task->type == REDIS_REPLY_STATUS ? Reply::Kind::status
                                                              : Reply::Kind::text;
            reply->text_.assign(bytes, size);
            return reply;
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }
    // (The count is an int in hiredis 0.14, and a std::size_t since 1.0.)
    template <class Count>
    static void* list(const redisReadTask* task, Count count) noexcept {
        try {
            constexpr Count most_at_once = 1024;
            Reply* const reply = place(task);
            reply->kind_ = Reply::Kind::list;
            reply->items_.reserve(static_cast<std::size_t>(std::min(count, most_at_once)));
            return reply;
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }
    static void* number(const redisReadTask* task, long long value) noexcept {
        try {
            Reply* const reply = place(task);
            reply->kind_ = Reply::Kind::number;
            reply->number_ = value;
            return reply;
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }
    static void* nil(const redisReadTask* task) noexcept {
        try {
            return place(task);
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }
    static void let_go(void*) noexcept {}

    // Since 1.0, of servers that were asked for RESP3, which ours are not.
    static void* real(const redisReadTask* task, double, char* digits, std::size_t size) noexcept {
        return text(task, digits, size);
    }
    static void* truth(const redisReadTask* task, int value) noexcept {
        return number(task, value);
    }

    template <class Functions>
    static constexpr Functions all_functions() noexcept {
        Functions made{};
        made.createString = &text;
        made.createArray = &list;
        made.createInteger = &number;
        made.createNil = &nil;
        made.freeObject = &let_go;
        if constexpr (requires { made.createDouble; }) {
            made.createDouble = &real;
            made.createBool = &truth;
        }
        return made;
    }
    static redisReplyObjectFunctions* functions() noexcept {
        static constinit redisReplyObjectFunctions made =
            all_functions<redisReplyObjectFunctions>();
        return &made;
    }
    redisReader* reader_;
    Reply root_;
};

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
WEFT_INLINE Parser::Parser() : reader_(::redisReaderCreateWithFunctions(functions())) {
    if (!reader_) throw std::bad_alloc();
    reader_->privdata = this;
}
[[gnu::cold]] WEFT_INLINE void Parser::fail() const {
    if (reader_->err == REDIS_ERR_OOM) throw std::bad_alloc();
    throw ConnectionError(std::string("not the protocol of Redis: ") + reader_->errstr);
}
#endif

}  // namespace weft::redis::detail
