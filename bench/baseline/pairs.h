// What the two quiet forms share: N connected pairs, both ends in one thread; options, measurement,
// report.
#pragma once
#include "baseline.h"

#include <sys/un.h>

static long pairs = 50, size = 64, echoes = 200000;
static const char* transport = "tcp";
static long started, finished;  // Echoes, warm-up included.

enum { WARM_UP_PER_PAIR = 100 };

static inline bool is_transport_known(void) {
    return strcmp(transport, "tcp") == 0 || strcmp(transport, "unix") == 0;
}

static inline void open_pair(int ends[2], int flags) {
    if (strcmp(transport, "unix") == 0) {
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
    } else {
        long port = 0;
        int listener = listen_on(&port, 0);
        ends[0] = connect_to(port);
        ends[1] = check(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
        close(listener);
    }
    for (int i = 0; i < 2; i++) check(fcntl(ends[i], F_SETFL, flags), "fcntl(F_SETFL)");
}

static struct {
    int64_t start_ns, start_cpu_us;
    long start_syscalls;
} measured;

static inline long warm_up(void) { return pairs * WARM_UP_PER_PAIR; }
static inline bool may_start(void) { return started < echoes + warm_up() && ++started; }

static inline void begin_measuring(void) {
    measured.start_cpu_us = cpu_us();
    measured.start_syscalls = syscalls;
    measured.start_ns = now_ns();
}

// Counts one echo that came home. Returns true when it was the last.
static inline bool finish_echo(void) {
    if (++finished == warm_up()) begin_measuring();
    if (finished < echoes + warm_up()) return false;
    double ns = (double)(now_ns() - measured.start_ns),
           cpu_ns = (double)(cpu_us() - measured.start_cpu_us) * 1000;
    printf("ns_per_echo=%.1f cpu_ns_per_echo=%.1f syscalls_per_echo=%.3f\n", ns / (double)echoes,
           cpu_ns / (double)echoes, (double)(syscalls - measured.start_syscalls) / (double)echoes);
    return true;
}

// Every message starts with a number of its own; an answer that starts otherwise is somebody
// else's, or late.
static inline void stamp(char* message, long number) { memcpy(message, &number, sizeof number); }
static inline void check_stamp(const char* answer, size_t length, long number) {
    if (length >= sizeof number && memcmp(answer, &number, sizeof number) == 0) return;
    fprintf(stderr, "recv: the echo is wrong\n");
    exit(1);
}
