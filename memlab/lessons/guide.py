"""A missing name, and a check of the chapter that does not hold, explained in one sentence instead of a traceback.

Installed by begin().  Imports model; reads the chapter's reference notebook, if it is there.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import json
import linecache
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from ..labs.yours import learners
from .model import Chapter

_NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
_OTHERWISE = (
    "This cell checks what the text says, and here it is otherwise: a cell above was run twice, out of order or changed. "
    "To put it right, choose Run, then Run All Above Selected Cell; nothing further down depends on this check."
)


def install(chapter: Chapter) -> None:
    """Explain missing names and the chapter's own checks in this kernel's cells from now on; outside a notebook, do nothing."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    names, checks = made_by(_NOTEBOOKS / chapter.notebook), checks_of(_NOTEBOOKS / chapter.notebook)

    def explain(shell: Any, kind: type, error: Exception, tb: TracebackType, tb_offset: int | None = None) -> None:
        if isinstance(error, AssertionError) and _line(tb) in checks:
            print(_OTHERWISE)
        elif isinstance(error, NameError) and not isinstance(error, UnboundLocalError) and _in_a_cell(tb):
            print(sentence(error.name or "", names, set(shell.user_ns)))
        else:
            shell.showtraceback((kind, error, tb), tb_offset=tb_offset)

    shell.set_custom_exc((NameError, AssertionError), explain)


def sentence(name: str, names: dict[str, str], known: set[str]) -> str:
    """Return what to do about a missing name.  ``names``: what made_by returned; ``known``: the names that there are."""
    if name in names:
        line = names[name]
        return f"{name} is not there yet: it comes from the cell with the line `{line}`. Run the cells from the first down to that one, then this one again."
    close = difflib.get_close_matches(name, known | names.keys() | set(dir(builtins)), 1, 0.75)
    if close:
        return f"There is no name {name}: is {close[0]} meant?"
    return f"There is no name {name}: it may be misspelt, or the cell that makes it has not been run."


def made_by(notebook: Path) -> dict[str, str]:
    """Return {name: the first line that makes it} of the names that a notebook's cells make; empty if there is no such notebook."""
    found: dict[str, str] = {}
    for source in _sources(notebook):
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a magic, say
            continue
        for statement in body:
            line = source.splitlines()[statement.lineno - 1]
            for name in _bound(statement):
                found.setdefault(name, line)
    return found


def checks_of(notebook: Path) -> set[str]:
    """Return the lines with an assert in a notebook's cells; none if there is no such notebook."""
    lines = (line.strip() for source in _sources(notebook) for line in source.splitlines())
    return {line for line in lines if line.startswith("assert ")}


def _sources(notebook: Path) -> list[str]:
    """Return the code cells of a notebook; none if there is no such notebook."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return []
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _bound(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a cell makes."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _in_a_cell(tb: TracebackType) -> bool:
    """Say whether the innermost call is the learner's own code, and not memlab's or a library's."""
    return learners(_innermost(tb).tb_frame.f_code)


def _line(tb: TracebackType) -> str:
    """Return the line that raised."""
    last = _innermost(tb)
    return linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno).strip()


def _innermost(tb: TracebackType) -> TracebackType:
    while tb.tb_next is not None:
        tb = tb.tb_next
    return tb
