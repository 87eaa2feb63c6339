// SPDX-License-Identifier: MIT
// What run_workers is told, and what it tells each worker.
#pragma once

#include <cstddef>
#include <string>

#include "../../base/callback.hpp"
#include "../../base/options.hpp"
#include "../../task/coro.hpp"

namespace weft {

struct WorkersOptions {
    /// Of each worker's loop. What is said of signals and of the grace is said once, for all. An
    /// `exception_handler` is called on the threads of all workers.
    RunOptions run;
    /// The n-th worker stays on the n-th of the cores that the process may use.
    bool pin = false;
    /// Of the threads, and of the main tasks: "worker-0".
    std::string name = "worker";
};

/// Which one of how many a worker is.
class Worker {
public:
    explicit Worker(std::size_t index, std::size_t count) noexcept : index_(index), count_(count) {}
    std::size_t index() const noexcept { return index_; }
    std::size_t count() const noexcept { return count_; }

private:
    std::size_t index_;
    std::size_t count_;
};

namespace detail {
using WorkerMain = Callback<Coro<void>(Worker)>;
/// A copy for each worker.
using MakeWorkerMain = Callback<WorkerMain()>;
}  // namespace detail

}  // namespace weft
