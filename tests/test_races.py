"""The races of docs/benchmarks compare what they claim: one objective, one measure."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "docs" / "benchmarks"
SMALL = [
    ("few-words", "log_loss", "l2", 1, False),
    ("few-words", "hinge", "l2", 1, False),
    ("mixed", "log_loss", "l2", 1, True),
    ("numbers", "squared_error", "elasticnet", 0.1, True),
    ("counts", "poisson", "l2", 0.01, True),
]


@pytest.fixture(scope="module")
def modules():
    if not BENCHMARKS.is_dir():
        pytest.skip("the benchmarks are not beside the tests")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import race_peers
        import race_problems
        import races
    finally:
        sys.path.remove(str(BENCHMARKS))
    scikit_learn = {"scikit-learn": race_peers.scikit_learn}  # it is always there
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race_peers, "LIBRARIES", scikit_learn)
        yield races, race_problems


@pytest.mark.parametrize("problem", SMALL, ids=lambda problem: " ".join(map(str, problem[:3])))
def test_ours_and_scikit_learn_end_at_the_optimum_that_a_race_measures(modules, problem):
    races, race_problems = modules
    loaded = race_problems.Problem(*problem).load(race_problems.bundled(0.02))
    race = races.Race(loaded, limit=2.0, patience=50.0, repeats=1, n_threads=1).run()
    assert loaded.start > race.optimum
    assert race.excess() <= 2.0  # the promise of tol
    for level in races.LEVELS:
        assert 0.0 < race.mine(level) < races.NEVER
        assert 0.0 < race.winner(level)[1] < races.NEVER
    assert race.mine(1e-3) <= race.mine(1e-6)


def test_a_race_that_no_peer_solved_counts_with_the_fit_at_which_the_first_was_stopped(modules):
    races, race_problems = modules
    problem = race_problems.Problem("mixed", "log_loss", "l2", 1, True)
    race = races.Race(problem.load(race_problems.bundled(0.02)), 2.0, 50.0, 1, 1)
    first, second, ended, *others = race.peers
    race.peers = [first, second, ended]
    race.optimum = 0.0
    goal = 1e-3 * problem.start
    first.seconds, first.objectives = [0.1, 0.3], [problem.start, 2.0 * goal]
    second.seconds, second.objectives = [0.2, 0.5], [problem.start, 3.0 * goal]
    ended.seconds = [0.01] * len(ended.contender.ladder)         # all its rungs, in vain
    ended.objectives = [problem.start] * len(ended.seconds)
    race.times = {1e-3: {peer.name: races.NEVER for peer in race.peers} | {race.ours.name: 0.1}}
    assert race.ratio(1e-3) == races.NEVER
    assert race.least_ratio(1e-3) == pytest.approx(3.0)
    race.times[1e-3][second.name] = 0.9                          # arrived after all
    assert race.least_ratio(1e-3) == race.ratio(1e-3) == pytest.approx(9.0)


def test_where_no_peer_arrives_in_its_time_all_go_on_until_the_first_does(modules):
    races, race_problems = modules
    problem = race_problems.Problem("mixed", "log_loss", "l2", 1, True)
    hasty = races.Race(problem.load(race_problems.bundled(0.02)), 0.0, 0.0, 1, 1, longest=5.0)
    hasty.optimum = hasty._reference()[0]
    goal = hasty._goal(races.LEVELS[-1])
    for peer in hasty.peers:
        peer.up(goal, hasty.limit, hasty.patience)
    assert min(peer.best(goal)[1] for peer in hasty.peers) == races.NEVER
    hasty._wait(goal)
    assert min(peer.best(goal)[1] for peer in hasty.peers) < races.NEVER
