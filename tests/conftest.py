"""The tests meet the built package, wherever pytest is called from."""

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [ROOT / f"sgdest/_core/rows{suffix}" for suffix in EXTENSION_SUFFIXES]

# `python -m pytest` puts the sources first in the path. Unless they have been compiled
# in place they cannot be imported; the installed package is what it should find.
if not any(path.exists() for path in ROWS):
    sys.path[:] = [
        folder for folder in sys.path if Path(folder or ".").resolve() != ROOT
    ]
