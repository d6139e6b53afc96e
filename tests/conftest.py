"""The tests meet the built package, wherever pytest is called from."""

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [ROOT / f"sgdest/_core/rows{suffix}" for suffix in EXTENSION_SUFFIXES]

# `python -m pytest` puts the sources first in the path. Unless they have been compiled
# in place they cannot be imported; the installed package is what it should find.
if not any(path.exists() for path in ROWS):
    sys.path[:] = [
        folder for folder in sys.path if Path(folder or ".").resolve() != ROOT
    ]


@pytest.fixture
def run_python():
    """Runs code in a Python of its own, which finds the same package as the tests."""
    import sgdest

    place = str(Path(sgdest.__file__).parents[1])

    def run(code):
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": place},
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )

    return run
