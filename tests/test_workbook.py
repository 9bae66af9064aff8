"""memlab.workbook makes the learner's copies, and never loses a learner's work."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memlab import workbook
from memlab.workbook import WorkbookError, fresh_copy, make_copies

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.fixture
def root(tmp_path):
    """A repository with two executed notebooks and a picture."""
    folder = tmp_path / "notebooks"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "map.png").write_bytes(b"picture")
    for name in ("00_start", "01_buddies"):
        (folder / f"{name}.ipynb").write_text(json.dumps(executed(name)), encoding="utf-8")
    return tmp_path


def executed(name):
    output = {"output_type": "stream", "name": "stdout", "text": ["the answer is 11\n"]}
    return {
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": [f"# {name}: größer\n"]},
            {
                "cell_type": "code",
                "id": "b",
                "execution_count": 3,
                "metadata": {"tags": ["kept"]},
                "outputs": [output],
                "source": ["print('the answer is', 11)"],
            },
        ],
        "metadata": {"kernelspec": {"name": "python3"}, "widgets": {"state": {}}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def files(folder):
    return sorted(path.name for path in folder.glob("*.ipynb"))


def test_a_copy_differs_from_its_reference_only_in_its_outputs_counts_and_widget_state(root):
    make_copies(root)
    expected = executed("00_start")
    expected["cells"][1] |= {"execution_count": None, "outputs": []}
    del expected["metadata"]["widgets"]
    assert read(root / "my" / "00_start.ipynb") == expected


def test_copies_are_made_of_all_notebooks_and_the_references_stay_as_they_are(root):
    assert make_copies(root) == "my/: made 00_start, 01_buddies"
    assert files(root / "my") == ["00_start.ipynb", "01_buddies.ipynb"]
    assert read(root / "notebooks" / "00_start.ipynb") == executed("00_start")


def test_the_pictures_that_notebooks_show_come_along_and_are_renewed(root):
    make_copies(root)
    (root / "notebooks" / "images" / "map.png").write_bytes(b"better picture")
    make_copies(root)
    assert (root / "my" / "images" / "map.png").read_bytes() == b"better picture"


def test_a_workbook_without_pictures_is_copied_too(root):
    shutil.rmtree(root / "notebooks" / "images")
    make_copies(root)
    assert not (root / "my" / "images").exists()


def test_an_existing_copy_is_never_overwritten(root):
    make_copies(root)
    mine = root / "my" / "00_start.ipynb"
    mine.write_text("my own work", encoding="utf-8")
    (root / "my" / "01_buddies.ipynb").unlink()
    assert make_copies(root) == "my/: made 01_buddies; kept your 00_start"
    assert mine.read_text(encoding="utf-8") == "my own work"
    assert make_copies(root) == "my/: kept your 00_start, 01_buddies"


@pytest.mark.parametrize("name", ["00_start", "00_start.ipynb"])
def test_a_fresh_copy_keeps_each_old_one_under_another_name(root, name):
    make_copies(root)
    clean = read(root / "my" / "00_start.ipynb")
    for n in (1, 2):
        (root / "my" / "00_start.ipynb").write_text(f"work {n}", encoding="utf-8")
        assert fresh_copy(name, root) == f"my/: made 00_start afresh; yours is now 00_start.old-{n}"
    assert read(root / "my" / "00_start.ipynb") == clean
    assert [(root / "my" / f"00_start.old-{n}.ipynb").read_text(encoding="utf-8") for n in (1, 2)] == [
        "work 1",
        "work 2",
    ]
    assert files(root / "my") == ["00_start.ipynb", "00_start.old-1.ipynb", "00_start.old-2.ipynb", "01_buddies.ipynb"]


def test_a_fresh_copy_of_what_was_never_copied_is_just_made(root):
    assert fresh_copy("01_buddies", root) == "my/: made 01_buddies afresh"
    assert files(root / "my") == ["01_buddies.ipynb"]


def test_a_missing_notebooks_folder_is_told_in_a_sentence(tmp_path):
    with pytest.raises(WorkbookError, match=r"There are no notebooks in .*notebooks"):
        make_copies(tmp_path)
    assert not (tmp_path / "my").exists()


def test_an_unknown_name_is_told_with_the_names_that_exist(root):
    with pytest.raises(WorkbookError, match=r"no notebook '99_end'\. There is: 00_start, 01_buddies"):
        fresh_copy("99_end", root)
    assert not (root / "my").exists()


@pytest.mark.parametrize("damage", ["not json", "[]", "{}", '{"metadata": {}, "cells": [{}]}', '{"metadata": 1}', "\udcff"])
def test_a_damaged_notebook_is_named_and_costs_the_learner_nothing(root, damage):
    make_copies(root)
    (root / "my" / "00_start.ipynb").write_text("my own work", encoding="utf-8")
    (root / "notebooks" / "00_start.ipynb").write_bytes(damage.encode("utf-8", "surrogateescape"))
    with pytest.raises(WorkbookError, match=r"00_start\.ipynb is damaged"):
        fresh_copy("00_start", root)
    assert (root / "my" / "00_start.ipynb").read_text(encoding="utf-8") == "my own work"
    assert files(root / "my") == ["00_start.ipynb", "01_buddies.ipynb"]


def test_a_damaged_notebook_without_a_copy_leaves_no_half_copy(root):
    (root / "notebooks" / "00_start.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(WorkbookError):
        make_copies(root)
    assert not (root / "my" / "00_start.ipynb").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 0, "my/: made 00_start, 01_buddies\n"),
        (["--fresh", "00_start"], 0, "my/: made 00_start afresh\n"),
        (["--fresh", "99_end"], 1, "There is no notebook '99_end'. There is: 00_start, 01_buddies.\n"),
    ],
)
def test_the_command_line_prints_one_line_and_tells_failure_by_its_status(root, arguments, status, said):
    # A copy of the module in a repository of its own: it works on the repository that it stands in.
    (root / "memlab").mkdir()
    (root / "memlab" / "__init__.py").touch()
    shutil.copy(workbook.__file__, root / "memlab")
    done = subprocess.run([sys.executable, "-m", "memlab.workbook", *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (status, said)
    assert bool(done.stderr) == (status != 0)


def test_a_place_that_cannot_be_written_is_told_without_a_traceback(root, monkeypatch, capsys):
    (root / "my").write_text("a file where the folder should be", encoding="utf-8")
    monkeypatch.setattr(workbook, "make_copies", lambda: make_copies(root))
    assert workbook.main([]) == 1
    assert "my" in capsys.readouterr().err


def test_the_shipped_notebooks_can_be_copied(tmp_path):
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    make_copies(tmp_path)
    assert files(tmp_path / "my") == files(NOTEBOOKS)
    assert "00_start.ipynb" in files(tmp_path / "my")
