"""Nothing imports upwards, and no source file outgrows a sitting."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sgdest"

# Each module imports only from the sets before its own: docs/design/0001-layers.md.
LAYERS = [
    {"_core.column_kernels", "_core.compressed", "_core.frozen", "_core.kernels", "_core.labels",
     "_core.loss_kernels", "_core.random", "_core.scalars", "_core.simd", "_core.step_kernels",
     "_core.stream_kernels", "_core.threads"},
    {"_core.softmax"},
    {"_core.losses", "_core.online_newton", "_core.penalties", "_core.rows", "_core.schedules"},
    {"_core.active_set", "_core.columns", "_core.plain_rules", "_core.problem", "_core.smoothing",
     "_core.stream_rules", "_core.written_loss"},
    {"_core.gram", "_core.method"},
    {"_core.alone", "_core.dual", "_core.recall", "_core.shrinkage", "_core.solver",
     "_core.stream_state", "_core.subproblem", "_core.team"},
    {"_core.proximal_newton", "_core.step"},
    {"_core.coordinates", "_core.descent", "_core.intercept", "_core.metric",
     "_core.dual_active_set", "_core.joint_multipliers", "_core.multipliers",
     "_core.truncated_newton"},
    {"_core.adaptive", "_core.frame", "_core.least_squares", "_core.optimizers", "_core.plain_sgd",
     "_core.quasi_newton", "_core.span", "_core.stream"},
    {"_core.conjugate_gradients"},
    {"_core.newton_lane", "_core.variance_reduced"},
    {"_core.relay"},
    {"_core.few_rows", "_core.joint_ascent"},
    {"_core.subsampled_newton"},
    {"_core.dual_ascent", "_core.working_set"},
    {"_core.train"},
    {"_core", "_version"},
    {"losses", "optimizers", "schedules"},
    {"_noise", "_resolve", "_seeds", "_validation"},
    {"_advice", "_automatic", "_early_stopping", "_history", "_plain_sgd"},
    {"_observer", "compat"},
    {"_base"},
    {"_classifier", "_path", "_regressor"},
    {"callbacks", "display", "estimators"},
    {""},
]
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
LONGEST_FILE = 700

# "from a cimport b", "from a import (b, c)", "cimport a", "import a as b"
FROM = re.compile(r"^\s*from\s+([\w.]+)\s+c?import\s+(\([^)]*\)|[^\n#]*)", re.M)
PLAIN = re.compile(r"^\s*c?import\s+([\w., ]+)", re.M)


def _sources(folder, *suffixes):
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes)


def _module(path):
    """Name below ``sgdest`` of the module that a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _without_strings(text):
    """The text without triple-quoted strings, whose examples import at will."""
    return re.sub(r'"""(?:.|\n)*?"""', '""', text)


def _imported(text):
    """Names below ``sgdest`` of the modules that a source text imports."""
    text = _without_strings(text)
    found = set()
    for source, names in FROM.findall(text):
        if source.split(".")[0] != "sgdest":
            continue
        package = source.removeprefix("sgdest").lstrip(".")
        for name in re.findall(r"(\w+|\*)(?: as \w+)?", names):
            inner = f"{package}.{name}".lstrip(".")
            found.add(inner if inner in LEVEL else package)
    for names in PLAIN.findall(text):
        for name in re.findall(r"\bsgdest[\w.]*", names):
            found.add(name.removeprefix("sgdest").lstrip("."))
    return found


def _imports(path):
    """Names below ``sgdest`` of the modules that a file imports, beside its own."""
    return _imported(path.read_text()) - {_module(path)}


MODULES = _sources(PACKAGE, ".py", ".pyx", ".pxd")


def _name(path):
    return str(path.relative_to(ROOT))


def test_every_form_of_import_is_seen():
    text = (
        '"""\n>>> from sgdest._core.train import train\n"""\n'
        "from sgdest._core.rows cimport Rows, as_rows\n"
        "from sgdest._core cimport random\n"
        "from sgdest import (\n    losses as l,\n    compat,\n)\n"
        "import numpy as np, sgdest.schedules\n"
        "cimport sgdest._core.kernels\n"
        "def f():\n    from sgdest._base import GDBase  # late\n"
    )
    core = {"_core.rows", "_core.random", "_core.kernels"}
    assert _imported(text) == core | {"losses", "compat", "schedules", "_base"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_imports_from_below_only(path):
    module = _module(path)
    assert module in LEVEL, f"{module} is new: say in LAYERS where it belongs"
    for other in _imports(path):
        assert other in LEVEL, f"{module} imports {other}, which has no layer"
        assert LEVEL[other] < LEVEL[module], f"{module} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_are_absolute(path):
    assert not re.search(r"^\s*from\s+\.", _without_strings(path.read_text()), re.M)


def test_the_descent_of_scikit_learn_serves_compat_only():
    users = {_module(path) for path in MODULES if "_core.plain_sgd" in _imports(path)}
    assert users == {"_plain_sgd", "compat"}
    assert {_module(p) for p in MODULES if "_plain_sgd" in _imports(p)} == {"compat"}


SOURCES = [
    *_sources(PACKAGE, ".py", ".pyx", ".pxd", ".h", ".pyi"),
    *_sources(ROOT / "tests", ".py"),
    *_sources(ROOT / "docs", ".py"),
    ROOT / "setup.py",
]


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_file_is_too_long(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
