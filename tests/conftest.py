"""What several test files share: hypothesis's profile, golden files, a maker of small notebooks, and strict nbval as a function."""

import difflib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from machines import DESIGNS

# The same examples in every run, and none fails for being slow: the machines that run this differ too much.
settings.register_profile("memlab", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("memlab")

ROOT = Path(__file__).resolve().parent.parent

# What the tests answer is not the progress of whoever runs them. Kernels and servers inherit it.
HOME = tempfile.TemporaryDirectory(prefix="memlab-home-")
os.environ["MEMLAB_HOME"] = HOME.name


@pytest.fixture(params=DESIGNS)
def design(request):
    """The email to the letter, then memlab's remedies."""
    return request.param


@pytest.fixture
def golden():
    """A function: demand that a text is that of tests/golden/NAME. MEMLAB_GOLDEN=write makes the file anew: read its diff."""

    def compare(name, text):
        path = ROOT / "tests" / "golden" / name
        if os.environ.get("MEMLAB_GOLDEN") == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"there is no {path.relative_to(ROOT)}; MEMLAB_GOLDEN=write makes it"
        stored = path.read_text(encoding="utf-8")
        assert text == stored, "\n".join(difflib.unified_diff(stored.splitlines(), text.splitlines(), str(path), "now", n=1, lineterm=""))

    return compare


@pytest.fixture
def write_notebook():
    """A function: write a notebook that was never run, with one code cell for each source, at `path`."""

    def write(path, *sources):
        cells = [
            {
                "cell_type": "code",
                "id": f"cell-{n}",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": s,
            }
            for n, s in enumerate(sources)
        ]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}  # else JupyterLab asks for one
        notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path

    return write


@pytest.fixture
def strict_nbval():
    """A function: judge a notebook as `make test` does, in a process of its own; return (passed, report)."""

    def judge(path):
        command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", path.parent, path]
        command += ["-q", "--color=no", "-p", "no:cacheprovider", "-p", "no:playwright", "-p", "no:xdist"]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr  # 2 and more: pytest itself could not run
        return done.returncode == 0, done.stdout

    return judge
