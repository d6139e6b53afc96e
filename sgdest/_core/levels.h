/* The SIMD levels: one source, compiled once per level, chosen when the package is imported.
 *
 * A file of loops is included between BEGIN and END of each level (see kernels.h). It names its
 * functions LEVEL(name) and computes on VEC, a vector of LANES doubles of the level's width. The
 * levels above the baseline exist for x86 with gcc or clang; the baseline is SSE2, NEON, or plain
 * numbers (LANES = 1) for a compiler without vector types.
 */
#ifndef SGDEST_LEVELS_H
#define SGDEST_LEVELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BASELINE, AVX2, AVX512, N_LEVELS };

#if defined(__GNUC__) || defined(__clang__)
#define HAS_VECTORS 1
#define PREFETCH(address) __builtin_prefetch(address)
#define PREFETCH_FAR(address) __builtin_prefetch(address, 0, 2)
/* For numbers that are used as they are, into the second-level cache: three times as many of its lines
 * may be on their way as of the first's. Numbers that must be converted are not waited for so often
 * (docs/design/0004-rows-ahead.md). */
#define ASK(T, address) __builtin_prefetch(address, 0, sizeof(T) == 8 ? 2 : 3)
#define INLINE static inline __attribute__((always_inline, unused))
#define LOOP static __attribute__((unused))
#else
#define HAS_VECTORS 0
#define PREFETCH(address) ((void)(address))
#define PREFETCH_FAR(address) ((void)(address))
#define ASK(T, address) ((void)(address))
#define INLINE static inline
#define LOOP static
#endif

#if HAS_VECTORS && (defined(__x86_64__) || defined(__i386__))
#define HAS_LEVELS 1
#else
#define HAS_LEVELS 0
#endif

#define PRAGMA(text) _Pragma(#text)
#define SIMD PRAGMA(omp simd)

#if defined(__clang__)
#define BEGIN_LEVEL(features)                                                                    \
    PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_LEVEL PRAGMA(clang attribute pop)
#elif HAS_LEVELS
#define BEGIN_LEVEL(features) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define END_LEVEL PRAGMA(GCC pop_options)
#endif

#define AVX2_FEATURES "avx2,fma"
#if defined(__clang__) /* it leaves out the whole list for the sake of a word it does not know */
#define AVX512_FEATURES "avx2,fma,avx512f,avx512dq,avx512vl,avx512bw"
#else
#define AVX512_FEATURES "avx2,fma,avx512f,avx512dq,avx512vl,avx512bw,prefer-vector-width=512"
#endif

/* One table per level, the highest last. */
#if HAS_LEVELS
#define EVERY_LEVEL(table) {&table##_baseline, &table##_avx2, &table##_avx512}
#else
#define EVERY_LEVEL(table) {&table##_baseline, &table##_baseline, &table##_baseline}
#endif

/* The highest level that this machine runs. */
static inline int highest_level(void)
{
#if HAS_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
    return BASELINE;
}

/* Asks for the cache lines of n bytes. Permuted rows are bound by the latency of memory, and
 * hardware follows a row by itself once its first lines have arrived: hence the cap. */
#define PREFETCH_LINES(ASK_ONE)                                                                  \
    const char *address = (const char *)start;                                                   \
    if (n > 4096) n = 4096;                                                                      \
    for (ptrdiff_t offset = 0; offset < n; offset += 64) ASK_ONE(address + offset);              \
    if (n > 1) ASK_ONE(address + n - 1); /* they may end in one line more */

static inline void prefetch(const void *start, ptrdiff_t n) { PREFETCH_LINES(PREFETCH) }

/* Into the second-level cache, to which more lines may be on their way (48 for 16). */
static inline void prefetch_far(const void *start, ptrdiff_t n) { PREFETCH_LINES(PREFETCH_FAR) }

#endif
