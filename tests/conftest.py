"""The tests meet the built package, wherever pytest is called from."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).parents[1]

# `python -m pytest` puts the sources first in the path; they cannot be imported unless they have
# been compiled in place, so the installed package is what it should find.
if not any(
    (ROOT / f"sgdest/_core/rows{suffix}").exists() for suffix in EXTENSION_SUFFIXES
):
    sys.path[:] = [
        folder for folder in sys.path if Path(folder or ".").resolve() != ROOT
    ]
