// SPDX-License-Identifier: MIT
// Router: which handler a request goes to, by method and path; and what goes around handlers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/config.hpp"
#include "../base/owned.hpp"
#include "../task/coro.hpp"
#include "request.hpp"
#include "response.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <optional>
#include <stdexcept>

#include "../base/error.hpp"
#include "detail/text.hpp"
#endif

namespace weft::http {

class Next;

namespace detail {

using HandlerFn = weft::detail::Callback<Coro<Response>(Request&)>;
using MiddlewareFn = weft::detail::Callback<Coro<Response>(Request&, Next)>;

/// The patterns of a router, segment by segment.
class RouteTree {
public:
    struct Endpoint {
        std::string method;  // empty: any
        HandlerFn handler;
        std::vector<std::string> names;  // of its parameters, in order
    };

    void add(std::string_view method, std::string_view pattern, HandlerFn handler);
    /// Returns:  null: none, and `response` says so (404, 405, the answer to OPTIONS).
    HandlerFn* find(Request& request, Response& response);

private:
    enum class Kind : unsigned char { literal, number, text, tail };
    struct Node {
        Kind kind = Kind::literal;
        std::string literal;
        std::vector<weft::detail::Owned<Node>> children;
        std::vector<Endpoint> endpoints;
    };

    static const Endpoint* endpoint(const Node& node, std::string_view method) noexcept;
    static Node* match(Node& node, std::string_view rest, Request& request, Node*& of_others);
    static Node& child(Node& node, Kind kind, std::string_view literal);
    static void refuse_method(const Node& node, std::string_view method, Response& response);

    Node root_;
};

}  // namespace detail

/// What a middleware goes on with: `co_await next(request)` is what would have been done without
/// it.
class Next {
public:
    Next(std::vector<detail::MiddlewareFn>& around, std::size_t index, detail::HandlerFn* handler,
         Response* otherwise) noexcept
        : around_(&around), index_(index), handler_(handler), otherwise_(otherwise) {}

    Coro<Response> operator()(Request& request) const;

private:
    std::vector<detail::MiddlewareFn>* around_;
    std::size_t index_;
    detail::HandlerFn* handler_;
    Response* otherwise_;  // where there is no handler
};

/// Handlers by method and path. A handler is a function of `Request&` that returns a
/// Coro<Response>; a lambda may capture what it likes, it is kept as long as the server.
///
///     http::Router router;
///     router.get("/users/{id:int}", &show_user);
///     router.post("/users", [&db](http::Request& request) -> weft::Coro<http::Response> { ... });
///     router.get("/files/{path...}", http::static_files("public"));
///
/// A path is compared segment by segment. `{name}` takes any one segment, `{name:int}` a whole
/// number, `{name...}` at the end everything that is left. Where several patterns match, a literal
/// goes before a number, that before a text, that before a rest; the order in which they were added
/// does not count. Nothing is normalised: "/a/" and "/a" are two paths. What is in a parameter is
/// decoded, and a slash that was sent as %2F stays in it.
///
/// GET answers HEAD as well. A path that is there for other methods gets 405 with Allow.
class Router {
public:
    Router() noexcept {}

    /// Throws:   std::invalid_argument for a pattern that is none, or is there already.
    template <class Handler>
    Router& add(std::string_view method, std::string_view pattern, Handler handler) {
        static_assert(std::is_invocable_r_v<Coro<Response>, Handler&, Request&>,
                      "weft: a handler takes a http::Request& and returns a Coro<http::Response>");
        tree_.add(method, pattern, detail::HandlerFn(std::move(handler)));
        return *this;
    }
    template <class Handler>
    Router& get(std::string_view pattern, Handler handler) {
        return add("GET", pattern, std::move(handler));
    }
    template <class Handler>
    Router& post(std::string_view pattern, Handler handler) {
        return add("POST", pattern, std::move(handler));
    }
    template <class Handler>
    Router& put(std::string_view pattern, Handler handler) {
        return add("PUT", pattern, std::move(handler));
    }
    template <class Handler>
    Router& patch(std::string_view pattern, Handler handler) {
        return add("PATCH", pattern, std::move(handler));
    }
    /// DELETE, which C++ has taken.
    template <class Handler>
    Router& remove(std::string_view pattern, Handler handler) {
        return add("DELETE", pattern, std::move(handler));
    }
    /// Whatever the method is.
    template <class Handler>
    Router& any(std::string_view pattern, Handler handler) {
        return add("", pattern, std::move(handler));
    }

