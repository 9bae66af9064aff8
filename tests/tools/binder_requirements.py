"""Write binder/requirements.txt from requirements.lock; `make lock` runs this, and a test checks that they agree.

mybinder.org brings its own JupyterLab, so that and what it needs stay at the versions of Binder's image. The rest of
the `lab` extra, with all that only it needs, is pinned to the versions of the lock. Standard library only.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "binder" / "requirements.txt"
BROUGHT_BY_BINDER = "jupyterlab"

HEADER = """\
# What Binder installs on top of the JupyterLab that it brings: the versions of requirements.lock.
# Written by tests/tools/binder_requirements.py (`make lock` runs it); memlab itself is installed by postBuild.
"""


def requirements() -> str:
    """The text that binder/requirements.txt must have."""
    pins, parents = read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    direct = {re.match(r"[\w-]+", requirement).group() for requirement in extras["lab"]} - {BROUGHT_BY_BINDER}
    wanted = direct | (needed_by(direct, parents) - needed_by({BROUGHT_BY_BINDER}, parents))
    return HEADER + "".join(f"{pins[name]}\n" for name in sorted(wanted))


def read_lock(text: str) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Read uv's lock: name -> its line, and name -> the packages that asked for it (the `# via` comments)."""
    pins: dict[str, str] = {}
    parents: dict[str, set[str]] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"([\w-]+)==", line):
            name = match.group(1)
            pins[name] = line
            parents[name] = set()
        elif name and (match := re.match(r"    #\s+(?:via )?([\w-]+)", line)) and match.group(1) != "via":
            parents[name].add(match.group(1))
    return pins, parents


def needed_by(roots: set[str], parents: dict[str, set[str]]) -> set[str]:
    """All packages that `roots` ask for, directly or through others."""
    found: set[str] = set()
    while new := {name for name, asked_by in parents.items() if asked_by & (roots | found)} - found:
        found |= new
    return found


if __name__ == "__main__":
    TARGET.write_text(requirements(), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: written")
