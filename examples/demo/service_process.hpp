// SPDX-License-Identifier: MIT
// The service in a process of its own, as the client's child.
#pragma once

#include <sys/types.h>
#include <weft/base/fd.hpp>
#include <weft/net/address.hpp>

namespace demo {

/// This program once more, with `--serve`. Its standard input is a pipe from us: when we end, no
/// matter how, it ends too.
class ServiceProcess {
public:
    /// Returns once the service listens. To be called before any loop exists.
    /// Throws:   std::system_error (pipe, posix_spawn); std::runtime_error when it does not start.
    ServiceProcess();
    ~ServiceProcess() { stop(); }
    ServiceProcess(const ServiceProcess&) = delete;
    ServiceProcess& operator=(const ServiceProcess&) = delete;

    const weft::Address& address() const noexcept { return address_; }

    /// Ends it; returns its exit code, or minus the signal that it died of. Idempotent.
    int stop() noexcept;

private:
    pid_t pid_ = -1;
    int exit_code_ = 0;
    weft::Fd standard_input_;
    weft::Fd standard_output_;
    weft::Address address_;
};

}  // namespace demo
