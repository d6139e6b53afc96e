"""Team: threads that take parts of a method's work while a pass lasts.

A mini-batch of 784 columns takes 100 microseconds, and waking a thread 50. So the others stay awake
while a pass lasts: they wait in a loop, without the interpreter's lock, for a round to begin. A round
has a fixed number of parts, each with sums of its own, so results do not depend on who takes which.
Each thread begins with parts of its own, whose data its cache holds, and goes on with those that
nobody has begun: on a busy machine nobody waits for a helper that does not run, unless it stopped within
a part. A helper that did so several times is not asked again.

Rounds are numbered. All that threads write to each other is in ``board``, a cache line each: the round
and its number of parts, how many parts are done, whether the team is dismissed, and for each part the
last round in which it was taken. A part is taken by raising that number to the one of the round; a helper
that comes late finds it raised by all parts of its round, and takes none of the next by mistake.
"""

from sgdest._core.threads import pool_of

cdef extern from "atomics.h" nogil:
    const int HAS_ATOMICS
    int64_t acquire(const int64_t* p)
    void release(int64_t* p, int64_t value)
    void count_up(int64_t* p)
    bint exchange(int64_t* p, int64_t old, int64_t value)
    void rest(int64_t turn)

# Waiting so many turns, about a millisecond, is to be late; after so many times the team is dismissed.
cdef int64_t LATE_TURNS = 4000
cdef int64_t MOST_LATE = 8

cdef enum:
    ROUND = 0
    DONE = LINE
    DISMISSED = 2 * LINE
    TAKEN = 3 * LINE


cdef class Team:
    """The calling thread and ``n_threads - 1`` others, while it is entered.

    Parameters
    ----------
    n_threads : int >= 1
    """

    def __init__(self, int n_threads):
        self.n_threads = n_threads if HAS_ATOMICS else 1
        self.n_present = 1
        self.helpers = []

    def of(self, Method method):
        """This team, for the work of ``method``: a context."""
        self.method = method
        return self

    def __enter__(self):
        release(&self.board[DISMISSED], 0)
        if self.n_threads > 1 and self.late < MOST_LATE:
            pool = pool_of(self.n_threads - 1)
            self.helpers = [pool.submit(self.serve, place) for place in range(1, self.n_threads)]
            self.n_present = self.n_threads
        return self

    def __exit__(self, *error):
        self.dismiss()
        for helper in self.helpers:
            if not helper.cancel():
                helper.result()
        self.helpers = []
        self.method = None

    def serve(self, Py_ssize_t place):
        """Take parts until the team is dismissed."""
        with nogil:
            self.serve_rounds(place)

    cdef void serve_rounds(self, Py_ssize_t place) noexcept nogil:
        cdef int64_t round, last = 0, turn = 0
        while not acquire(&self.board[DISMISSED]):
            round = acquire(&self.board[ROUND])
            if round == last:
                rest(turn)
                turn += 1
            else:
                self.take_parts(round, place)
                last, turn = round, 0

    cdef void share(self, Py_ssize_t n_parts) noexcept nogil:
        cdef int64_t turn = 0, round = self.board[ROUND] // (MOST_PARTS + 1) + 1
        round = round * (MOST_PARTS + 1) + n_parts
        self.board[DONE] = 0
        release(&self.board[ROUND], round)
        self.take_parts(round, 0)
        while acquire(&self.board[DONE]) < n_parts:
            rest(turn)
            turn += 1
        if turn > LATE_TURNS:
            self.late += 1
            if self.late == MOST_LATE:
                self.dismiss()

    cdef void dismiss(self) noexcept nogil:
        release(&self.board[DISMISSED], 1)
        self.n_present = 1

    cdef void take_parts(self, int64_t round, Py_ssize_t place) noexcept nogil:
        cdef Py_ssize_t part, step, n_parts = round % (MOST_PARTS + 1)
        cdef Py_ssize_t first = self.first_part(place, n_parts)
        cdef int64_t* taken
        cdef int64_t before
        for step in range(n_parts):
            part = (first + step) % n_parts
            taken = &self.board[TAKEN + LINE * part]
            before = acquire(taken)
            if before < round and exchange(taken, before, round):
                self.method.take_part(part)
                count_up(&self.board[DONE])

    cdef Py_ssize_t first_part(self, Py_ssize_t place, Py_ssize_t n_parts) noexcept nogil:
        return place * n_parts // self.n_present

    cdef Py_ssize_t place_of(self, Py_ssize_t part, Py_ssize_t n_parts) noexcept nogil:
        return ((part + 1) * self.n_present - 1) // n_parts
