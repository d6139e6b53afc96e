"""Races to the optimum: default settings of sgdest against the best solver of each peer.

Run from the root of the repository (``make races``)::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python docs/benchmarks/races.py [--data FOLDER]

A race is a data set, a loss, a penalty and its strength (race_problems.py). All contenders
(race_peers.py) minimise the same objective, intercept included. What counts is the time of the
whole ``fit``, checks and conversions included, after which the coefficients have a relative
suboptimality (F - F*) / (F_0 - F*) of at most 1e-3 and 1e-6; F_0 is the best constant model, F*
the lowest objective that anybody found, our fit at ``tol=1e-12`` and finer rungs of the best peers
among them. Each contender climbs a ladder of tolerances, or of caps on its iterations, until it is
there; the cheapest rung is timed again, interleaved with those of the others. Writes races.md and
races.png beside this file.
"""

import argparse
import os
import platform
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np
from race_peers import ours, peers, versions
from race_problems import (
    BUNDLED_GRID, SHARED_GRID, SMALL_GRID, bundled, problems, shared, small)
from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
LEVELS = (1e-3, 1e-6)
PROMISED = (1e-3, 1e-4, 1e-6, 1e-8)  # values of tol at which the promise of tol is checked
TIE = 1.1
TOO_SHORT = 2e-3  # seconds; shown, not counted
# Repeats go on for so many seconds, up to so many: few of 2 ms are decided by noise.
SHORTEST, MOST_REPEATS = 1.0, 25
NEVER = float("inf")


class Climb:
    """A contender on its ladder: what each rung cost, and where it ended."""

    clock = staticmethod(time.perf_counter)

    def __init__(self, contender, problem):
        self.contender, self.problem = contender, problem
        self.library, self.name = contender.library, contender.name
        self.spent, self.seconds, self.objectives, self.failure = 0.0, [], [], None

    def run(self, rung):
        """Seconds of a fit, and the objective that it reached."""
        start = self.clock()
        model = self.contender.fit(self.contender.ladder[rung])
        seconds = self.clock() - start
        objective = self.problem.objective(model.coef_, model.intercept_)
        return seconds, objective if np.isfinite(objective) else NEVER

    def up(self, goal, limit, patience=NEVER):
        """Climb until the objective is at most ``goal``.

        Not further than ``limit`` seconds in all, nor once a rung takes ``patience`` seconds.
        """
        if not self.seconds:
            self._try(0)  # imports, compilers of Python code, cold memory
        while not self.failure and len(self.seconds) < len(self.contender.ladder):
            last = self.seconds[-1] if self.seconds else 0.0
            if self.spent + last > limit or last > patience:
                return
            if self.objectives and min(self.objectives) <= goal:
                return
            ended = self._try(len(self.seconds))
            if ended:
                self.seconds.append(ended[0])
                self.objectives.append(ended[1])
                self.spent += ended[0]

    def _try(self, rung):
        try:
            return self.run(rung)
        except Exception as error:  # a peer that cannot is out of this race
            self.failure = f"{type(error).__name__}: {error}".splitlines()[0]

    def was_stopped(self, goal):
        """Whether it was not there yet when its time was over, with rungs left."""
        return (0 < len(self.seconds) < len(self.contender.ladder) and not self.failure
                and min(self.objectives) > goal)

    def best(self, goal):
        """(rung, seconds) of the cheapest rung that reaches ``goal``."""
        there = [k for k, value in enumerate(self.objectives) if value <= goal]
        if not there:
            return None, NEVER
        rung = min(there, key=self.seconds.__getitem__)
        return rung, self.seconds[rung]


