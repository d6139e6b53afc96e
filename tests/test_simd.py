"""Every SIMD level that the machine has gives the same results to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgdest._core import simd

LOWER_LEVELS = simd.available()[:-1] if simd.available() else ()
# the files whose tests walk through every loop there is
FILES = ("test_rows.py", "test_losses.py", "test_problem.py", "test_optimizers.py")


HERE = Path(__file__).parent
PACKAGE = Path(simd.__file__).parents[2]  # not the sources, unless they are compiled


def run(code_or_arguments, level):
    return subprocess.run(
        [sys.executable, *code_or_arguments],
        env={**os.environ, "SGDEST_SIMD": level, "PYTHONPATH": str(PACKAGE)},
        cwd=HERE,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("level", LOWER_LEVELS)
def test_the_laws_hold_at_every_lower_level(level):
    done = run(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *FILES], level)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_highest_level_is_the_default():
    code = "from sgdest._core import simd; print(simd.current())"
    done = run(["-c", code], "")
    assert done.stdout.split() == [simd.available()[len(simd.available()) - 1]]


def test_a_level_that_does_not_exist_is_an_error_that_names_the_levels():
    done = run(["-c", "import sgdest"], "mmx")
    assert done.returncode != 0
    assert "SGDEST_SIMD must name a level that this machine runs" in done.stderr
    assert "baseline" in done.stderr and "'mmx'" in done.stderr
