"""The goals of speed, each as a race against the installed peers in one process.

Run from the root of the repository, on a quiet machine (``make bench``)::

    python docs/benchmarks/goals.py [--quick]

Repeats are interleaved, so that other work on the machine meets everyone alike, and each repeat
gives one ratio: medians and ranges of the ratios are reported. A race counts only if both sides
made the same number of steps and ended at the same objective; otherwise it is refused. Bandwidth is
measured in the same run, and so is, where there is one, a bare loop in C that does only what must
be done (limits.c): a goal counts as met too by 85 % of the speed of that loop, or of reading X once
at full bandwidth. LIBLINEAR and snapml take other steps: they race to the optimum (races.py). Writes
results.md and results.png beside this file.
"""

import argparse
import os
import platform
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import sklearn
from goal_races import LIMIT, RACES, Refused

from sgdest._core import simd
from sgdest._core.rows import surely_finite

HERE = Path(__file__).parent
YARDSTICK = "scikit-learn"


def bandwidth(n_threads, megabytes=512):
    """Bytes a second that ``n_threads`` threads read from memory: the best of some passes."""
    parts = np.array_split(np.ones(megabytes << 17), n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            list(pool.map(surely_finite, parts))
            times.append(time.perf_counter() - start)
    return (megabytes << 20) / min(times)


class Result:
    """What a race showed, for one of the runners."""

    def __init__(self, race, name, seconds, base, speed, bare):
        ratios = [b / s for b, s in zip(base, seconds)]
        self.race, self.name = race, name
        self.ns = 1e9 * median(seconds) / race.n_rows / race.n_passes
        self.ratio, self.low, self.high = median(ratios), min(ratios), max(ratios)
        # of the bandwidth of its threads
        self.share = race.n_bytes / median(seconds) / speed if race.n_bytes else None
        # the share of what the machine can do
        self.of_limit = median(b / s for b, s in zip(bare, seconds)) if bare else None
        self.goal, self.share_goal = race.goals.get(name), race.share_goals.get(name)

    @property
    def goals(self):
        """The goals in words."""
        ratio = "" if self.goal is None else f"{self.goal:.2g}"
        share = "" if self.share_goal is None else f"{100 * self.share_goal:.0f} % of bandwidth"
        return " or ".join(filter(None, [ratio, share]))

    @property
    def verdict(self):
        if not self.goals:
            return ""
        if self.goal is not None and self.ratio >= self.goal:
            return "met"
        if self.share_goal is not None and self.share >= self.share_goal:
            return "met"
        at_limit = max(self.of_limit or 0.0, self.share or 0.0) >= 0.85
        return "met: at the limit" if at_limit else "missed"


def run(race, repeats, speeds):
    """Results of the runners of a race; the first is the yardstick."""
    race.prepare()
    seconds = {name: [] for name in race.runners}
    for _ in range(repeats * race.n_runs + 1):
        for name, runner in race.runners.items():
            seconds[name].append(runner())
    race.check()
    for times in seconds.values():
        del times[0]  # the first meets cold memory and imports
    base = next(iter(seconds.values()))
    return [Result(race, name, times, base, speeds[race.threads_of(name)],
                   seconds.get(race.limit_of(name)))
            for name, times in seconds.items()]


def line(result):
    """A row of the table."""
    share = "" if result.share is None else f"{100 * result.share:.0f} %"
    of_limit = "" if result.of_limit is None else f"{100 * result.of_limit:.0f} %"
    return (
        f"| {result.race.name} | {result.name} | {result.ns:.0f} | {result.ratio:.2f} | "
        f"{result.low:.2f} - {result.high:.2f} | {result.goals} | {result.verdict} | "
        f"{of_limit} | {share} |"
    )


def note(race, results):
    """What limits a race, and how near those that missed their ratio come to it."""
    text = f"- *{race.name}*: {race.limited_by}"
    for result in results:
        if result.goals and result.verdict != "met":
            of = {"the bare loop": result.of_limit, "the bandwidth": result.share}
            shares = [f"{100 * share:.0f} % of {what}" for what, share in of.items() if share]
            text += f"; {result.name} reaches {' and '.join(shares) or 'no limit that is measured'}"
    return text


HEAD = (
    "| race | runner | ns a row and pass | times as fast | range | goal | | of the bare loop "
    "| of the bandwidth |\n|---|---|---|---|---|---|---|---|---|"
)


def draw(results, path):
    """A bar for each result that has a goal, a tick at the goal."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # of Okabe and Ito, which colour-blind eyes can tell apart
    shades = {"met": "#0072B2", "met: at the limit": "#56B4E9", "missed": "#E69F00"}
    shown = [r for r in results if r.goal is not None][::-1]
    fig, ax = plt.subplots(figsize=(9, 0.24 * len(shown) + 1.2), layout="constrained")
    places = np.arange(len(shown))
    ratios = np.array([r.ratio for r in shown])
    for verdict, shade in shades.items():
        of = np.array([r.verdict == verdict for r in shown])
        ax.barh(places[of], ratios[of], color=shade, height=0.7, label=f"goal {verdict}")
    ax.hlines(places, [r.low for r in shown], [r.high for r in shown], color="0.3", lw=1)
    ax.plot([r.goal for r in shown], places, "k|", ms=11, mew=2, label="goal")
    ax.set_yticks(places, [f"{r.race.name}: {r.name}" for r in shown], fontsize=7)
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.set_xscale("log")
    ax.set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
    ax.set_xticks([], minor=True)
    ax.axvline(1.0, color="0.6", lw=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("times as fast as the first runner (median; line: range of the repeats)")
    fig.legend(loc="outside upper center", ncols=4, frameon=False)
    fig.savefig(path, dpi=110)


def describe(speeds, quick):
    """The machine and the versions."""
    load = f"{os.getloadavg()[0]:.1f} processes" if hasattr(os, "getloadavg") else "not known"
    rates = ", ".join(f"{n} thread(s) {v / 1e9:.1f} GB/s" for n, v in speeds.items())
    return (
        f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, level {simd.current()}.\n"
        f"Read bandwidth in this run: {rates}. Load of the machine before it: {load}."
        + (" Quick: small data." if quick else "")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, few repeats")
    parser.add_argument("--repeats", type=int, help="repeats of each race")
    parser.add_argument("--only", default="", help="races whose names contain this; no files")
    options = parser.parse_args()
    repeats = options.repeats or (3 if options.quick else 7)
    warnings.simplefilter("ignore")  # of few epochs not converging
    speeds = {n: bandwidth(n) for n in (1, 2)}
    text = describe(speeds, options.quick)
    print(text, HEAD, sep="\n\n", flush=True)
    results, lines, notes = [], [], []
    for make in RACES:
        race = make(0.1 if options.quick else 1.0)
        if options.only not in race.name:
            continue
        try:
            found = run(race, repeats, speeds)
        except Refused as reason:
            lines.append(f"| {race.name} | refused: {reason} | | | | | | | |")
            print(lines[-1], flush=True)
            continue
        results += found
        lines += [line(result) for result in found]
        notes.append(note(race, found))
        print("\n".join(lines[-len(found) :]), flush=True)
    if options.only:
        return
    body = [
        "# Results of the goals", text, "\n".join([HEAD, *lines]),
        "![Times as fast](results.png)", "## What limits each", "\n".join(dict.fromkeys(notes)),
        "Times include the whole `fit` of some epochs, checks of the data too. A race is refused "
        "if the sides did not make the same steps, or did not end at the same objective.",
    ]
    (HERE / "results.md").write_text("\n\n".join(body) + "\n")
    draw(results, HERE / "results.png")


if __name__ == "__main__":
    main()
