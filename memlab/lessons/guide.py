"""A missing name explained: which cell of the chapter makes it, in one sentence instead of a traceback.

Installed by begin().  Imports model; reads the chapter's reference notebook, if it is there.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from ..labs.yours import learners
from .model import Chapter

_NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def install(chapter: Chapter) -> None:
    """Explain the NameErrors of this kernel's cells from now on; outside a notebook, do nothing."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    names = made_by(_NOTEBOOKS / chapter.notebook)

    def explain(shell: Any, kind: type, error: NameError, tb: TracebackType, tb_offset: int | None = None) -> None:
        if isinstance(error, UnboundLocalError) or not _in_a_cell(tb):
            shell.showtraceback((kind, error, tb), tb_offset=tb_offset)
        else:
            print(sentence(error.name or "", names, set(shell.user_ns)))

    shell.set_custom_exc((NameError,), explain)


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
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return {}
    found: dict[str, str] = {}
    for cell in cells:
        source = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a magic, say
            continue
        for statement in body:
            line = source.splitlines()[statement.lineno - 1]
            for name in _bound(statement):
                found.setdefault(name, line)
    return found


def _bound(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a cell makes."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _in_a_cell(tb: TracebackType) -> bool:
    """Say whether the innermost call is the learner's own code, and not memlab's or a library's."""
    while tb.tb_next is not None:
        tb = tb.tb_next
    return learners(tb.tb_frame.f_code)
