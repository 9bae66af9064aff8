"""Strict nbval judges each chapter a second time, with its exercises solved by the reference answers.

The first time, as shipped, is pytest's own run over notebooks/. The solved text is made here and stored nowhere.
"""

import json
import shutil
from pathlib import Path

import pytest

from memlab.lessons import CHAPTERS
from memlab.lessons.solve import solve

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.fixture
def folder(tmp_path):
    """A folder like notebooks/, without any notebook."""
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns("*.ipynb"))
    return tmp_path / "notebooks"


def test_every_solved_chapter_passes_strict_nbval(folder, strict_nbval):
    for chapter in CHAPTERS:
        text, solved = solve((NOTEBOOKS / chapter.notebook).read_text(encoding="utf-8"))
        assert solved == [exercise.id for exercise in chapter.exercises]
        if solved:
            (folder / chapter.notebook).write_text(text, encoding="utf-8")
    passed, report = strict_nbval(folder)  # all in one process: starting one takes seconds
    assert passed, report
    assert "skipped" not in report


def test_strict_nbval_refuses_a_solved_notebook_whose_answer_is_wrong(folder, strict_nbval):
    text, _ = solve((NOTEBOOKS / "02_buddies.ipynb").read_text(encoding="utf-8"))
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    first, answer = code[0], next(cell for cell in code if '@exercise("02.1")' in "".join(cell["source"]))
    answer["source"] = '@exercise("02.1")\ndef order_for(size):\n    return 0'
    notebook["cells"] = [first, answer]
    path = folder / "wrong.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    passed, report = strict_nbval(path)
    assert not passed
    assert "02.1: not yet." in report
