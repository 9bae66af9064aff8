"""Explore: breadth-first search over all sequences of operations on a tiny machine, with an interrupt possible at every trace point.

``Search(design="bounded", interrupts=1).run(states=100_000)``, or ``python -m memlab.study.explore``.  Used by FINDINGS.md, the tests, the bug zoo, the
Nesting lab and chapter 10.  Standard library only; imports the core and consumers.

    search.py     the search            steps.py      what it may do in a state, and sequences of it that can be run again
    report.py     what it found         survey.py     whether a state is in order, and its canonical form
    workers.py    several processes     __main__.py   the command line
"""

from .report import Broken, Deepest, Report
from .search import Search
from .steps import DEFAULT, EVERYTHING, HANDLERS, OPERATIONS, TINY, History, Setup, Step, tight
from .survey import Survey

__all__ = [
    "DEFAULT",
    "EVERYTHING",
    "HANDLERS",
    "OPERATIONS",
    "TINY",
    "Broken",
    "Deepest",
    "History",
    "Report",
    "Search",
    "Setup",
    "Step",
    "Survey",
    "tight",
]
