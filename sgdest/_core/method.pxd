"""Method: what minimises a problem. Lives for one fit, or one streak of partial_fit calls."""

from sgdest._core.problem cimport Problem


cdef class Method:
    cdef readonly Problem problem
    cdef double[:, ::1] W           # the parameters, changed in place
    cdef double[::1] b
    cdef public double t            # updates made so far
    # sums over the rows of the current pass, each row before its update
    cdef public double loss_sum     # of s * loss
    cdef public double weight_sum   # of s
    cdef double[::1] sums           # of s * loss of each output, if they have losses of their own
    cdef double[::1] penalties      # room for those of the outputs

    # rows order[start] .. order[stop - 1]
    cdef void walk(self, const Py_ssize_t* order, Py_ssize_t start,
                   Py_ssize_t stop) noexcept nogil
    # one of the parts into which the method cuts a piece of work for its team (see `Team.share`)
    cdef void take_part(self, Py_ssize_t part) noexcept nogil
