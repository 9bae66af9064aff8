"""What strict nbval does not see in the notebooks.

nbval runs a cell that has neither execution count nor outputs without comparing anything, lets tags and comments
switch comparing off, and looks neither at PNGs nor at tracebacks. So `problems` reads the stored notebooks; and
nbval itself is tried on copies whose outputs were changed.
"""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
REFERENCES = sorted(NOTEBOOKS.glob("*.ipynb"))

# The one cell a notebook may have about the reader's own machine: notebook -> id of the cell tagged
# `nbval-ignore-output`. Its outputs are never compared, so each entry is a decision.
IGNORED_CELLS: dict[str, str] = {"00_start.ipynb": "your-machine"}

IGNORE = "nbval-ignore-output"
# All other ways to tell nbval to look away, as tags or as comments in the source.
FORBIDDEN_TAGS = {"nbval-skip", "nbval-raises-exception", "raises-exception", "pytest-validate-ignore-output"}
MARKER = re.compile(r"^\s*#\s*(NBVAL|PYTEST_VALIDATE)_\w+", re.MULTILINE)
# Where a program and its files live on one machine and not on another.
MACHINE_PATH = re.compile(r"/(?:home|Users|root|tmp|opt|var|work|mnt|srv)/\w|/usr/(?:local/)?lib|site-packages|\w:\\\\?Users")
NOT_COMPARED = {"image/png", "image/jpeg"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def problems(notebook, ignored_cell=None):
    """All that is wrong with a stored notebook of which only the cell with id `ignored_cell` may be ignored."""
    found = []
    if notebook["nbformat"] != 4 or notebook["nbformat_minor"] < 5:
        found.append("not nbformat 4.5")
    if "widgets" in notebook["metadata"]:
        found.append("stores widget state")
    if notebook["metadata"].get("language_info") != {"name": "python"}:
        found.append("tells more of its Python than the name: run make notebooks")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        found.append("was not run from top to bottom: run make notebooks")
    ids = [cell.get("id") for cell in notebook["cells"]]
    if len(set(ids)) != len(ids) or None in ids:
        found.append("has cells without an id of their own")
    ignoring = [cell.get("id") for cell in code if IGNORE in cell["metadata"].get("tags", [])]
    if ignoring != [ignored_cell] * (ignored_cell is not None):
        found.append(f"ignores the outputs of {ignoring}; listed is {ignored_cell}")
    for cell in code:
        found += [f"cell {cell.get('id')}: {problem}" for problem in cell_problems(cell)]
    return found


def cell_problems(cell):
    """All that is wrong with one code cell."""
    if not "".join(cell["source"]).strip():
        yield "is empty"
    if FORBIDDEN_TAGS & set(cell["metadata"].get("tags", [])) or MARKER.search("".join(cell["source"])):
        yield "tells nbval to look away"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if output["output_type"] == "error":
            yield "stores an error"
        if NOT_COMPARED & data.keys():
            yield "stores a picture that nbval does not compare"
        if WIDGET_VIEW in data:
            yield "stores the id of a widget"
        if MACHINE_PATH.search(json.dumps(output, ensure_ascii=False)):
            yield "shows a path of the machine that it ran on"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# --- The shipped notebooks


def test_the_workbook_has_its_first_notebook():
    assert (NOTEBOOKS / "00_start.ipynb").is_file()


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.name)
def test_a_stored_notebook_hides_nothing_from_nbval(path):
    assert problems(read(path), IGNORED_CELLS.get(path.name)) == []


def test_the_table_of_ignored_cells_names_only_notebooks_that_exist():
    assert set(IGNORED_CELLS) <= {path.name for path in REFERENCES}


def text_of_a_compared_output(notebook):
    """The first stored output that nbval compares, as (dictionary, key) of its text."""
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or IGNORE in cell["metadata"].get("tags", []):
            continue
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                return output, "text"
            for kind in ("text/html", "text/plain"):
                if kind in output.get("data", {}):
                    return output["data"], kind
    pytest.fail("the notebook has no output that nbval compares")


def change_one_word(notebook):
    output, key = text_of_a_compared_output(notebook)
    output[key] = [*output[key], "1025"]


def drop_the_outputs_of_one_cell(notebook):
    output, _ = text_of_a_compared_output(notebook)
    for cell in notebook["cells"]:
        if any(stored is output or stored.get("data") is output for stored in cell.get("outputs", [])):
            cell["outputs"] = []


