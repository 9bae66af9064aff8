"""Compute the figures of FINDINGS.md again and write them into it.

Used by ``make findings``; what it writes is part of the review.  A block of the record begins with the command that prints it.
"""

import re
import sys
from pathlib import Path

from memlab.study.findings import SECTIONS, block

RECORD = Path(__file__).resolve().parents[2] / "FINDINGS.md"
BLOCK = re.compile(r"(?<=```text\n)# python -m memlab\.study\.findings (\S+)\n.*?(?=\n?```)", re.DOTALL)


def blocks(text):
    """Return {name of the section: its block} of a record."""
    return {found[1]: found[0].rstrip("\n") for found in BLOCK.finditer(text)}


def main(names):
    text = RECORD.read_text(encoding="utf-8")
    for name in names or SECTIONS:
        print(name, flush=True)
        new = block(name)
        text = BLOCK.sub(lambda found, name=name, new=new: f"{new}\n" if found[1] == name else found[0], text)
        RECORD.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
