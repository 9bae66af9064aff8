"""Chapter 11, What it costs.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="11",
    title="What it costs",
    notebook="11_costs.ipynb",
    minutes=35,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
