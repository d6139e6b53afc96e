"""CoordinateMethod: steps whose every coordinate has a rate and a memory of its own."""

from libc.math cimport pow

from sgdest._core.step cimport StepMethod

# Powers that `powers` holds: gaps between two entries of a feature are mostly shorter.
cdef enum:
    N_POWERS = 1024


cdef inline double power(const double* powers, double base, double k) noexcept nogil:
    """base^k, for whole k >= 0."""
    return powers[<Py_ssize_t> k] if k < N_POWERS else pow(base, k)


# What a step sees: n coordinates of one kind beside each other, however they are stored.
cdef struct Coordinates:
    Py_ssize_t n
    double* w
    const double* g
    double* slots              # slot q of coordinate p is slots[q * stride + p]
    Py_ssize_t stride
    double* length             # to be set: the penalty shrinks coordinate p for length[p]
    const double* c            # penalty factors; NULL: all are 1
    const double* missed       # `rest` only: how many steps passed without a gradient
    const double* path         # and the sum of their rates


cdef class CoordinateMethod(StepMethod):
    cdef Py_ssize_t average
    cdef double n_averaged
    cdef double[:, ::1] total              # sum of the averaged W
    cdef double[::1] b_total
    cdef readonly double n_steps           # since the slots were zero; the step under way included
    cdef double clip_norm                  # 0: the gradient is not clipped
    cdef double[:, ::1] slots, slots_b     # (n_slots, d * K), (n_slots, K)
    # the coordinates of the step: (x - centre) / spread; NULL where they are those of the data
    cdef double[::1] spread, inverse_spread, centre
    cdef bint scaled, centred
    # the coordinates of one call, gathered
    cdef double[::1] w_room, g_room, length, c_room, missed, path_room
    cdef double[:, ::1] slots_room
    cdef double[::1] length_b, no_penalty
    # sparse rows: the step up to which each feature is up to date, and the sum of rates by then
    cdef double[::1] seen, seen_path
    cdef double path

    # one section per optimizer: the step that has a gradient, and the steps that had none
    cdef void step(self, Coordinates* at, double eta) noexcept nogil
    cdef void rest(self, Coordinates* at) noexcept nogil

    cdef void gather(self, Py_ssize_t n, const Py_ssize_t* columns, bint gradient,
                     Coordinates* at) noexcept nogil
    cdef bint in_place(self, const Py_ssize_t* columns) noexcept nogil
    cdef void scatter(self, Py_ssize_t n, const Py_ssize_t* columns,
                      Coordinates* at) noexcept nogil
    cdef void shrink(self, Coordinates* at) noexcept nogil
    cdef void step_in_parts(self, Coordinates at, double eta) noexcept nogil
    cdef void normalise(self) noexcept nogil
    cdef void step_intercept(self, double eta) noexcept nogil
    cdef void move_intercept(self, double sign) noexcept nogil
    cdef void accumulate(self) noexcept nogil
