"""Chapter 06, A slab and its buddy.  Loaded by the registry of memlab.lessons."""

from ..model import Chapter
from .drills import DRILLS
from .exercises import EXERCISES
from .predictions import PREDICTIONS

CHAPTER = Chapter(
    number="06",
    title="A slab and its buddy",
    notebook="06_slab_and_buddy.ipynb",
    minutes=35,
    exercises=EXERCISES,
    predictions=PREDICTIONS,
    drills=DRILLS,
)