@pytest.mark.parametrize("corrupt", [change_one_word, drop_the_outputs_of_one_cell])
def test_nbval_refuses_the_first_notebook_with_a_corrupted_output(corrupt, tmp_path, strict_nbval):
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    path = tmp_path / "notebooks" / "00_start.ipynb"
    notebook = read(path)
    corrupt(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    passed, report = strict_nbval(path)
    assert not passed
    assert "1 failed" in report
    assert "Cell outputs differ" in report


def test_nbval_accepts_an_untouched_copy_of_the_first_notebook(tmp_path, strict_nbval):
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    passed, report = strict_nbval(tmp_path / "notebooks" / "00_start.ipynb")
    assert passed, report
    assert "skipped" not in report


# --- The guards themselves, each on a notebook that it must refuse


def good():
    """A notebook that has nothing wrong with it."""
    result = {"output_type": "execute_result", "execution_count": 2, "metadata": {}}
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": ["# Title"]},
        {"cell_type": "code", "id": "a", "execution_count": 1, "metadata": {}, "source": ["print(11)"], "outputs": []},
        {"cell_type": "code", "id": "b", "execution_count": 2, "metadata": {"tags": ["x"]}, "source": ["1024"]},
    ]
    cells[1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["11\n"]}]
    cells[2]["outputs"] = [{**result, "data": {"text/plain": ["1024"]}}]
    return {"cells": cells, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}


def test_the_guards_accept_a_good_notebook():
    assert problems(good()) == []


def test_the_guards_accept_one_ignored_cell_that_is_listed():
    notebook = good()
    notebook["cells"][1]["metadata"] = {"tags": [IGNORE]}
    assert problems(notebook, "a") == []


def damaged(*keys, value):
    """A good notebook with the entry at `keys` set to `value`."""
    notebook = good()
    place = notebook
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = copy.deepcopy(value)
    return notebook


ERROR = {"output_type": "error", "ename": "KernelBug", "evalue": "", "traceback": []}
FOLDER = "/home" + "/someone/memlab"


@pytest.mark.parametrize(
    ("notebook", "said"),
    [
        (damaged("nbformat_minor", value=4), "not nbformat 4.5"),
        (damaged("metadata", "widgets", value={}), "widget state"),
        (
            damaged("metadata", "language_info", value={"name": "python", "version": "3.11.7"}),
            "tells more of its Python",
        ),
        (damaged("cells", 1, "execution_count", value=None), "top to bottom"),
        (damaged("cells", 2, "execution_count", value=3), "top to bottom"),
        (damaged("cells", 2, "id", value="a"), "id of their own"),
        (damaged("cells", 1, "metadata", value={"tags": [IGNORE]}), "ignores the outputs of ['a']; listed is None"),
        (damaged("cells", 1, "metadata", value={"tags": ["nbval-skip"]}), "look away"),
        (damaged("cells", 1, "metadata", value={"tags": ["raises-exception"]}), "look away"),
        (damaged("cells", 1, "source", value=["# NBVAL_IGNORE_OUTPUT\n", "print(11)"]), "look away"),
        (damaged("cells", 1, "source", value=["print(11)\n", "#NBVAL_SKIP"]), "look away"),
        (damaged("cells", 1, "source", value=["\n"]), "is empty"),
        (damaged("cells", 1, "outputs", value=[ERROR]), "stores an error"),
        (damaged("cells", 2, "outputs", 0, "data", "image/png", value="aGk="), "does not compare"),
        (damaged("cells", 2, "outputs", 0, "data", WIDGET_VIEW, value={"model_id": "1"}), "id of a widget"),
        (damaged("cells", 1, "outputs", 0, "text", value=[f"{FOLDER}\n"]), "path of the machine"),
        (damaged("cells", 1, "outputs", 0, "text", value=["lib/site-packages/x.py\n"]), "path of the machine"),
    ],
)
def test_the_guards_refuse(notebook, said):
    found = problems(notebook)
    assert len(found) == 1
    assert said in found[0]


def test_the_guards_refuse_a_second_ignored_cell_and_one_that_is_listed_but_absent():
    notebook = good()
    assert problems(notebook, "a") == ["ignores the outputs of []; listed is a"]
    notebook["cells"][1]["metadata"] = {"tags": [IGNORE]}
    notebook["cells"][2]["metadata"] = {"tags": [IGNORE]}
    assert problems(notebook, "a") == ["ignores the outputs of ['a', 'b']; listed is a"]
