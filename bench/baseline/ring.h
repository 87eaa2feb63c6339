// What the io_uring yardsticks share: the ring (one thread, completions deferred to its own waits,
// descriptor registered) and a pool of buffers that the kernel fills by itself. liburing 2.3 is
// enough.
#pragma once
// After baseline.h, which asks for the declarations it needs.
#include "baseline.h"

#include <liburing.h>

static struct io_uring ring;

// liburing and completions carry -errno and leave errno alone.
static inline int check_result(int result, const char* call) {
    if (result < 0) die_error(call, -result);
    return result;
}

// COOP_TASKRUN and TASKRUN_FLAG add nothing to DEFER_TASKRUN. 256 entries: 64 cost extra submits,
// 1,024 gain nothing.
enum { RING_ENTRIES = 256 };

static inline void open_ring(void) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * RING_ENTRIES};
    int result = io_uring_queue_init_params(RING_ENTRIES, &ring, &params);
    if (result < 0) {
        fprintf(stderr, "io_uring_queue_init_params: %s\n", strerror(-result));
        exit(result == -EPERM || result == -ENOSYS || result == -EINVAL || result == -ENOMEM
                 ? EXIT_REFUSED
                 : 1);
    }
    check_result(io_uring_register_ring_fd(&ring), "io_uring_register_ring_fd");
}

static inline void entered(int result, const char* call) {
    syscalls++;
    if (result != -EINTR && result != -EBUSY && result != -EAGAIN) check_result(result, call);
}

static inline struct io_uring_sqe* new_operation(void) {
    struct io_uring_sqe* sqe;
    while ((sqe = io_uring_get_sqe(&ring)) == NULL) {
        entered(io_uring_submit(&ring),
                "io_uring_submit");  // The queue is full: an extra entry, counted.
    }
    return sqe;
}

// The one kernel entry of a turn.
static inline void submit_and_wait(void) {
    entered(io_uring_submit_and_wait(&ring, 1), "io_uring_submit_and_wait");
}

// Buffers that the kernel fills by itself, few so that they stay in the cache. `out`: filled and
// not yet given back.
struct pool {
    struct io_uring_buf_ring* ring;
    char* memory;
    size_t size;
    int count, out;
};
enum { POOL_GROUP = 0, DEFAULT_BUFFERS = 128, MAX_BUFFERS = 32768 };

static inline char* pool_buffer(const struct pool* pool, int id) {
    return pool->memory + (size_t)id * pool->size;
}

static inline int pool_take(struct pool* pool, unsigned cqe_flags) {
    pool->out++;
    return (int)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);
}
static inline void pool_return(struct pool* pool, int id) {
    io_uring_buf_ring_add(pool->ring, pool_buffer(pool, id), (unsigned)pool->size,
                          (unsigned short)id, io_uring_buf_ring_mask((unsigned)pool->count), 0);
    io_uring_buf_ring_advance(pool->ring, 1);
    pool->out--;
}

static inline void* page_aligned(size_t size) {
    void* memory;
    if (posix_memalign(&memory, 4096, size) != 0) die_error("posix_memalign", ENOMEM);
    return memset(memory, 0, size);  // Touched now, not during the measurement.
}

static inline void open_pool(struct pool* pool, int count, size_t size) {
    *pool = (struct pool){.count = count, .size = size, .out = count};
    pool->ring = page_aligned((size_t)count * sizeof(struct io_uring_buf));
    pool->memory = page_aligned((size_t)count * size);
    io_uring_buf_ring_init(pool->ring);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)pool->ring, .ring_entries = (unsigned)count, .bgid = POOL_GROUP};
    check_result(io_uring_register_buf_ring(&ring, &reg, 0), "io_uring_register_buf_ring");
    for (int id = 0; id < count; id++) pool_return(pool, id);
}

// Receives that found the pool empty (ENOBUFS), oldest first. Trying again at once would spin, and
// trying again "when a buffer comes back" may be too late, because the last one may have come back
// earlier in the same batch of completions: so the question is asked once per turn. Each has data
// or an end waiting, so each that is tried again leads to another turn.
struct starved {
    struct starved* next;
};
static struct starved *oldest_starved, **newest_starved = &oldest_starved;

static inline void starve(struct starved* waiting) {
    waiting->next = NULL;
    *newest_starved = waiting;
    newest_starved = &waiting->next;
}
static inline struct starved* next_fed(void) {
    struct starved* waiting = oldest_starved;
    oldest_starved = waiting->next;
    if (oldest_starved == NULL) newest_starved = &oldest_starved;
    return waiting;
}
