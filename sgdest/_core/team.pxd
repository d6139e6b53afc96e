"""Team: threads that take parts of a method's work while a pass lasts."""

from libc.stdint cimport int64_t
from sgdest._core.method cimport Method


cdef enum:
    MOST_PARTS = 4
    LINE = 8                               # numbers of a cache line, which one thread writes at a time


cdef class Team:
    cdef readonly int n_threads
    cdef int n_present                     # within a pass, outside it 1
    cdef Method method                     # whose work it is, within a pass
    cdef list helpers                      # the futures of the others
    cdef int64_t[LINE * (3 + MOST_PARTS)] board
    cdef int64_t late                      # how often a helper kept the others waiting
    # all parts of `method.take_part`, by the caller and those who help
    cdef void dismiss(self) noexcept nogil
    cdef void share(self, Py_ssize_t n_parts) noexcept nogil
    # the first of the parts that thread `place` begins with, and which thread begins with a part
    cdef Py_ssize_t first_part(self, Py_ssize_t place, Py_ssize_t n_parts) noexcept nogil
    cdef Py_ssize_t place_of(self, Py_ssize_t part, Py_ssize_t n_parts) noexcept nogil
    cdef void take_parts(self, int64_t round, Py_ssize_t place) noexcept nogil
    cdef void serve_rounds(self, Py_ssize_t place) noexcept nogil
