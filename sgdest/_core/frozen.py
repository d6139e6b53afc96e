"""Solvers as bytes, from which they go on bit for bit.

Between two iterations a solver is Python objects, arrays and compiled objects. They are pickled as
they are, but for what they share with the fit, X above all: that is only named.
"""

import io
import pickle

import numpy as np


def freeze(content, problem):
    """``content``, which may rest on ``problem`` and on its parts, as bytes without these."""
    file = io.BytesIO()
    _Freezer(file, problem).dump(content)
    return file.getvalue()


def thaw(frozen, problem):
    """What ``freeze`` was given, resting on ``problem``."""
    return _Thawer(io.BytesIO(frozen), problem).load()


def parts_of(problem):
    """What is named only, by its name: the problem, its data, its loss and its penalty."""
    parts = {name: getattr(problem, name)
             for name in ("rows", "y", "sample_weight", "offset", "loss", "penalty")}
    parts.update(problem=problem, X=problem.rows.X)
    if problem.rows.is_sparse:
        parts.update({name: getattr(problem.rows.X, name)
                      for name in ("data", "indices", "indptr")})
    return {name: part for name, part in parts.items() if part is not None}


class _Freezer(pickle.Pickler):
    def __init__(self, file, problem):
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.parts = parts_of(problem)
        self.names = {id(part): name for name, part in self.parts.items()}

    def persistent_id(self, part):
        return self.names.get(id(part))

    def reducer_override(self, part):
        # Cython pickles a compiled object as the tuple of its attributes; arrays stand in it as
        # views, each with a type of its module, which cannot be pickled
        if type(part).__name__ == "_memoryviewslice":
            return np.asarray, (np.asarray(part),)
        return NotImplemented


class _Thawer(pickle.Unpickler):
    def __init__(self, file, problem):
        super().__init__(file)
        self.parts = parts_of(problem)

    def persistent_load(self, name):
        return self.parts[name]
