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
    """Facts about one set of data by name; one for which there is no room is not kept.

    ``used`` is the number of the last fit to data of this shape, ``used_before`` of that before it.
    """

    def __init__(self, recall, key, used, used_before):
        self.recall, self.key, self.used, self.used_before = recall, key, used, used_before

    def __setitem__(self, name, fact):
        if self.recall.has_room(fact.size, self):
            super().__setitem__(name, fact)

    def forgotten(self):
        """The same without facts: another thread may be reading these."""
        return Facts(self.recall, self.key, self.used, self.used_before)


class Recall:
    """Facts about the data of the last fits, up to so many numbers in all."""

    def __init__(self, most):
        self.most, self.lock = most, threading.RLock()
        self.found, self.n_fits = {}, 0     # ``Facts`` by the shape of their data, the latest last

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
            self.n_fits += 1
            seen = shape in self.found
            facts = self.found.pop(shape) if seen else Facts(self, None, self.n_fits, 0)
            facts.used, facts.used_before = self.n_fits, facts.used
            self.found[shape] = facts
            if len(self.found) > MOST_SHAPES:
                self.found.pop(next(iter(self.found)))
        if not (seen or again):
            return
        key = fingerprint(X.data), fingerprint(X.indices), fingerprint(X.indptr)
        with self.lock:
            if facts.key != key:
                facts = Facts(self, key, facts.used, facts.used_before)
                self.found[shape] = facts
            rows.known = facts

    def has_room(self, size, own):
        """Whether so many numbers more may be kept.

        Room is made by what has not been used since the data of ``own`` were, the oldest first: folds
        that come in turns shall not drive each other out.
        """
        with self.lock:
            for shape, facts in list(self.found.items()):
                if (self.size + size > self.most and facts is not own
                        and facts.used < own.used_before):
                    self.found[shape] = facts.forgotten()
            return self.size + size <= self.most

    @property
    def size(self):
        """Numbers that are kept."""
        return sum(fact.size for facts in self.found.values() for fact in list(facts.values()))


recall = Recall(1 << 23)        # numbers: 64 MB
