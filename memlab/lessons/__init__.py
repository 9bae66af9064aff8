"""Lessons: exercises that are judged, predictions before each run, drills, and the progress of whoever does them.

``from memlab.lessons import begin, drill, exercise, predict`` in a notebook; ``python -m memlab.lessons`` for drills in a terminal.
Needs the extra "lab"; imports all of this folder.  A chapter is data, in a folder chNN (see model.py); nothing else knows one.
"""

from .cells import begin, drill, exercise, predict, progress
from .model import Chapter
from .registry import LessonError, chapter, chapters

__all__ = ["CHAPTERS", "LessonError", "begin", "chapter", "drill", "exercise", "predict", "progress"]

CHAPTERS: tuple[Chapter, ...]


def __getattr__(name: str) -> tuple[Chapter, ...]:
    """CHAPTERS, all chapters in order, are loaded when they are first asked for."""
    if name == "CHAPTERS":
        return chapters()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
