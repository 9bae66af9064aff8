"""The learner's copies of the notebooks: `python -m memlab.workbook`.

`notebooks/` holds the executed references, whose stored outputs would give every prediction away. So the learner
works in `my/`: the same notebooks with the outputs cleared, and the pictures that they show. `make lab`, Binder and
the tests call this. A copy that exists is never overwritten; a fresh one keeps the old under another name.

    python -m memlab.workbook                      copy what is missing
    python -m memlab.workbook --fresh 00_start     start this notebook again; yours becomes my/00_start.old-1.ipynb

Standard library only, and nothing else of memlab.
"""

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the repository: memlab is installed from it, in place


class WorkbookError(Exception):
    """Something is wrong with the notebooks; the message is a sentence for the learner."""


def make_copies(root: Path = ROOT) -> str:
    """Make in `root`/my each copy that is missing, and say in one line what was done.

    Raises WorkbookError when `root`/notebooks holds no notebook, or one that is not a notebook.
    """
    made, kept = [], []
    for reference in references(root):
        copy = root / "my" / reference.name
        if copy.exists():
            kept.append(copy.stem)
        else:
            write_new(copy, clear(reference))
            made.append(copy.stem)
    copy_pictures(root)
    parts = [f"{what} {', '.join(names)}" for what, names in (("made", made), ("kept your", kept)) if names]
    return f"my/: {'; '.join(parts)}"


def fresh_copy(name: str, root: Path = ROOT) -> str:
    """Make a new copy of notebook `name` (with or without .ipynb), keep the old one, and say so in one line.

    Raises WorkbookError when there is no such notebook.
    """
    known = {reference.stem: reference for reference in references(root)}
    stem = name.removesuffix(".ipynb")
    if stem not in known:
        raise WorkbookError(f"There is no notebook {name!r}. There is: {', '.join(known)}.")
    copy = root / "my" / f"{stem}.ipynb"
    cleared = clear(known[stem])  # first, so that a bad reference leaves the learner's copy in its place
    old = None
    if copy.exists():
        old = next(path for n in itertools.count(1) if not (path := copy.with_name(f"{stem}.old-{n}.ipynb")).exists())
        copy.rename(old)
    write_new(copy, cleared)
    copy_pictures(root)
    return f"my/: made {stem} afresh" + (f"; yours is now {old.stem}" if old else "")


def references(root: Path) -> list[Path]:
    """The notebooks of the workbook, in order."""
    found = sorted((root / "notebooks").glob("*.ipynb"))
    if not found:
        raise WorkbookError(f"There are no notebooks in {root / 'notebooks'}: is this the whole of memlab?")
    return found


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist, and the folder for it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def clear(reference: Path) -> str:
    """The text of a notebook without outputs, execution counts and widget state."""
    try:
        notebook = json.loads(reference.read_text(encoding="utf-8"))
        notebook["metadata"].pop("widgets", None)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["execution_count"] = None
                cell["outputs"] = []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkbookError(f"{reference.name} is damaged: it cannot be read as a notebook ({error}).") from error
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def copy_pictures(root: Path) -> None:
    """Bring the pictures that the notebooks show beside the copies; they are not the learner's work, so renew them."""
    pictures = root / "notebooks" / "images"
    if pictures.is_dir():
        shutil.copytree(pictures, root / "my" / "images", dirs_exist_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m memlab.workbook", description="Make your copies of the notebooks.")
    parser.add_argument("--fresh", metavar="NAME", help="start this notebook again; the old copy gets another name")
    name = parser.parse_args(arguments).fresh
    try:
        print(make_copies() if name is None else fresh_copy(name))
    except (WorkbookError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
