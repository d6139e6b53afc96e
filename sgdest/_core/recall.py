"""What fits have found out about sparse rows, for the next fit to the same data.

Each point of a path by warm fits needs the moments of the columns again, and most of them the columns
themselves: on text that was two thirds of its time. ``recall`` knows data by their numbers alone
(``gram.fingerprint``), so that numbers changed in place are other data, and the copies of rows that a
cross-validation makes for each candidate are the same.
"""

import threading
import weakref

import numpy as np
import scipy.sparse as sp

from sgdest._core.gram import fingerprint
from sgdest._core.rows import SPARSE_TYPES, as_rows, rows_of_sound

# Shapes of data that are remembered: a grid comes back to those of its folds.
MOST_SHAPES = 16
PLAIN = *SPARSE_TYPES, np.int32, np.int64


def arrays_of(X):
    return X.data, X.indices, X.indptr


def is_plain(array):
    """Whether an array may be read in place, whatever its numbers say."""
    return (type(array) is np.ndarray and array.ndim == 1 and array.dtype in PLAIN
            and array.flags.carray)


def shape_of(X):
    return X.shape, len(X.data), X.data.dtype.str


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


class Latest:
    """What tells the numbers of the arrays of X, which are not kept alive, from others."""

    def __init__(self, X):
        self.key = tuple(map(fingerprint, arrays_of(X)))
        self.references = tuple(map(weakref.ref, arrays_of(X)))

    def is_of(self, X):
        return hasattr(X, "indptr") and all(
            reference() is array for reference, array in zip(self.references, arrays_of(X)))


class Recall:
    """Facts about the data of the last fits, up to so many numbers in all."""

    def __init__(self, most):
        self.most, self.lock = most, threading.RLock()
        self.found, self.n_fits = {}, 0     # ``Facts`` by the shape of their data, the latest last
        self.latest = None               # what was recognised last

    def clear(self):
        """Forget everything."""
        self.found.clear()
        self.latest = None

    def recognises(self, X):
        """Whether these CSR rows have been fitted, so that they are sound and finite; begins every ``fit``.

        In one pass over X, which ``rows_of`` need not repeat; in none, if nothing has this shape.
        """
        self.latest = None
        if not sp.issparse(X) or X.format != "csr" or not all(map(is_plain, arrays_of(X))):
            return False
        facts = self.found.get(shape_of(X))
        if facts is None or facts.key is None:
            return False
        latest = Latest(X)
        if latest.key != facts.key:
            return False
        self.latest = latest
        return True

    def rows_of(self, X, again):
        """``Rows`` of validated X, which know what is known of their numbers, and keep what is found out.

        ``again`` says that there will be another fit; else a second fit to data of one shape does.
        """
        rows = as_rows(X) if self.known_key(X) is None else rows_of_sound(X)
        if rows.is_sparse:
            rows.known = self.facts_of(rows.X, again)
        return rows

    def known_key(self, X):
        """What tells X from others, where it has just been recognised; else None."""
        latest = self.latest
        return latest.key if latest is not None and latest.is_of(X) else None

    def facts_of(self, X, again):
        """``Facts`` about X; a plain dict where none are kept."""
        shape = shape_of(X)
        with self.lock:
            self.n_fits += 1
            seen = shape in self.found
            facts = self.found.pop(shape) if seen else Facts(self, None, self.n_fits, 0)
            facts.used, facts.used_before = self.n_fits, facts.used
            self.found[shape] = facts
            if len(self.found) > MOST_SHAPES:
                self.found.pop(next(iter(self.found)))
        if not (seen or again):
            return {}
        key = self.known_key(X) or Latest(X).key
        with self.lock:
            if facts.key != key:
                facts = self.found[shape] = Facts(self, key, facts.used, facts.used_before)
            return facts

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
