// SPDX-License-Identifier: MIT
// spawn: starts a program in a child that borrows our memory until then, so that nothing is copied.
#pragma once

#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../command.hpp"
#include "../process_options.hpp"
#include "process_state.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../../net/stream.hpp"
#include "../../streams/pty.hpp"
#include "child_side.hpp"
#endif

namespace weft::detail {

/// The files of Stdio::file and Stdio::append, opened.
struct OpenedFiles {
    Fd files[3];
};

/// Before anything is opened, which might get the number of one that is closed.
/// Throws:   std::system_error (EBADF), whose text names the descriptor and the program.
void refuse_closed_descriptors(const Command& command, const ProcessOptions& options);

/// Throws:   std::system_error, whose text names the call and the program.
Ref<ProcessState> spawn(const Command& command, const ProcessOptions& options,
                        const OpenedFiles& opened);

#if WEFT_BODIES

// The one that sanitizers do not replace: theirs is for a child with memory of its own.
#if defined(__GLIBC__)
extern "C" int __clone(int (*)(void*), void*, int, void*, ...);  // NOLINT
#endif

[[gnu::cold]] WEFT_INLINE void refuse_closed_descriptors(const Command& command,
                                                         const ProcessOptions& options) {
    const auto check = [&command](const char* call, int number) {
        if (number < 0 || ::fcntl(number, F_GETFD) >= 0) return;
        throw_system_error(
            errno, concat({fd_text(call, number), " (exec ", in_quotes(command.program()), ")"}));
    };
    for (const Stdio* const end : {&options.in, &options.out, &options.err}) {
        if (end->kind() == Stdio::Kind::descriptor) check("dup", end->fd());
    }
    for (const int each : options.pass_descriptors) {
        if (each > 2) check("pass", each);
    }
}

/// All that one spawn has open; it goes with it, but for what has become the Process's.
class Spawner {
public:
    Spawner(const Command& command, const ProcessOptions& options, const OpenedFiles& opened)
        : command_(command), options_(options), opened_(opened) {}

    Ref<ProcessState> start();

private:
    static constexpr const char* names_of_ends[] = {"in", "out", "err"};

