"""The state of a stream."""

# Offsets behind the weights of a record.
cdef enum:
    SQUARES, LARGEST, PAID, ROOT, TAIL
