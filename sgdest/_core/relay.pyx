"""A lane that hands over to a sounder one where its own method gets nowhere."""

import numpy as np

from sgdest._core.solver import Lane, Start
from sgdest._core.newton_lane import sound_lane


class RelayLane(Lane):
    """Abstract: a method made for some problems, which hands over on the others.

    Methods implement ``go``, a generator like ``step``, and call ``hand_over`` from it.
    """

    successor = None
    TAKEN = ("W", "b", "z", "objective", "remaining", "gradient_norm", "finished")

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.start = start

    def step(self):
        if self.successor is None:
            yield from self.go()
            return
        yield from self.successor.step()
        self.follow()
        if self.successor.gave_up:
            yield from self.hand_over()

    def aim_at(self, tol):
        super().aim_at(tol)
        self.start.tol = tol
        if self.successor is not None:
            self.successor.aim_at(tol)

    def look_back(self):
        if self.successor is not None:
            yield from self.successor.look_back()
            self.follow()

    def go(self):
        """An iteration of the method itself; a generator."""
        raise NotImplementedError

    def hand_over(self, warm=False, to=sound_lane):
        """Go on by the lane ``to``, from here if ``warm``, else from the constant model.

        A point where the method got nowhere may be the other's bane too.
        """
        constant = self.start.constant
        W, b = (self.W, self.b) if warm else (np.zeros_like(self.W), np.array(constant))
        moments = self.start.moments or self.problem.moments()
        start = Start(W, b, constant, self.start.tol, warm, moments)
        self.own_passes = self.passes
        self.successor = to(self.problem, start)
        yield from self.successor.begin()
        self.follow()

    def follow(self):
        """Be where the successor is."""
        for name in self.TAKEN:
            setattr(self, name, getattr(self.successor, name))
        self.passes = self.own_passes + self.successor.passes

    @property
    def under_way(self):
        return self.problem if self.successor is None else self.successor.under_way

    @under_way.setter
    def under_way(self, problem):
        pass
