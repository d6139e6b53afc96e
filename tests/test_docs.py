"""What the documents say holds: README, guide, docstrings, demo, and the commands."""

import contextlib
import doctest
import importlib.util
import inspect
import io
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
from sgdest._core.losses import LOSSES
from sgdest._core.penalties import PENALTIES

import sgdest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("guide/*.md"))]
LINKS = [*DOCUMENTS, *sorted((ROOT / "docs").glob("design/*.md"))]

PUBLIC_MODULES = [
    import_module(f"sgdest.{module.name}")
    for module in pkgutil.iter_modules(sgdest.__path__)
    if not module.name.startswith("_")
]


def _public_objects():
    """Every documented class and function that a public module exports, by its name."""
    found = {}
    for module in [sgdest, *PUBLIC_MODULES]:
        for name in getattr(module, "__all__", vars(module)):
            thing = getattr(module, name)
            ours = getattr(thing, "__module__", None) or ""
            if (
                ours.startswith("sgdest")
                and not name.startswith("_")
                and callable(thing)
            ):
                found[f"{module.__name__}.{name}"] = thing
    return found


OBJECTS = _public_objects()
CLASSES = {name: thing for name, thing in OBJECTS.items() if inspect.isclass(thing)}


# -- documents -------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_of_a_document_run_and_print_what_they_say(path):
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S):
        said = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.M)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, str(path), "exec"), names)
        assert printed.getvalue().splitlines() == said, block


@pytest.mark.parametrize("path", LINKS, ids=lambda path: path.name)
def test_links_of_a_document_lead_to_files(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_design_notes_that_the_code_refers_to_exist():
    for source in (ROOT / "sgdest").rglob("*"):
        if source.suffix in {".py", ".pyx", ".pxd", ".h"}:
            for note in re.findall(r"docs/design/([\w.-]*\w)", source.read_text()):
                assert (ROOT / "docs" / "design" / note).exists(), (
                    f"{source.name}: {note}"
                )


def test_the_readme_gives_the_commands_that_exist():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    commands = re.findall(r"^make (\w+) ", readme, re.M)
    assert commands == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.M)
    assert re.search(r"^make test ", (ROOT / ".ci" / "run").read_text(), re.M)


def test_make_builds_with_what_pyproject_asks_for():
    project, makefile = (
        (ROOT / "pyproject.toml").read_text(),
        (ROOT / "Makefile").read_text(),
    )
    requires = re.search(r"^requires = \[(.*)\]$", project, re.M)[1]
    needs = re.search(r"^BUILD_NEEDS := (.*)$", makefile, re.M)[1]
    assert re.findall(r'"(.*?)"', requires) == re.findall(r'"(.*?)"', needs)


def test_the_changelog_has_this_version():
    assert f"## {sgdest.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_names_every_loss():
    text = re.sub(r"[\s_-]+", " ", (ROOT / "README.md").read_text().lower())
    for name in LOSSES:
        words = name.replace("_", " ").replace("squared epsilon", "(squared) epsilon")
        assert words in text, name
    for name in filter(None, PENALTIES):
        assert {"l1": "l1", "l2": "l2", "elasticnet": "elastic net"}[name] in text


# -- docstrings ------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTS)
def test_examples_of_a_docstring_run(name):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report = io.StringIO()
    for test in doctest.DocTestFinder().find(OBJECTS[name], name, module=False):
        runner.run(test, out=report.write)
    assert runner.summarize(verbose=False).failed == 0, report.getvalue()


@pytest.mark.parametrize("module", [sgdest, *PUBLIC_MODULES], ids=lambda m: m.__name__)
def test_examples_of_a_module_run(module):
    assert module.__doc__
    assert doctest.run_docstring_examples(module.__doc__, {}) is None


def _documented(docstring, section):
    """Names in a section of a numpydoc docstring, in order."""
    body = re.search(
        rf"^{section}\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", docstring, re.M | re.S
    )
    if body is None:
        return []
    lines = re.findall(r"^\*{0,2}(\w+(?:, \w+)*)(?: :|$)", body[1], re.M)
    return [name for line in lines for name in line.split(", ")]


def _parameters(function):
    """Names of the parameters of a function, without self."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_documents_its_parameters_in_order(name):
    kind = CLASSES[name]
    docstring = inspect.getdoc(kind)
    assert docstring, name
    if kind.__init__ is not object.__init__:
        assert _documented(docstring, "Parameters") == _parameters(kind)


def _methods():
    for name, kind in CLASSES.items():
        for method, function in inspect.getmembers(kind, callable):
            own = getattr(function, "__module__", None) or ""
            if own.startswith("sgdest") and not method.startswith("_"):
                yield pytest.param(kind, function, id=f"{name}.{method}")


@pytest.mark.parametrize("kind, function", list(_methods()))
def test_a_method_documents_its_parameters_in_order(kind, function):
    docstring = inspect.getdoc(function)
    assert docstring
    documented = _documented(docstring, "Parameters")
    if documented or hasattr(kind, "fit"):  # elsewhere one line may say it all
        assert documented == _parameters(function)


# -- the demo --------------------------------------------------------------------------


def test_the_demo_prints_its_four_parts_and_saves_the_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = ROOT / "docs" / "examples" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo", path)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    demo.main(tmp_path, repeats=1)
    printed = capsys.readouterr().out
    for part in ("1. Tuning", "2. The same objective", "3. Streaming", "4. Batch"):
        assert part in printed
    assert str((tmp_path / "loss_curves.png").resolve()) in printed
    assert (tmp_path / "loss_curves.png").read_bytes().startswith(b"\x89PNG")
