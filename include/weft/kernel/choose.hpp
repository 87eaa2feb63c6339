// SPDX-License-Identifier: MIT
// Which backend a loop gets: io_uring where the kernel grants it, found out by trying.
#pragma once

#include "../base/config.hpp"
#include "../base/options.hpp"
#include "../base/owned.hpp"
#include "backend.hpp"
#if WEFT_BODIES
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "detail/epoll.hpp"
#if WEFT_HAS_URING
#include "detail/uring.hpp"
#endif
#endif

namespace weft::detail {

/// Order of authority: the option in the program, WEFT_BACKEND in the environment, the kernel.
/// `pollable`: one that others can wait on.
/// Throws:   std::system_error when io_uring was asked for by name and is refused; RuntimeError
///           for a WEFT_BACKEND that names no backend.
Owned<Backend> choose_backend(BackendKind kind, unsigned ring_entries, bool pollable = false);

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE Owned<Backend> choose_backend(BackendKind kind, unsigned ring_entries,
                                                        bool pollable) {
    std::string why = "asked for by the program";
    if (kind == BackendKind::automatic) {
        const char* const named = std::getenv("WEFT_BACKEND");
        const std::string_view name = named ? named : "";
        if (name == "epoll") {
            kind = BackendKind::epoll;
        } else if (name == "uring") {
            kind = BackendKind::uring;
        } else if (!name.empty()) {
            throw_runtime_error({"WEFT_BACKEND=", name, ": neither uring nor epoll"});
        }
        why = kind == BackendKind::automatic ? "io_uring is available"
                                             : concat({"WEFT_BACKEND=", name});
    }

    const auto with_reason = [&why](Owned<Backend> backend, const char* name) {
        backend->explain(name, std::move(why));
        return backend;
    };
    if (kind != BackendKind::epoll) {
#if WEFT_HAS_URING
        try {
            return with_reason(Owned<UringBackend>(new UringBackend(ring_entries, pollable)),
                               "uring");
        } catch (const std::system_error& error) {
            if (kind == BackendKind::uring) throw;
            why = std::string(error.what());  // "io_uring_setup: Operation not permitted"
        }
#else
        (void)ring_entries;
        (void)pollable;
        if (kind == BackendKind::uring) {
            throw_system_error(ENOSYS, "io_uring: weft was built without liburing");
        }
        why = "built without liburing";
#endif
    }
    return with_reason(Owned<EpollBackend>(new EpollBackend()), "epoll");
}
#endif

}  // namespace weft::detail
