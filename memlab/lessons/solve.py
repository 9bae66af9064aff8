"""Solved notebooks, as text: each stub replaced by its reference answer and by the line that the answer gets.

Used by ``python -m memlab.lessons solve`` and by the tests, which have strict nbval judge the result.  Imports registry and model; runs nothing.

All other cells keep their source and their stored outputs, so a solved notebook passes only if no later cell depends on the learner's code.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .registry import LessonError, find_exercise, reference

_STUB = re.compile(r'@exercise\("([^"\n]+)"\)\n')


def solve(notebook: str) -> tuple[str, list[str]]:
    """Return the text of a notebook with its exercises solved, and their ids.

    LessonError with a sentence if it is no notebook, or one of its exercise cells is not what the registry says.
    """
    try:
        parsed = json.loads(notebook)
        cells = [cell for cell in parsed["cells"] if cell["cell_type"] == "code"]
        solved = [name for cell in cells if (name := _solve(cell)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LessonError(f"That is not a notebook: {error}.") from error
    return json.dumps(parsed, ensure_ascii=False, indent=1) + "\n", solved


def _solve(cell: dict[str, Any]) -> str | None:
    """Solve a code cell in place, and return the id of its exercise; None if it is another cell."""
    source = "".join(cell["source"])
    found = _STUB.match(source)
    if found is None:
        return None
    home, exercise = find_exercise(found[1])
    if source != exercise.cell():
        raise LessonError(f"The cell of exercise {exercise.id} is not the stub that the registry has:\n{exercise.cell()}")
    cell["source"] = exercise.cell(reference(home, exercise)).splitlines(keepends=True)
    said = [output for output in cell["outputs"] if output["output_type"] == "stream"]
    if len(said) != 1:
        raise LessonError(f"The cell of exercise {exercise.id} has {len(said)} stored outputs of text, and should have one: run it first.")
    said[0]["text"] = [f"{exercise.id}: correct\n"]
    return exercise.id
