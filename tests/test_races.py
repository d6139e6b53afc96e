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
