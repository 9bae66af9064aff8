"""Chapter 10, Does it work?.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="10",
    title="Does it work?",
    notebook="10_does_it_work.ipynb",
    minutes=40,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
