/* What threads that wait for each other in a loop need: numbers that all see in one order, and rest.
 *
 * Where the compiler has no such numbers (MSVC in C), ``HAS_ATOMICS`` is 0 and nobody shares.
 */
#ifndef SGDEST_ATOMICS_H
#define SGDEST_ATOMICS_H

#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define HAS_ATOMICS 1
/* what was written before `release` is seen after `acquire` has read what that wrote */
static inline int64_t acquire(const int64_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void release(int64_t* p, int64_t value) { __atomic_store_n(p, value, __ATOMIC_RELEASE); }
static inline void count_up(int64_t* p) { (void)__atomic_add_fetch(p, 1, __ATOMIC_ACQ_REL); }
/* whether it was `old`, and is `value` now */
static inline int exchange(int64_t* p, int64_t old, int64_t value) {
    return __atomic_compare_exchange_n(p, &old, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
#else
#define HAS_ATOMICS 0
static inline int64_t acquire(const int64_t* p) { return *p; }
static inline void release(int64_t* p, int64_t value) { *p = value; }
static inline void count_up(int64_t* p) { ++*p; }
static inline int exchange(int64_t* p, int64_t old, int64_t value) {
    return *p == old ? (*p = value, 1) : 0;
}
#endif

/* One turn of a loop that waits: the processor's other work first, then other threads'. */
#if defined(_WIN32)
#include <windows.h>
static inline void give_way(void) { SwitchToThread(); }
#else
#include <sched.h>
static inline void give_way(void) { sched_yield(); }
#endif
#if HAS_ATOMICS && (defined(__x86_64__) || defined(__i386__))
static inline void pause_briefly(void) { __builtin_ia32_pause(); }
#elif HAS_ATOMICS && defined(__aarch64__)
static inline void pause_briefly(void) { __asm__ __volatile__("yield"); }
#else
static inline void pause_briefly(void) {}
#endif

enum { BRIEF_TURNS = 2000 };

static inline void rest(int64_t turn) {
    if (turn < BRIEF_TURNS)
        pause_briefly();
    else
        give_way();
}

#endif
