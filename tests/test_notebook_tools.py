"""`make notebooks`: the references that it makes are the same in every run, and strict nbval accepts them."""

import json

import pytest
from execute_notebooks import main

PRINTS = "import sys\nprint('eleven')\nprint('warned', file=sys.stderr)\nprint('descriptors')"
SEMICOLON = "6 * 7;"  # hidden in JupyterLab, but not from nbval
WIDGET = "from ipywidgets import HTML\nstate = HTML('<b>before</b>')\nstate"
OBSERVED = "state.value = '<b>after</b>'\nstate"
CAPTURED = "from ipywidgets import Output\nwith Output():\n    print('not captured')"
WHERE = "from pathlib import Path\nPath('beside.txt').read_text()"


@pytest.fixture
def notebook(tmp_path, write_notebook):
    (tmp_path / "beside.txt").write_text("read")
    return write_notebook(tmp_path / "small.ipynb", PRINTS, SEMICOLON, WIDGET, OBSERVED, CAPTURED, WHERE)


def outputs(path):
    return [cell["outputs"] for cell in json.loads(path.read_text())["cells"]]


def test_what_it_stores_passes_strict_nbval_and_a_second_run_changes_no_byte(notebook, strict_nbval):
    assert main([str(notebook)]) == 0
    first = notebook.read_bytes()
    passed, report = strict_nbval(notebook)
    assert passed, report
    assert main([str(notebook)]) == 0
    assert notebook.read_bytes() == first


def test_outputs_are_stored_as_nbval_sees_them_and_without_widget_ids(notebook):
    main([str(notebook)])
    prints, semicolon, widget, observed, captured, where = outputs(notebook)
    assert {output["name"]: "".join(output["text"]) for output in prints} == {
        "stdout": "eleven\ndescriptors\n",
        "stderr": "warned\n",
    }
    assert semicolon[0]["data"] == {"text/plain": ["42"]}
    assert widget[0]["data"] == {"text/plain": ["HTML(value='<b>before</b>')"]}
    assert observed[0]["data"] == {"text/plain": ["HTML(value='<b>after</b>')"]}
    assert captured[0]["text"] == ["not captured\n"]
    assert where[0]["data"] == {"text/plain": ["'read'"]}


def test_metadata_says_nothing_about_the_machine_and_the_run(notebook):
    main([str(notebook)])
    stored = json.loads(notebook.read_text())
    assert stored["metadata"]["language_info"] == {"name": "python"}
    assert set(stored["metadata"]) == {"kernelspec", "language_info"}
    assert [cell["metadata"] for cell in stored["cells"]] == [{}] * 6
    assert [cell["execution_count"] for cell in stored["cells"]] == [1, 2, 3, 4, 5, 6]


def test_ids_stay_and_missing_ones_do_not_depend_on_the_run(notebook):
    text = json.loads(notebook.read_text())
    del text["cells"][1]["id"]
    ids = []
    for _ in range(2):
        notebook.write_text(json.dumps(text))
        main([str(notebook)])
        ids.append([cell["id"] for cell in json.loads(notebook.read_text())["cells"]])
    assert ids[0] == ids[1]
    assert ids[0][0] == "cell-0"
    assert len(set(ids[0])) == 6


def test_a_notebook_that_raises_is_left_as_it_was(tmp_path, write_notebook, capsys):
    bad = write_notebook(tmp_path / "bad.ipynb", "print('fine')", "raise ValueError('no page left')")
    good = write_notebook(tmp_path / "good.ipynb", "1 + 1")
    before = bad.read_bytes()
    assert main([str(bad), str(good)]) == 1
    assert bad.read_bytes() == before
    assert outputs(good) != [[]]
    assert "no page left" in capsys.readouterr().err


def test_no_notebook_at_all_is_an_error():
    assert main([]) == 2
