"""Random numbers and shuffles: inline, without the GIL, the same on every platform."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from "levels.h" nogil:
    void prefetch(const void* start, Py_ssize_t n)

cdef extern from *:
    """
    static inline uint64_t high_product(uint64_t a, uint64_t b)
    {
    #ifdef __SIZEOF_INT128__
        return (uint64_t)((unsigned __int128)a * b >> 64);
    #else
        const uint64_t low = (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
        const uint64_t cross = (a >> 32) * (b & 0xFFFFFFFF) + (low >> 32);
        const uint64_t other = (a & 0xFFFFFFFF) * (b >> 32) + (cross & 0xFFFFFFFF);
        return (a >> 32) * (b >> 32) + (cross >> 32) + (other >> 32);
    #endif
    }
    """
    # the upper half of a product of 128 bits: a random a makes it uniform below b (Lemire 2019)
    uint64_t high_product(uint64_t a, uint64_t b) nogil


cdef inline uint64_t random_bits(uint64_t* state) noexcept nogil:
    """Next 64 bits of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    cdef uint64_t bits
    state[0] += 0x9E3779B97F4A7C15ULL
    bits = state[0]
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ULL
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBULL
    return bits ^ (bits >> 31)


cdef inline void ask_for(const void* start, Py_ssize_t n) noexcept nogil:
    """Have n bytes, soon read in no order, brought near; a pass over X has pushed them out."""
    cdef Py_ssize_t offset
    for offset from 0 <= offset < n by 64:
        prefetch(<const char*> start + offset, 1)


cdef enum:
    DRAWN = 32


cdef inline void shuffle(Py_ssize_t n, Py_ssize_t* order, uint64_t* state) noexcept nogil:
    """Fisher-Yates. The bias is below n / 2^64."""
    cdef Py_ssize_t[DRAWN] others            # drawn first, so that their places are asked for in time
    cdef Py_ssize_t i, k, m, swap
    for i from n - 1 >= i > 0 by DRAWN:
        m = min(<Py_ssize_t> DRAWN, i)
        for k in range(m):
            others[k] = <Py_ssize_t> high_product(random_bits(state), <uint64_t> (i - k + 1))
            prefetch(order + others[k], 1)
        for k in range(m):
            swap = order[i - k]
            order[i - k] = order[others[k]]
            order[others[k]] = swap


cdef inline uint32_t random_31_bits(uint32_t* state) noexcept nogil:
    """31 bits of a 32-bit xorshift (Marsaglia, https://doi.org/10.18637/jss.v008.i14)."""
    if state[0] == 0:
        state[0] = 1
    state[0] ^= state[0] << 13
    state[0] ^= state[0] >> 17
    state[0] ^= state[0] << 5
    return state[0] & <uint32_t> 0x7FFFFFFF