    const Stdio& end(int index) const noexcept {
        return index == 0 ? options_.in : index == 1 ? options_.out : options_.err;
    }
    /// Where a program was started without one of them, the number may be a socket's by now, or our
    /// ring's: that has the mark.
    static bool is_ours_to_share(int number) noexcept {
        const int flags = ::fcntl(number, F_GETFD);
        return flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    /// "pipe2 (exec \"ls\")"
    std::string text(std::string_view call) const {
        return concat({call, " (exec ", in_quotes(command_.program()), ")"});
    }
    int checked(int result, const char* call) const {
        if (result < 0) throw_system_error(errno, text(call));
        return result;
    }
    void check() const;
    void make_terminal();
    void make_end(int index);
    void make_texts();
    void find_candidates();
    void sort_passed();
    static long mask_signals(int how, const std::uint64_t* set, std::uint64_t* before) noexcept {
        return ::syscall(SYS_rt_sigprocmask, how, set, before, ChildSide::signal_set_size);
    }
    int clone_child(int flags, int* handle);
    void give_birth(ProcessState& state);
    [[noreturn]] void throw_failed() const;

    const Command& command_;
    const ProcessOptions& options_;
    const OpenedFiles& opened_;
    SpawnPlan plan_;
    Fd ours_[3];    // the other ends of pipes
    Fd childs_[3];  // what is opened for the child alone
    std::optional<Stream> master_;
    Fd terminal_;
    std::vector<char*> arguments_;
    std::vector<char*> environment_;
    std::vector<int> passed_;
    std::string candidates_;
};

[[gnu::cold]] WEFT_INLINE void Spawner::check() const {
    if (command_.words().empty()) throw_system_error(EINVAL, "exec: a command without a program");
    for (const std::string& word : command_.words()) refuse_zero_byte("exec", word);
    refuse_zero_byte("chdir", options_.directory);
    for (int index = 0; index < 3; ++index) {
        const Stdio::Kind kind = end(index).kind();
        if ((kind == Stdio::Kind::same_as_out && index != 2) ||
            (kind == Stdio::Kind::append && index == 0)) {
            throw_runtime_error({"weft: ProcessOptions::", names_of_ends[index],
                                 index == 0 ? " is read" : " cannot be the same as out"});
        }
    }
}

[[gnu::cold]] WEFT_INLINE void Spawner::make_terminal() {
    Pty pty = open_pty();
    winsize size{};
    size.ws_row = options_.terminal->rows;
    size.ws_col = options_.terminal->columns;
    checked(::ioctl(pty.slave.get(), TIOCSWINSZ, &size), "ioctl TIOCSWINSZ");
    master_.emplace(std::move(pty.master));
    terminal_ = std::move(pty.slave);
    plan_.terminal = terminal_.get();
}

[[gnu::cold]] WEFT_INLINE void Spawner::make_end(int index) {
    int& source = plan_.source[index];
    switch (end(index).kind()) {
        case Stdio::Kind::usual:
            source = plan_.terminal;
            if (source >= 0) return;
            [[fallthrough]];
        case Stdio::Kind::inherited:
            if (is_ours_to_share(index)) return;
            [[fallthrough]];
        case Stdio::Kind::null:
            childs_[index].reset(
                checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "open \"/dev/null\""));
            source = childs_[index].get();
            return;
        case Stdio::Kind::pipe: {
            int both[2];
            checked(::pipe2(both, O_CLOEXEC), "pipe2");
            childs_[index].reset(both[index == 0 ? 0 : 1]);
            ours_[index] = not_standard(Fd(both[index == 0 ? 1 : 0]));
            // Ours alone: the other end is a file of its own.
            checked(::fcntl(ours_[index].get(), F_SETFL, O_NONBLOCK), "fcntl");
            source = childs_[index].get();
            return;
        }
        case Stdio::Kind::file:
        case Stdio::Kind::append:
            source = opened_.files[index].get();
            return;
        case Stdio::Kind::descriptor:
            source = end(index).fd();
            if (source < 0) throw_system_error(EBADF, text(names_of_ends[index]));
            return;
        case Stdio::Kind::same_as_out:
            source = plan_.source[1] < 0 ? 1 : plan_.source[1];
            return;
    }
}

/// (What they point to is the caller's, and is only read.)
[[gnu::cold]] WEFT_INLINE void Spawner::make_texts() {
    const auto point_to = [](std::vector<char*>& pointers, const std::vector<std::string>& texts) {
        pointers.reserve(texts.size() + 1);
        for (const std::string& each : texts) pointers.push_back(const_cast<char*>(each.c_str()));
        pointers.push_back(nullptr);
        return pointers.data();
    };
    plan_.arguments = point_to(arguments_, command_.words());
    plan_.environment = options_.environment
                            ? point_to(environment_, options_.environment->variables())
                            : ::environ;
    if (!options_.directory.empty()) plan_.directory = options_.directory.c_str();
    find_candidates();
    plan_.candidates = candidates_.c_str();
}

[[gnu::cold]] WEFT_INLINE void Spawner::find_candidates() {
    const std::string_view program = command_.program();
    if (program.empty() || program.find('/') != std::string_view::npos) {
        candidates_.append(program.data(), program.size());
        candidates_.append(1, '\0');  // (of its own: the string's ends the list)
        return;
    }
    std::string_view path = "/bin:/usr/bin";
    if (options_.environment) {
        path = options_.environment->get("PATH").value_or(path);
    } else if (const char* const ours = std::getenv("PATH")) {
        path = ours;
    }
    for (;;) {
        const std::size_t size = std::min(path.find(':'), path.size());
        const std::string_view folder = path.substr(0, size);
        candidates_.append(folder.empty() ? "." : folder.data(), folder.empty() ? 1 : size);
        candidates_.append(1, '/');
        candidates_.append(program.data(), program.size());
        candidates_.append(1, '\0');
        if (size == path.size()) return;
        path.remove_prefix(size + 1);
    }
}

[[gnu::cold]] WEFT_INLINE void Spawner::sort_passed() {
    for (const int each : options_.pass_descriptors) {
        if (each < 0) throw_system_error(EBADF, text("pass_descriptors"));
        if (each < 3) continue;
        std::size_t at = passed_.size();
        while (at > 0 && passed_[at - 1] > each) --at;
        if (at > 0 && passed_[at - 1] == each) continue;
        passed_.insert(passed_.begin() + static_cast<std::ptrdiff_t>(at), each);
    }
    plan_.passed = passed_.data();
    plan_.passed_count = passed_.size();
}

/// The child runs on a stack of its own, and this thread stops until it has its program. Others go
/// on.
[[gnu::cold, gnu::noinline]] WEFT_INLINE int Spawner::clone_child(int flags, int* handle) {
    alignas(16) char stack[32 * 1024];
#if defined(__GLIBC__)
    return __clone(&ChildSide::run, stack + sizeof stack, flags, &plan_, handle);
#else
    return ::clone(&ChildSide::run, stack + sizeof stack, flags, &plan_, handle);
#endif
}

[[gnu::cold]] WEFT_INLINE void Spawner::give_birth(ProcessState& state) {
    constexpr int with_handle = 0x1000;  // CLONE_PIDFD, Linux 5.2
    constexpr int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
    // No handler may run in the child before it has the default ones.
    constexpr std::uint64_t all[2] = {~std::uint64_t{0}, ~std::uint64_t{0}};
    std::uint64_t before[2] = {0, 0};
    mask_signals(SIG_SETMASK, all, before);
    int handle = -1;
    int pid = clone_child(flags | with_handle, &handle);
    int error = pid < 0 ? errno : 0;
    if (error == EINVAL || error == ENOSYS || error == EPERM) {
        pid = clone_child(flags, nullptr);
        error = pid < 0 ? errno : 0;
    }
    mask_signals(SIG_SETMASK, before, nullptr);
    if (pid < 0) throw_system_error(error, text("clone"));
#ifndef SYS_pidfd_open
    constexpr long SYS_pidfd_open = 434;
#endif
    if (handle < 0) handle = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    state.pidfd = not_standard(Fd(handle));
    if (plan_.failed == SpawnPlan::Step::done) {
        state.pid = pid;
        return;
    }
    // It has ended, or is just about to.
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
    throw_failed();
}

[[noreturn, gnu::cold, gnu::noinline]] WEFT_INLINE void Spawner::throw_failed() const {
    const auto throw_text = [this](const std::string& what) {
        throw_system_error(plan_.error, what);
    };
    switch (plan_.failed) {
        case SpawnPlan::Step::setsid:
            throw_text(text("setsid"));
            break;
        case SpawnPlan::Step::setpgid:
            throw_text(text("setpgid"));
            break;
        case SpawnPlan::Step::descriptors:
            throw_text(text(fd_text("dup", plan_.failed_descriptor)));
            break;
        case SpawnPlan::Step::pass:
            throw_text(text(fd_text("pass", plan_.failed_descriptor)));
            break;
        case SpawnPlan::Step::terminal:
            throw_text(text("ioctl TIOCSCTTY"));
            break;
        case SpawnPlan::Step::chdir:
            throw_text(text(concat({"chdir ", in_quotes(options_.directory)})));
            break;
        case SpawnPlan::Step::exec:
        case SpawnPlan::Step::done:
            break;
    }
    throw_system_error(plan_.error, concat({"exec ", in_quotes(command_.program())}));
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE Ref<ProcessState> Spawner::start() {
    check();
    if (options_.terminal) make_terminal();
    for (int index = 0; index < 3; ++index) make_end(index);
    make_texts();
    sort_passed();
    plan_.new_session = options_.new_session || options_.terminal.has_value();
    plan_.joins_group = options_.process_group.has_value();
    plan_.group = options_.process_group.value_or(0);
    // All that may fail comes before there is a child.
    Ref<ProcessState> state(new ProcessState(command_.program()));
    state->grace = options_.grace;
    state->drain = options_.drain;
    state->leads_group = plan_.new_session || (plan_.joins_group && plan_.group == 0);
    std::optional<Stream>* const streams[] = {&state->in, &state->out, &state->err};
    for (int index = 0; index < 3; ++index) {
        if (ours_[index]) streams[index]->emplace(std::move(ours_[index]));
    }
    state->terminal = std::move(master_);
    give_birth(*state);
    return state;
}

[[gnu::cold]] WEFT_INLINE Ref<ProcessState> spawn(const Command& command,
                                                  const ProcessOptions& options,
                                                  const OpenedFiles& opened) {
    return Spawner(command, options, opened).start();
}

#endif

}  // namespace weft::detail
