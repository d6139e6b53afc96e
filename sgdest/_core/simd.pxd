"""The SIMD level of the compiled loops, and prefetching."""

cdef extern from "levels.h" nogil:
    void prefetch(const void* start, Py_ssize_t n)
    void prefetch_far(const void* start, Py_ssize_t n)

# index into the tables of loops
cdef int level
