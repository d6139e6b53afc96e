"""What fits have found out about sparse rows, for the next fit to the same data.

Each point of a path by warm fits needs the moments of the columns again, and most of them the columns
themselves: on text that was two thirds of its time. ``recall`` knows data by their numbers alone
(``gram.fingerprint``), so that numbers changed in place are other data, and the copies of rows that a
cross-validation makes for each candidate are the same.
"""

import threading

from sgdest._core.gram import fingerprint

# Shapes of data that are remembered: a grid comes back to those of its folds.
MOST_SHAPES = 16


class Facts(dict):
    """Facts about one set of data by name; one for which there is no room is not kept."""

    def __init__(self, recall):
        self.recall = recall

    def __setitem__(self, name, fact):
        if self.recall.has_room(fact.size, self):
            super().__setitem__(name, fact)


class Recall:
    """Facts about the data of the last fits, up to so many numbers in all."""

    def __init__(self, most):
        self.most, self.lock = most, threading.RLock()
        self.found = {}         # by shape: a fingerprint, or None, and ``Facts``; the latest last

    def clear(self):
        """Forget everything."""
        self.found.clear()

    def __call__(self, rows, again):
        """Let ``rows`` know what is known of their numbers, and keep what is found out.

        ``again`` says that there will be another fit; else a second fit to data of one shape does.
        """
        X = rows.X
        shape = X.shape, len(X.data), X.data.dtype.str
        with self.lock:
            seen = shape in self.found
            self.found[shape] = self.found.pop(shape, (None, Facts(self)))
            if len(self.found) > MOST_SHAPES:
                self.found.pop(next(iter(self.found)))
        if not (seen or again):
            return
        key = fingerprint(X.data), fingerprint(X.indices), fingerprint(X.indptr)
        with self.lock:
            own, known = self.found.pop(shape, (None, None))
            rows.known = known if own == key else Facts(self)
            self.found[shape] = key, rows.known

    def has_room(self, size, own):
        """Whether so many numbers more may be kept; other facts than ``own`` make room, the oldest first."""
        with self.lock:
            for shape, (_, known) in list(self.found.items()):
                if self.size + size > self.most and known is not own:
                    self.found.pop(shape)
            return self.size + size <= self.most

    @property
    def size(self):
        """Numbers that are kept."""
        return sum(fact.size for _, known in self.found.values() for fact in list(known.values()))


recall = Recall(1 << 23)        # numbers: 64 MB
