"""What a search found, in figures and in words.

Used by explore.py and whoever reads its results.  Imports steps for the type of a history.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .steps import History


class Deepest(NamedTuple):
    """The deepest chain of an operation: call frames, and a shortest sequence whose last step has it."""

    depth: int
    history: History


class Broken(NamedTuple):
    """A rule that broke.  ``kind``: "rule" (check() refuses RAM), "bug" (a call raised), "allocating free" or "failure"; and the shortest sequence."""

    kind: str
    words: str
    history: History

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules of check() that broke, without repetition; for another kind, just the kind."""
        if self.kind != "rule":
            return (self.kind,)
        return tuple(dict.fromkeys(line.partition(":")[0] for line in self.words.splitlines() if ":" in line))

    def sentence(self, rule: str = "") -> str:
        """Return the line that says how ``rule`` broke, or the first line if there is none of that rule."""
        lines = self.words.splitlines() if self.kind == "rule" else [f"{self.kind}: {self.words}"]
        return next((line for line in lines if line.startswith(f"{rule}:")), lines[0])

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}\n{self.history}"


@dataclass
class Report:
    """What a search covered and found.

    ``states``: distinct ones.  ``transitions``: operations tried.  ``level``: how many operations long the sequences are that were all tried.
    ``deepest``: (operation, interrupts) -> Deepest.  ``broken``: None, or the first rule that broke.  ``returned``: from how many states everything
    was freed and shrunk; ``lossy``: from how many of them pages stayed away, at most ``lost`` (``losing``: the sequence); ``losses``: how many pages
    stayed away -> the first sequence found after which that many did, a shortest one.
    ``complete``: every reachable state was tried.  ``stopped``: why not.
    """

    design: str
    interrupts: int
    states: int = 0
    transitions: int = 0
    seconds: float = 0.0
    level: int = 0
    deepest: dict[tuple[str, int], Deepest] = field(default_factory=dict)
    broken: Broken | None = None
    returned: int = 0
    lossy: int = 0
    losses: dict[int, History] = field(default_factory=dict)
    complete: bool = False
    stopped: str = ""

    @property
    def rate(self) -> float:
        """Transitions a second."""
        return self.transitions / self.seconds if self.seconds else 0.0

    @property
    def lost(self) -> int:
        """The most pages that stayed away."""
        return max(self.losses, default=0)

    @property
    def losing(self) -> History | None:
        """A shortest sequence after which that many stayed away, or None if they always came back."""
        return self.losses.get(self.lost)

    def depth(self, operation: str, interrupts: int | None = None) -> int:
        """Return the deepest chain of an operation: with just so many interrupts, or (None) with any number.  0 if it was not tried."""
        return max((d.depth for (name, n), d in self.deepest.items() if name == operation and interrupts in (None, n)), default=0)

    def progress(self) -> str:
        """Return one line about how far it is."""
        return f"{self.states:,} states, {self.transitions:,} transitions, all sequences of {self.level} operations tried"

    def __str__(self) -> str:
        end = "every reachable state" if self.complete else f"stopped {self.stopped}" if self.stopped else "stopped at a broken rule"
        lines = [
            f"{self.design}, up to {self.interrupts} interrupts in an operation: {self.progress()}; {end}",
            f"{self.rate:,.0f} transitions a second, each state surveyed",
        ]
        for (name, n), deepest in sorted(self.deepest.items()):
            lines.append(f"  {name}, {n} interrupts: {deepest.depth} frames at most, after {len(deepest.history)} steps")
        if self.returned:
            lines.append(
                f"everything freed and shrunk from {self.returned:,} states: from {self.lossy:,} not all pages came back, at most {self.lost} stayed away"
            )
        lines.append(f"broken: {self.broken}" if self.broken else "no rule broke; no free allocated; nothing leaked")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Report: {self.progress()}>"
