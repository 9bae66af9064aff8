"""The command line of the lessons: ``python -m memlab.lessons drill 02.buddy``, and more (--help).  Imports the rest of the package."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from . import overview, results
from .drill import MOST_SEED, after, grade
from .registry import LessonError, chapters, find_drill
from .solve import solve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m memlab.lessons", description="Drills in a terminal, and your progress.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("drill", help="answer questions until you have had enough; without a name, list the drills")
    command.add_argument("name", nargs="?", help="such as 02.buddy")
    command.add_argument("--seed", type=_seed, help="the number of the first question; as a default, any")
    command.set_defaults(run=lambda chosen: _drill(chosen.name, chosen.seed))
    command = commands.add_parser("progress", help="show what you have done")
    command.set_defaults(run=lambda _chosen: print(overview.as_text(results.read())))
    command = commands.add_parser("export", help="save your progress as a file, to take it elsewhere")
    command.add_argument("file", type=Path)
    command.set_defaults(run=lambda chosen: _export(chosen.file))
    command = commands.add_parser("import", help="bring in a file that export saved")
    command.add_argument("file", type=Path)
    command.set_defaults(
        run=lambda chosen: print(overview.brought(*results.bring_in(chosen.file.read_text(encoding="utf-8", errors="replace"))))
    )
    command = commands.add_parser("solve", help="write a copy of a notebook with its exercises solved")
    command.add_argument("notebook", type=Path)
    command.add_argument("out", type=Path)
    command.set_defaults(run=lambda chosen: _solve(chosen.notebook, chosen.out))
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except (LessonError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print()
    return 0


def _seed(words: str) -> int:
    if not words.isdecimal() or int(words) >= MOST_SEED:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to {MOST_SEED - 1}")
    return int(words)


def _drill(name: str | None, seed: int | None) -> None:
    if name is None:
        print("\n".join(f"{drill.id:16} {'★' * drill.level:4} {c.title}" for c in chapters() for drill in c.drills))
        return
    drill = find_drill(name)
    seed = secrets.randbelow(MOST_SEED) if seed is None else seed
    print("Enter alone goes on to the next question; Ctrl+D ends.")
    while True:
        question = drill.question(seed)
        print(f"\nQuestion {seed}: {question.text}")
        if question.picture is not None:
            print(f"(In the notebook there is a picture: {question.picture.label})")
        while reply := input("> ").strip():
            verdict = grade(drill, seed, reply)
            print(verdict.sentence)
            if verdict.ok:
                break
        seed = after(drill, seed)


def _export(file: Path) -> None:
    saved = results.export()
    if not saved:
        print("There is nothing to save yet.")
        return
    file.write_text(saved, encoding="utf-8", newline="\n")
    print(f"Saved {saved.count(chr(10))} results in {file}.")


def _solve(notebook: Path, out: Path) -> None:
    text, solved = solve(notebook.read_text(encoding="utf-8"))
    if out.exists() and out.samefile(notebook):
        raise LessonError("The solved notebook needs another name than the one it is made from.")
    out.write_text(text, encoding="utf-8", newline="\n")
    print(f"{out}: {len(solved)} exercises solved.")


if __name__ == "__main__":
    sys.exit(main())
