"""Real Linux kernels, for comparison with the simulated one: what they report under /proc.

Used by notebooks and tests: ``from memlab.linux import read_buddyinfo, buddyinfo_table``. Standard
library only, and never an import of the simulator: a file is read without booting a machine.
"""

from memlab.linux.proc import (
    BuddyInfo,
    SlabCache,
    SlabInfo,
    buddyinfo_table,
    parse_buddyinfo,
    parse_slabinfo,
    read_buddyinfo,
    read_slabinfo,
    slabinfo_table,
)

__all__ = [
    "BuddyInfo",
    "SlabCache",
    "SlabInfo",
    "buddyinfo_table",
    "parse_buddyinfo",
    "parse_slabinfo",
    "read_buddyinfo",
    "read_slabinfo",
    "slabinfo_table",
]
