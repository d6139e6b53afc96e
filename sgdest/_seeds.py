"""Seeds drawn from ``random_state``."""

from functools import cached_property

import numpy as np
from sklearn.utils import check_random_state


class Seeds:
    """Draws seeds; the generator, which takes 0.1 ms, is made when one is asked for.

    Parameters
    ----------
    random_state : int, RandomState instance or None
    """

    def __init__(self, random_state):
        self.random_state = random_state

    @cached_property
    def generator(self):
        return check_random_state(self.random_state)

    def draw(self):
        """The next seed: an int >= 0."""
        return int(self.generator.randint(np.iinfo(np.int32).max))

    def state(self):
        """From which ``restore`` draws the same seeds again."""
        return self.generator.get_state()

    def restore(self, state):
        """Draw as when ``state`` was taken; the generator of the user stays as it is."""
        self.generator = np.random.RandomState()
        self.generator.set_state(state)