class Race:
    """All contenders on one problem."""

    def __init__(self, problem, limit, patience, repeats, n_threads, longest=0.0):
        self.problem, self.limit, self.patience, self.repeats = problem, limit, patience, repeats
        self.longest = longest
        self.ours = Climb(ours(problem, n_threads), problem)
        self.peers = [Climb(contender, problem) for contender in peers(problem, n_threads)]

    def run(self):
        """Race; afterwards ``times[level][name]`` holds seconds."""
        self.optimum, self.kept = self._reference()
        for _ in range(2):  # again, should somebody have found a lower objective
            goal = self._goal(LEVELS[-1])
            self.ours.up(goal, 10 * self.limit)
            mine = self.ours.best(goal)[1]
            limit = max(self.limit, 8.0 * mine) if mine < NEVER else self.limit
            for peer in self.peers:
                fastest = min(mine, *(p.best(goal)[1] for p in self.peers))
                peer.up(goal, limit, self.patience * max(fastest, TOO_SHORT))
            self._wait(goal)
            self._refine()
        self.times, later = {}, {}
        for level in sorted(LEVELS):  # who reached the finer level has reached the other
            found = self._medians(level)
            self.times[level] = {k: min(found[k], later.get(k, NEVER)) for k in found}
            later = self.times[level]
        return self

    def _wait(self, goal):
        """Where no peer has arrived, let all go on until the first arrives."""
        fastest = min((peer.best(goal)[1] for peer in self.peers), default=NEVER)
        for peer in self.peers if fastest == NEVER else ():
            peer.up(goal, self.longest, fastest)
            fastest = min(fastest, peer.best(goal)[1])

    def _goal(self, level):
        return self.optimum + level * (self.problem.start - self.optimum)

    def _reference(self):
        """The objective at tol=1e-12, and those at the values of tol that are promised."""
        contender = self.ours.contender
        ended = {}
        for tol in (*PROMISED, 1e-12):
            model = contender.fit(tol)
            ended[tol] = self.problem.objective(model.coef_, model.intercept_)
        self.solver = type(model.optimizer_.optimizer).__name__
        self.certificate = model.suboptimality_
        return min(ended.values()), ended

    def _refine(self):
        """Lower F* by what all have found, and by later rungs of the fastest peer."""
        there = [p for p in self.peers if p.best(self._goal(LEVELS[-1]))[0] is not None]
        found = [self.optimum, *self.ours.objectives]
        for peer in self.peers:
            found += peer.objectives
        for peer in sorted(there, key=lambda p: p.best(self._goal(LEVELS[-1]))[1])[:2]:
            rung = min(len(peer.seconds) + 4, len(peer.contender.ladder) - 1)
            found.append(peer.run(rung)[1])
        self.optimum = min(found)

    def _medians(self, level):
        """Seconds to a level: medians of interleaved repeats for those near the front."""
        goal = self._goal(level)
        best = {climb.name: climb.best(goal) for climb in (self.ours, *self.peers)}
        times = {name: seconds for name, (_, seconds) in best.items()}
        near = 2.0 * min((times[peer.name] for peer in self.peers), default=NEVER)
        again = {climb.name: [] for climb in (self.ours, *self.peers)
                 if best[climb.name][0] is not None
                 and (climb is self.ours or times[climb.name] <= near)}
        climbs = {climb.name: climb for climb in (self.ours, *self.peers)}
        start = time.perf_counter()
        for repeat in range(MOST_REPEATS):
            spent = time.perf_counter() - start
            if repeat >= self.repeats and spent > SHORTEST or repeat >= 2 and spent > self.limit:
                break
            for name, seconds in again.items():
                seconds.append(climbs[name].run(best[name][0])[0])
        return times | {name: median(seconds) for name, seconds in again.items()}

    # -- What came of it --------------------------------------------------------------------------
    def mine(self, level):
        return self.times[level][self.ours.name]

    def winner(self, level):
        """(name, seconds) of the best peer; ("none", inf) if none arrived."""
        found = [(self.times[level][peer.name], peer.name) for peer in self.peers]
        seconds, name = min(found, default=(NEVER, "none"))
        return ("none", NEVER) if seconds == NEVER else (name, seconds)

    def ratio(self, level):
        """Time of the best peer over ours."""
        mine = self.mine(level)
        return 0.0 if mine == NEVER else self.winner(level)[1] / mine

    def least_ratio(self, level):
        """The same; a peer that was stopped counts with the longest fit that it was given, since
        it needs at least that. None where nobody was stopped."""
        goal = self._goal(level)
        given = [max(peer.seconds) for peer in self.peers if peer.was_stopped(goal)]
        ratio = self.ratio(level)
        return ratio if ratio < NEVER else min(given) / self.mine(level) if given else None

    def counts(self, level):
        """Whether it took anybody long enough to be measured."""
        mine, (_, best) = self.mine(level), self.winner(level)
        return max(mine, best) >= TOO_SHORT

    def excess(self):
        """Largest true suboptimality over tol, at the values that are promised."""
        return max(self.problem.suboptimality(F, self.optimum) / tol
                   for tol, F in self.kept.items() if tol in PROMISED)

    def by_library(self, level):
        """Seconds of the best solver of each library."""
        found = {}
        for climb in (self.ours, *self.peers):
            seconds = self.times[level][climb.name]
            found[climb.library] = min(seconds, found.get(climb.library, NEVER))
        return found