    /// Puts `around(Request&, Next)`, which returns a Coro<Response>, around every request, also
    /// those that no handler is found for. What was put first is outermost.
    ///
    ///     router.use([](http::Request& request, http::Next next) -> weft::Coro<http::Response> {
    ///         http::Response response = co_await next(request);
    ///         response.headers.set("X-Frame-Options", "DENY");
    ///         co_return std::move(response);
    ///     });
    template <class Around>
    Router& use(Around around) {
        static_assert(std::is_invocable_r_v<Coro<Response>, Around&, Request&, Next>,
                      "weft: a middleware takes a http::Request& and a http::Next and returns a "
                      "Coro<http::Response>");
        around_.push_back(detail::MiddlewareFn(std::move(around)));
        return *this;
    }

    /// What the server does with a request.
    Coro<Response> handle(Request& request);

private:
    detail::RouteTree tree_;
    std::vector<detail::MiddlewareFn> around_;
};

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

WEFT_INLINE RouteTree::Node& RouteTree::child(Node& node, Kind kind, std::string_view literal) {
    std::size_t at = 0;
    for (; at < node.children.size() && node.children[at]->kind <= kind; ++at) {
        Node& each = *node.children[at];
        if (each.kind == kind && each.literal == literal) return each;
    }
    weft::detail::Owned<Node> made(new Node);
    made->kind = kind;
    made->literal = literal;
    // (In the order in which they are tried.)
    return **node.children.insert(node.children.begin() + static_cast<std::ptrdiff_t>(at),
                                  std::move(made));
}

WEFT_INLINE void RouteTree::add(std::string_view method, std::string_view pattern,
                                HandlerFn handler) {
    const auto refuse = [pattern](const char* why) {
        throw std::invalid_argument(
            weft::detail::concat({"weft: the route \"", pattern, "\" ", why}));
    };
    if (pattern.empty() || pattern.front() != '/') refuse("does not begin with a slash");
    Endpoint endpoint;
    endpoint.method = method;
    Node* node = &root_;
    std::string_view rest = pattern.substr(1);
    for (bool more = true; more;) {
        const std::size_t slash = rest.find('/');
        std::string_view segment = rest.substr(0, slash);
        more = slash != std::string_view::npos;
        rest = more ? rest.substr(slash + 1) : std::string_view();
        Kind kind = Kind::literal;
        if (!segment.empty() && segment.front() == '{') {
            if (segment.back() != '}') refuse("has a brace that is not closed");
            std::string_view name = segment.substr(1, segment.size() - 2);
            kind = Kind::text;
            if (name.ends_with(":int")) {
                kind = Kind::number;
                name.remove_suffix(4);
            } else if (name.ends_with("...")) {
                kind = Kind::tail;
                name.remove_suffix(3);
                if (more) refuse("goes on behind its rest");
            }
            if (!is_token(name)) refuse("has a parameter without a name");
            endpoint.names.emplace_back(name);
            segment = {};
        } else if (segment.find_first_of("{}") != std::string_view::npos) {
            refuse("has a brace inside a segment");
        }
        node = &child(*node, kind, segment);
    }
    for (const Endpoint& each : node->endpoints) {
        if (each.method == method) refuse("is there already");
    }
    endpoint.handler = std::move(handler);
    node->endpoints.push_back(std::move(endpoint));
}

/// Fills in the values of the request's parameters on the way, in order.
WEFT_INLINE RouteTree::Node* RouteTree::match(Node& node, std::string_view rest, Request& request,
                                              Node*& of_others) {
    const std::size_t slash = rest.find('/');
    const std::string_view sent = rest.substr(0, slash);
    const bool more = slash != std::string_view::npos;
    std::optional<std::string> decoded;
    std::string_view segment = sent;
    if (sent.find('%') != std::string_view::npos) {
        decoded = percent_decoded(sent);
        if (!decoded) return nullptr;
        segment = *decoded;
    }
    for (const weft::detail::Owned<Node>& each : node.children) {
        const std::size_t params = request.params_.size();
        if (each->kind == Kind::literal) {
            if (each->literal != segment) continue;
        } else if (each->kind == Kind::tail) {
            std::optional<std::string> tail = percent_decoded(rest);
            if (!tail) continue;
            request.params_.push_back({{}, *std::move(tail)});
        } else {
            std::string_view digits = segment;
            if (!digits.empty() && digits.front() == '-') digits.remove_prefix(1);
            if (segment.empty() || (each->kind == Kind::number && !number_of(digits))) continue;
            request.params_.push_back({{}, std::string(segment)});
        }
        const bool is_last = !more || each->kind == Kind::tail;
        Node* const found =
            is_last ? each.get() : match(*each, rest.substr(slash + 1), request, of_others);
        if (found && endpoint(*found, request.method())) return found;
        // (Another pattern may have it.)
        if (found && !found->endpoints.empty() && !of_others) of_others = found;
        request.params_.resize(params);
    }
    return nullptr;
}

WEFT_INLINE const RouteTree::Endpoint* RouteTree::endpoint(const Node& node,
                                                           std::string_view method) noexcept {
    for (const std::string_view wanted :
         {method, method == "HEAD" ? std::string_view("GET") : method, std::string_view()}) {
        for (const Endpoint& each : node.endpoints) {
            if (each.method == wanted) return &each;
        }
    }
    return nullptr;
}

WEFT_INLINE void RouteTree::refuse_method(const Node& node, std::string_view method,
                                          Response& response) {
    std::string allowed;
    for (const Endpoint& each : node.endpoints) {
        allowed.append(allowed.empty() ? "" : ", ").append(each.method);
        if (each.method == "GET") allowed.append(", HEAD");
    }
    if (method == "OPTIONS") {
        response = Response(204);
        allowed.append(", OPTIONS");
    } else {
        response = Response(std::string(reason_of(405)), 405);
    }
    response.headers.set("Allow", allowed);
}

WEFT_INLINE HandlerFn* RouteTree::find(Request& request, Response& response) {
    request.params_.clear();
    const std::string_view path = request.path();
    Node* of_others = nullptr;
    Node* node = nullptr;
    if (!path.empty() && path.front() == '/')
        node = match(root_, path.substr(1), request, of_others);
    if (node) {
        auto& chosen = const_cast<Endpoint&>(*endpoint(*node, request.method()));
        for (std::size_t index = 0; index < chosen.names.size(); ++index)
            request.params_[index].name = chosen.names[index];
        return &chosen.handler;
    }
    request.params_.clear();
    if (of_others) {
        refuse_method(*of_others, request.method(), response);
    } else {
        response = Response(std::string(reason_of(404)), 404);
    }
    return nullptr;
}

}  // namespace detail

namespace detail {

WEFT_INLINE Coro<Response> give(Response* response) { co_return std::move(*response); }

/// What keeps a response that stands for a handler.
WEFT_INLINE Coro<Response> handle_around(std::vector<MiddlewareFn>& around, HandlerFn* handler,
                                         Response otherwise, Request& request) {
    const Next first(around, 0, handler, &otherwise);
    co_return co_await first(request);
}

}  // namespace detail

WEFT_INLINE Coro<Response> Next::operator()(Request& request) const {
    if (index_ < around_->size())
        return (*around_)[index_](request, Next(*around_, index_ + 1, handler_, otherwise_));
    return handler_ ? (*handler_)(request) : detail::give(otherwise_);
}

WEFT_INLINE Coro<Response> Router::handle(Request& request) {
    Response otherwise;
    detail::HandlerFn* const handler = tree_.find(request, otherwise);
    if (handler && around_.empty()) return (*handler)(request);
    return detail::handle_around(around_, handler, std::move(otherwise), request);
}
#endif

}  // namespace weft::http
