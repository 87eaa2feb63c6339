// The load for two-process runs: C connections, one outstanding message on each, from one thread on
// epoll. Stops after X seconds or MAX messages, whichever comes first, lets what is outstanding
// come home, and prints one line.
#include "baseline.h"

#include <sched.h>

struct connection {
    int fd;
    bool writable_armed;
    size_t sent, received;
    uint64_t
        stamp;  // At both ends of the message, where a lost, repeated or foreign byte would show.
    int64_t started_ns;
};

static long port, connections = 1, size = 64, seconds = 2, max_messages = 1000000, cpu = -1;
static int poller;
static char *message,
    *answer;  // One message for all: only its two stamps differ. One landing place for all.
static long started, finished;
static int64_t deadline_ns;

// Latencies in buckets of 1/128 of an octave (0.8 %): exact enough for percentiles, and small
// enough to stay in the cache.
enum { BUCKETS_PER_OCTAVE = 128, OCTAVES = 40 };
static uint32_t histogram[OCTAVES * BUCKETS_PER_OCTAVE];
static int64_t longest_ns;

static void record(int64_t ns) {
    if (ns > longest_ns) longest_ns = ns;
    if (ns < BUCKETS_PER_OCTAVE) ns = BUCKETS_PER_OCTAVE;
    int octave = 63 - __builtin_clzll((uint64_t)ns);  // >= 7
    int bucket =
        (octave - 7) * BUCKETS_PER_OCTAVE + (int)((ns >> (octave - 7)) - BUCKETS_PER_OCTAVE);
    histogram[bucket < OCTAVES * BUCKETS_PER_OCTAVE ? bucket : OCTAVES * BUCKETS_PER_OCTAVE - 1]++;
}
static double percentile_us(double percent) {
    long rank = (long)(percent / 100 * (double)finished), seen = 0;
    for (int bucket = 0; bucket < OCTAVES * BUCKETS_PER_OCTAVE; bucket++) {
        seen += histogram[bucket];
        if (seen > rank)
            return (double)((int64_t)(BUCKETS_PER_OCTAVE + bucket % BUCKETS_PER_OCTAVE)
                            << (bucket / BUCKETS_PER_OCTAVE)) /
                   1000;
    }
    return (double)longest_ns / 1000;
}

static void arm(struct connection* c, int operation, bool writable) {
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    check(epoll_ctl(poller, operation, c->fd, &event), "epoll_ctl");
    c->writable_armed = writable;
}

static void send_rest(struct connection* c) {
    memcpy(message, &c->stamp, sizeof c->stamp);
    memcpy(message + size - sizeof c->stamp, &c->stamp, sizeof c->stamp);
    ssize_t sent = send(c->fd, message + c->sent, (size_t)size - c->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) die_error("send", errno);
    if (sent > 0) c->sent += (size_t)sent;
    bool rest = c->sent < (size_t)size;
    if (rest != c->writable_armed) arm(c, EPOLL_CTL_MOD, rest);
}

static void start_message(struct connection* c, int64_t now) {
    if (started >= max_messages || now >= deadline_ns) return;
    c->stamp = (uint64_t)++started * 0x9E3779B97F4A7C15u;
    c->sent = c->received = 0;
    c->started_ns = now;
    send_rest(c);
}

// The stamps of every message, and every 64th message as a whole.
static bool is_right(const struct connection* c, const char* got, size_t offset, size_t length) {
    char want[sizeof c->stamp];
    memcpy(want, &c->stamp, sizeof want);
    bool whole = finished % 64 == 0;
    size_t tail = (size_t)size - sizeof want;
    for (size_t i = offset; i < offset + length; i++) {
        if (i < sizeof want) {
            if (got[i - offset] != want[i]) return false;
        } else if (i >= tail) {
            if (got[i - offset] != want[i - tail]) return false;
        } else if (whole) {
            if (got[i - offset] != message[i]) return false;
        } else if (offset + length > tail) {
            i = tail - 1;
        } else {
            break;
        }
    }
    return true;
}

static void on_readable(struct connection* c) {
    ssize_t length =
        recv(c->fd, answer, (size_t)size + 1, 0);  // One more than may come: a surplus byte shows.
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    check((int)length, "recv");
    if (length == 0 || c->received + (size_t)length > c->sent ||
        !is_right(c, answer, c->received, (size_t)length)) {
        fprintf(stderr, "recv: %s\n",
                length == 0 ? "the server closed the connection" : "the echo is wrong");
        exit(1);
    }
    c->received += (size_t)length;
    if (c->received < (size_t)size) return;
    int64_t now =
        now_ns();  // One reading serves the end of this message and the start of the next.
    record(now - c->started_ns);
    finished++;
    start_message(c, now);
}

int main(int argc, char** argv) {
    const struct option options[] = {
        {"--port", NUMBER, &port}, {"--connections", NUMBER, &connections},
        {"--size", NUMBER, &size}, {"--seconds", NUMBER, &seconds},
        {"--cpu", NUMBER, &cpu},   {"--messages", NUMBER, &max_messages}};
    parse_options(argc, argv, options, 6);
    require_option(port > 0 && connections > 0 && size >= 16 && seconds > 0 && max_messages > 0,
                   "--port, --connections, --seconds, --messages > 0, --size >= 16");
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        check(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
    }
    message = check_memory(malloc((size_t)size));
    answer = check_memory(malloc((size_t)size + 1));
    for (long i = 0; i < size; i++) message[i] = (char)(i * 31 + 7);
    poller = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct connection* all = check_memory(calloc((size_t)connections, sizeof *all));
    for (long i = 0; i < connections; i++) {
        all[i].fd = connect_nonblocking(port);
        arm(&all[i], EPOLL_CTL_ADD, false);
    }

    int64_t start_ns = now_ns();
    deadline_ns = start_ns + seconds * 1000000000LL;
    for (long i = 0; i < connections; i++) start_message(&all[i], now_ns());
    while (finished < started) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, 5000);
        if (ready < 0 && errno == EINTR) continue;
        if (check(ready, "epoll_wait") == 0) {
            fprintf(stderr, "epoll_wait: no answer for 5 s, %ld messages outstanding\n",
                    started - finished);
            return 1;
        }
        for (int i = 0; i < ready; i++) {
            struct connection* c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_rest(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT) on_readable(c);
        }
    }
    double elapsed = (double)(now_ns() - start_ns) / 1e9;
    printf(
        "messages=%ld seconds=%.6f msg_per_s=%.0f p50_us=%.2f p90_us=%.2f p99_us=%.2f "
        "p99.9_us=%.2f max_us=%.2f\n",
        finished, elapsed, (double)finished / elapsed, percentile_us(50), percentile_us(90),
        percentile_us(99), percentile_us(99.9), (double)longest_ns / 1000);
    return 0;
}
