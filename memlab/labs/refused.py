"""Refused: what is raised when something that a learner asked for is not done.

Used by the labs and the lessons.  Imports nothing of memlab.
"""


class Refused(Exception):
    """Something was not done, and nothing was touched; the message is a sentence for the learner."""