# -- Reports --------------------------------------------------------------------------------------
HEAD = (
    "| race | rows x columns | solver | ours 1e-3 | best peer | peer / ours | ours 1e-6 "
    "| best peer | peer / ours | error / tol |\n|---|---|---|--:|---|--:|--:|---|--:|--:|"
)


def milliseconds(seconds):
    return "none" if seconds == NEVER else f"{1e3 * seconds:.3g}"


def cells(race, level):
    """Our time, the best peer with its time, the ratio; bold where it is lost, in parentheses
    where it does not count."""
    name, seconds = race.winner(level)
    ratio = race.ratio(level)
    shown = "-" if ratio == NEVER else f"{ratio:.2f}"
    if not race.counts(level):
        shown = f"({shown})"
    elif ratio * TIE < 1.0:
        shown = f"**{shown}**"
    peer = name if seconds == NEVER else f"{name} {milliseconds(seconds)}"
    return f"{milliseconds(race.mine(level))} | {peer} | {shown}"


def line(race):
    """A row of the table."""
    p = race.problem
    both = " | ".join(cells(race, level) for level in LEVELS)
    return (f"| {p.name} | {p.n_rows} x {p.n_features} | {race.solver} | {both} "
            f"| {race.excess():.2g} |")


def summary(races, level):
    """A sentence about the races to a level."""
    counted = [race for race in races if race.counts(level)]
    ratios = [race.ratio(level) for race in counted]
    solved = [ratio for ratio in ratios if 0.0 < ratio < NEVER]
    won = sum(ratio * TIE >= 1.0 for ratio in ratios)
    text = (f"- To {level:g}: {won} of {len(counted)} counted races won "
            f"({won / max(1, len(counted)):.0%}); unsolved by us {ratios.count(0.0)}, by every "
            f"peer {ratios.count(NEVER)}")
    if solved:
        text += (f"; geometric mean of peer / ours {geometric_mean(solved):.2f}, worst "
                 f"{min(solved):.2f}")
    least = [ratio for race in counted if (ratio := race.least_ratio(level))]
    if len(least) > len(solved):
        text += (f"; at least {geometric_mean(least):.2f} with the {len(least) - len(solved)} that "
                 "no peer solved, where the peer that was stopped first counts with its longest fit")
    return text + "."


def losses(races):
    """A list of the races that were lost."""
    lost = [
        f"- {race.problem.name}, to {level:g}: {milliseconds(race.mine(level))} ms by "
        f"{race.solver} against {milliseconds(race.winner(level)[1])} by "
        f"{race.winner(level)[0]}"
        for race in races for level in LEVELS
        if race.counts(level) and race.ratio(level) * TIE < 1.0
    ]
    return "\n".join(lost) or "None."


def failures(races):
    """Peers that stopped with an error, once each."""
    found = {f"- {peer.name}: {peer.failure}" for race in races for peer in race.peers
             if peer.failure}
    return "\n".join(sorted(found)) or "None."


