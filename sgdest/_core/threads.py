"""Work on Python threads that stay; the loops release the lock."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache


# One thread for fewer stored values: waking a second one would cost more than it saves.
ENTRIES_FOR_THREADS = 1 << 20


def pool_of(n_threads):
    """Threads that stay: starting one takes up to a millisecond. A forked process has its own."""
    return _pool(os.getpid(), n_threads)


@lru_cache(maxsize=None)
def _pool(process, n_threads):
    return ThreadPoolExecutor(n_threads)


def on_threads(work, chunks, n_threads):
    """``[work(*chunk) for chunk in chunks]``, by the calling thread and others that help it.

    Helpers that have not begun when the last chunk is taken are not waited for, so that on a busy
    machine nothing is slower than without them.
    """
    helpers = min(n_threads, len(chunks)) - 1
    if helpers < 1:
        return [work(*chunk) for chunk in chunks]
    results, left = [None] * len(chunks), deque(range(len(chunks)))

    def take():
        while left:
            try:
                k = left.popleft()
            except IndexError:  # another thread was faster
                return
            results[k] = work(*chunks[k])

    pool = pool_of(n_threads - 1)
    others = [pool.submit(take) for _ in range(helpers)]
    try:
        take()
    finally:
        left.clear()
        for other in others:
            if not other.cancel():
                other.result()
    return results
