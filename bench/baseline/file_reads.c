// 4 KiB reads at random offsets of a file, by hand: a loop of pread(2), io_uring with a fixed
// number of reads under way, or that many threads in loops of pread.
#include "baseline.h"
#include "ring.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

enum { BLOCK = 4096, MAX_DEPTH = 1024 };

static int file;
static uint64_t blocks;

static uint64_t next_offset(uint64_t* state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % blocks * BLOCK;
}

static void* block_aligned(size_t size) { return check_memory(aligned_alloc(BLOCK, size)); }

static void read_block(void* buffer, uint64_t offset) {
    const ssize_t got = pread(file, buffer, BLOCK, (off_t)offset);
    check((int)got, "pread");
    if (got != BLOCK) die_error("pread", EIO);
}

static void read_in_a_loop(long reads) {
    uint64_t state = 88172645463325252ULL;
    void* const buffer = block_aligned(BLOCK);
    for (long i = 0; i < reads; i++) read_block(buffer, next_offset(&state));
    syscalls += reads;
}

static long reads_per_thread;
static void* thread_main(void* number) {
    uint64_t state = 88172645463325252ULL + (uintptr_t)number * 7919;
    void* const buffer = block_aligned(BLOCK);
    for (long i = 0; i < reads_per_thread; i++) read_block(buffer, next_offset(&state));
    return NULL;
}
static void read_in_threads(long reads, long depth) {
    pthread_t threads[MAX_DEPTH];
    reads_per_thread = reads / depth;
    for (long i = 0; i < depth; i++)
        if ((errno = pthread_create(&threads[i], NULL, thread_main, (void*)(uintptr_t)i)) != 0)
            die_error("pthread_create", errno);
    for (long i = 0; i < depth; i++) pthread_join(threads[i], NULL);
    syscalls += reads;
}

static void ask(char* memory, uint64_t slot, uint64_t* state) {
    struct io_uring_sqe* const sqe = new_operation();
    io_uring_prep_read(sqe, file, memory + slot * BLOCK, BLOCK, next_offset(state));
    sqe->user_data = slot;
}
static void read_on_ring(long reads, long depth) {
    uint64_t state = 88172645463325252ULL;
    open_ring();
    char* const memory = block_aligned((size_t)depth * BLOCK);
    long asked = 0;
    for (; asked < depth && asked < reads; asked++) ask(memory, (uint64_t)asked, &state);
    for (long done = 0; done < reads;) {
        submit_and_wait();
        struct io_uring_cqe* cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe) {
            if (check_result(cqe->res, "read") != BLOCK) die_error("read", EIO);
            seen++;
            if (asked < reads) {
                asked++;
                ask(memory, cqe->user_data, &state);
            }
        }
        io_uring_cq_advance(&ring, seen);
        done += seen;
    }
}

// A pool as libraries have it: jobs under one lock, an eventfd that wakes the loop's thread.
enum { POOL_THREADS = 8 };
struct job {
    struct job* next;
    char* buffer;
    uint64_t offset;
};
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    struct job *first, *last, *finished;
    int event;
} pool_of_threads = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, NULL, -1};

static void submit_job(struct job* job) {
    job->next = NULL;
    pthread_mutex_lock(&pool_of_threads.mutex);
    if (pool_of_threads.first == NULL)
        pool_of_threads.first = job;
    else
        pool_of_threads.last->next = job;
    pool_of_threads.last = job;
    pthread_mutex_unlock(&pool_of_threads.mutex);
    pthread_cond_signal(&pool_of_threads.arrived);
}
static void* pool_main(void* unused) {
    (void)unused;
    pthread_mutex_lock(&pool_of_threads.mutex);
    for (;;) {
        while (pool_of_threads.first == NULL)
            pthread_cond_wait(&pool_of_threads.arrived, &pool_of_threads.mutex);
        struct job* const job = pool_of_threads.first;
        pool_of_threads.first = job->next;
        pthread_mutex_unlock(&pool_of_threads.mutex);
        read_block(job->buffer, job->offset);
        pthread_mutex_lock(&pool_of_threads.mutex);
        const bool told = pool_of_threads.finished != NULL;
        job->next = pool_of_threads.finished;
        pool_of_threads.finished = job;
        const uint64_t one = 1;
        if (!told && write(pool_of_threads.event, &one, sizeof one) < 0) die_error("write", errno);
    }
}
static void read_in_pool(long reads, long depth) {
    uint64_t state = 88172645463325252ULL;
    struct job* const jobs = check_memory(calloc((size_t)depth, sizeof *jobs));
    pool_of_threads.event = check(eventfd(0, EFD_CLOEXEC), "eventfd");
    const int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    struct epoll_event event = {.events = EPOLLIN};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, pool_of_threads.event, &event), "epoll_ctl");
    for (long i = 0; i < POOL_THREADS; i++) {
        pthread_t thread;
        if ((errno = pthread_create(&thread, NULL, pool_main, NULL)) != 0)
            die_error("pthread_create", errno);
    }
    long asked = 0;
    for (; asked < depth && asked < reads; asked++) {
        jobs[asked].buffer = block_aligned(BLOCK);
        jobs[asked].offset = next_offset(&state);
        submit_job(&jobs[asked]);
    }
    for (long done = 0; done < reads;) {
        check(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
        uint64_t count;
        if (read(pool_of_threads.event, &count, sizeof count) < 0) die_error("read", errno);
        pthread_mutex_lock(&pool_of_threads.mutex);
        struct job* job = pool_of_threads.finished;
        pool_of_threads.finished = NULL;
        pthread_mutex_unlock(&pool_of_threads.mutex);
        while (job != NULL) {
            struct job* const next = job->next;
            done++;
            if (asked < reads) {
                asked++;
                job->offset = next_offset(&state);
                submit_job(job);
            }
            job = next;
        }
    }
    syscalls += reads;
}

int main(int argc, char** argv) {
    const char *path = NULL, *mode = "pread";
    long depth = 1, reads = 100000;
    bool direct = false;
    const struct option options[] = {{"--file", TEXT, &path},
                                     {"--mode", TEXT, &mode},
                                     {"--depth", NUMBER, &depth},
                                     {"--reads", NUMBER, &reads},
                                     {"--direct", SWITCH, &direct}};
    parse_options(argc, argv, options, 5);
    if (path == NULL || depth < 1 || depth > MAX_DEPTH) {
        fprintf(stderr, "%s: --file PATH --mode pread|uring|pool|threads --depth 1..%d\n", argv[0],
                MAX_DEPTH);
        return 2;
    }
    file = check(open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0)), path);
    struct stat status;
    check(fstat(file, &status), "fstat");
    blocks = (uint64_t)status.st_size / BLOCK;
    if (blocks == 0) die_error(path, EINVAL);
    const int64_t begin = now_ns(), begin_cpu = cpu_us();
    if (strcmp(mode, "uring") == 0)
        read_on_ring(reads, depth);
    else if (strcmp(mode, "pool") == 0)
        read_in_pool(reads, depth);
    else if (strcmp(mode, "threads") == 0)
        read_in_threads(reads, depth);
    else
        read_in_a_loop(reads);
    const double seconds = (double)(now_ns() - begin) / 1e9;
    printf("iops=%.0f ns_per_read=%.0f cpu_ns_per_read=%.0f syscalls_per_read=%.3f\n",
           (double)reads / seconds, seconds * 1e9 / (double)reads,
           (double)(cpu_us() - begin_cpu) * 1e3 / (double)reads, (double)syscalls / (double)reads);
    return 0;
}