def draw(races, path):
    """Performance profiles: the share of the races that a library wins within a factor."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # of Okabe and Ito, which colour-blind eyes can tell apart; dashes survive a grey print
    colours = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    dashes = ["-", "--", "-.", ":"]
    libraries = {name for race in races for level in LEVELS for name in race.by_library(level)}
    libraries = ["sgdest", *sorted(libraries - {"sgdest"})]
    styles = {name: {"color": colours[i % 7], "ls": dashes[i % 4]}
              for i, name in enumerate(libraries)}
    fig, axes = plt.subplots(1, len(LEVELS), figsize=(10, 4), sharey=True, layout="constrained")
    for ax, level in zip(axes, LEVELS):
        table = [race.by_library(level) for race in races if race.counts(level)]
        factors = np.geomspace(1.0, 10.0, 200)
        for library, style in styles.items():
            slower = np.array([row.get(library, NEVER) / min(row.values()) for row in table])
            share = (slower[:, None] <= factors * (1 + 1e-9)).mean(axis=0)
            ax.plot(factors, share, label=library, lw=3 if library == "sgdest" else 1.5, **style)
        ax.set_xscale("log")
        ax.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("times the time of the fastest")
        ax.set_title(f"to a relative suboptimality of {level:g}")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("share of the races")
    axes[0].set_ylim(0.0, 1.02)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    fig.savefig(path, dpi=110)


def describe(n_threads, limit, longest, options):
    """Machine, versions and rules of the run."""
    busy = Climb.clock is time.process_time
    return (
        f"{', '.join(versions())}, NumPy {np.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}. Threads of every contender: {n_threads}. A peer has {limit:g} "
        "seconds for its ladder in a race, or 8 times ours if that is more; it is out when a rung "
        f"takes {options.patience:g} times as long as the fastest needs to 1e-6. Where no peer "
        f"arrives so, all go on, for {longest:g} seconds each, until the first "
        f"arrives. Medians of {options.repeats} interleaved repeats, of up to {MOST_REPEATS} in "
        "short races."
        + (" Processor time, on a machine that did other work." if busy else "")
    )


NOTES = (
    "Milliseconds of the whole `fit`. \"+b\": with an unpenalised intercept, so that only "
    "peers that can leave it unpenalised take part. C = 1 / (alpha n); \"l1 0.01\": alpha is 0.01 "
    "of the smallest one with which no column is used. X is given in rows (C order or CSR, "
    "float64); conversions are part of the time. Ties within 10 % are won; where "
    "nobody needs 2 ms the ratio is in parentheses and not counted; lost ones are bold. \"error / "
    "tol\": the largest of true suboptimality / tol at tol = 1e-3, 1e-4, 1e-6, 1e-8."
)


def report(races, text, folder):
    """Write races.md and races.png."""
    body = [
        "# Races to the optimum", text, *(summary(races, level) for level in LEVELS),
        "![Share of the races won against the factor](races.png)", NOTES,
        "\n".join([HEAD, *map(line, races)]), "## Lost", losses(races),
        "## Peers that ended with an error", failures(races),
    ]
    (folder / "races.md").write_text("\n\n".join(body) + "\n")
    draw(races, folder / "races.png")


def selected(options):
    """The races to run, and where their data come from."""
    if options.small:
        grid, source = SMALL_GRID, small()
    elif options.data:
        grid, source = SHARED_GRID, shared(options.data)
    else:
        grid, source = BUNDLED_GRID, bundled(0.1 if options.quick else 1.0)
    chosen = [p for p in problems(grid) if options.only in p.name]
    return chosen[::5] if options.quick else chosen, source


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the shared data sets; else bundled ones")
    parser.add_argument("--small", action="store_true",
                        help="small data: most races take less than is counted")
    parser.add_argument("--quick", action="store_true", help="a few races of small data; no files")
    parser.add_argument("--only", default="", help="races whose names contain this; no files")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of a peer in a race")
    parser.add_argument("--patience", type=float, default=30.0,
                        help="times the fastest after which a peer is out")
    parser.add_argument("--longest", type=float, default=40.0,
                        help="seconds of a peer where none has arrived")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the best rungs")
    parser.add_argument("--out", type=Path, help="folder of the report")
    parser.add_argument("--minutes", type=float, default=NEVER, help="start no race after them")
    parser.add_argument("--busy", action="store_true",
                        help="count processor time: on a machine with other work")
    options = parser.parse_args()
    if options.busy:
        Climb.clock = staticmethod(time.process_time)
    warnings.simplefilter("ignore")  # of what has not converged yet
    n_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    limit, longest = options.limit, max(options.limit, options.longest)
    if options.quick:
        limit = longest = min(limit, 1.0)
    text = describe(n_threads, limit, longest, options)
    print(text, HEAD, sep="\n\n", flush=True)
    chosen, source = selected(options)
    races = []
    end = time.monotonic() + 60.0 * options.minutes
    with threadpool_limits(n_threads), suppress(KeyboardInterrupt):  # reports those that ended
        for problem in chosen[::3] + chosen[1::3] + chosen[2::3]:  # some of each, if time is short
            if time.monotonic() > end:
                break
            race = Race(problem.load(source), limit, options.patience, options.repeats,
                        n_threads, longest).run()
            del problem.X, problem.y, problem.target
            races.append(race)
            print(line(race), flush=True)
    races.sort(key=lambda race: chosen.index(race.problem))
    text += f" {len(races)} of {len(chosen)} races."
    print(*(summary(races, level) for level in LEVELS), losses(races), sep="\n")
    folder = options.out or (None if options.quick or options.only else HERE)
    if folder:
        report(races, text, folder)


if __name__ == "__main__":
    sys.exit(main())
