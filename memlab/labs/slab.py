"""The Slab lab: a cache whose slabs you build, fill and empty, object by object, and see each list that an object is on.

Used by notebooks: ``slab_lab()``.  One declaration on the engine of session, action, lab and view; what its actions do is in slab_actions.py.
Imports that, the core, figures and the engine.

The preset boots as the Buddy lab's does (its arena is the last third of memory), but with two CPUs, each with free descriptors at hand,
and with one cache.  A cell of the picture stands for a cache, a slab or an object; what is selected says which cache an action is about.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, Final

from ..figures.picture import Picture, count
from ..figures.slab_lab import slab_lab as slab_lab_figure
from ..figures.slab_state import Focus, Slab, allocated, cache_at, cpu_freelist, focus, slab_freelist, slabs_of, word
from ..figures.slabs import PLACES
from ..machine import Machine
from . import slab_actions
from .action import Action, CellParam, ChoiceParam, IntParam, TextParam
from .lab import Lab, Look
from .session import Session, Setup
from .slab_actions import FLAGS
from .view import LabView
from .yours import ask, short

_ALIGNMENTS: Final = ("0", "16", "32", "64", "128", "256", "512", "1024", "4096")
_LARGEST: Final = 32768  # bytes of an object
_PAGES: Final = 64


def slab_lab(machine: Machine | None = None, yours: dict[str, Any] | None = None, **setup: Any) -> LabView:
    """Open a Slab lab on a machine of your own, or on a fresh one that slab_machine boots with the arguments in ``setup``.

    ``yours``: functions of your own by name, compared with the real ones in the table of orders: ``objects_per_slab(size, order, page_size)`` and
    ``calculate_order(size, nr_cpus)``.  TypeError or ValueError for a bad argument.
    """
    if machine is not None and (setup or not isinstance(machine, Machine)):
        raise TypeError(f"slab_lab takes a Machine, or what slab_machine takes for a fresh one, not {machine!r} and {setup!r}")
    if machine is not None:
        return LabView(SLAB_LAB, Session.of(machine), yours=yours)
    fresh = SLAB_LAB.setup(**setup)
    return LabView(SLAB_LAB, Session.of(fresh.machine, fresh), yours=yours)


def slab_machine(name: str = "dentry", size: int = 192, align: int = 0, flags: str = "none", pages: int = _PAGES, cpus: int = 2) -> Machine:
    """Boot the machine of the Slab lab: one cache, one free block of ``pages`` pages, and free descriptors at hand on each CPU.

    ``name``, ``size``, ``align``: of the cache, as for kmem_cache_create; ``flags``: one of FLAGS.  ``pages``: a power of two from 16 to 65,536.
    ValueError or TypeError for a bad argument.
    """
    if not isinstance(pages, int) or isinstance(pages, bool):
        raise TypeError(f"pages is a whole number, not {pages!r}")
    if not 16 <= pages <= 65536 or pages & (pages - 1):
        raise ValueError(f"pages is a power of two from 16 to 65,536, not {pages}")
    if not isinstance(flags, str) or flags not in FLAGS:
        raise ValueError(f"flags is one of {', '.join(FLAGS)}, not {flags!r}")
    m = Machine(3 * pages * 4096, max_order=pages.bit_length() - 1, cpus=cpus, watermarks=None, design="bounded")
    for cpu in range(1, cpus):
        with m.on_cpu(cpu):
            for descriptors in (m.caches["kmem_cache_slab"], m.caches["kmem_cache_buddy"]):
                taken = descriptors.alloc()
                if taken is not None:
                    descriptors.free(taken)
    for order, blocks in enumerate(m.buddyinfo()[0, "Normal"][:-1]):
        for _ in range(blocks):
            m.alloc_pages(order)
    m.kmem_cache_create(name, size, align, FLAGS[flags])
    return m


def _setup(name: str = "dentry", size: int = 192, align: int = 0, flags: str = "none", pages: int = _PAGES, cpus: int = 2) -> Setup:
    given: dict[str, Any] = {"name": name, "size": size, "align": align, "flags": flags, "pages": pages, "cpus": cpus}
    usual = signature(slab_machine).parameters
    call = ", ".join(f"{key}={value!r}" for key, value in given.items() if value != usual[key].default)
    m = slab_machine(**given)
    return Setup(m, range(2 * pages, 3 * pages), f"from memlab.labs import slab_machine\n\nm = slab_machine({call})")


# -- the picture and its words


def _figure(m: Machine, look: Look) -> Picture:
    size = cache_at(m, focus(m, look.cell).slot).size
    objects, order = look.yours.get("objects_per_slab"), look.yours.get("calculate_order")
    yours = None if objects is None else lambda k: _answer(objects, size, k, m.page_size)
    return slab_lab_figure(m, look.cell, look.hexadecimal, yours, None if order is None else _answer(order, size, m.config.cpus))


def _answer(function: Any, *args: int) -> tuple[int | None, str]:
    """Return what a learner's function answers, if that is a whole number, and what is wrong if not."""
    value, sentence = ask(function, *args)
    if sentence is not None:
        return None, sentence
    if not isinstance(value, int) or isinstance(value, bool):
        return None, f"{short(value)} is no whole number"
    return (value, "") if abs(value) < 1 << 64 else (None, f"{short(value)} is no answer to that")


def _details(m: Machine, look: Look) -> list[tuple[str, str]]:
    """Return what is to be known of the chosen cache, and of the selected slab and object, as (name, words)."""
    at = focus(m, look.cell)
    view, slabs = cache_at(m, at.slot), slabs_of(m, at.slot)
    live = sum(len(allocated(m, at.slot, s)) for s in slabs)
    held = sum(len(s.pages) for s in slabs) * m.page_size
    flags = [name for name, bits in FLAGS.items() if bits and view.flags & bits == bits]
    if "DEBUG" in flags:
        flags = [name for name in flags if name not in ("RED_ZONE", "POISON")]
    found = [
        ("Cache", f"{view.name}: {count(view.object_size, 'byte')} an object, {view.size:,} in its slab, aligned to {view.align}"),
        ("Flags", " | ".join(flags) or "none"),
        ("Its slabs", f"order {view.order}, {count(view.objects, 'object')}; order {view.min_order} when memory is short"),
        (
            "In use",
            f"{live:,} of {count(sum(s.objects for s in slabs), 'object')}: {live * view.object_size:,} of {count(held, 'byte')} taken",
        ),
        ("Empty slabs", f"kept while the partial list has fewer than {count(view.min_partial, 'slab')}"),
    ]
    slab = next((s for s in slabs if s.address == at.slab), None)
    if slab is not None:
        on_cpu = len(cpu_freelist(m, at.slot, slab).objects)
        also = f", {on_cpu} of them free on CPU {slab.cpu}'s freelist" if slab.cpu >= 0 else ""
        found.append(("Slab", f"{slab_actions.pages(slab)}, {PLACES[slab.place]}"))
        found.append(("inuse", f"{slab.inuse} of {count(slab.objects, 'object')}{also}"))
        if 0 <= at.object < slab.objects:
            found += _object_details(m, at, slab)
    return found


def _object_details(m: Machine, at: Focus, slab: Slab) -> list[tuple[str, str]]:
    address, offset = slab.object_at(at.object), cache_at(m, at.slot).offset
    found = [("Object", f"{at.object}, at {address:#x}")]
    for chain, name in (
        (slab_freelist(m, at.slot, slab), "its slab's freelist"),
        (cpu_freelist(m, at.slot, slab), f"CPU {slab.cpu}'s freelist"),
    ):
        if at.object in chain.objects:
            value = word(m, address + offset)
            leads = f"{value:#x}, object {(value - slab.first) // slab.size}" if value else "NULL"
            return [*found, ("State", f"free, on {name}"), ("Next", f"the word at byte {offset} of the object: {leads}")]
    return [*found, ("State", "allocated")]


_CELL: Final = CellParam(what="a cache, slab or object", needed=False)
_ON: Final = ChoiceParam("cpu", "On", choices=lambda session: [f"CPU {cpu}" for cpu in range(session.machine.config.cpus)])


def _largest(session: Session) -> int:
    m = session.machine
    return min(_LARGEST, m.page_size << m.max_order)


SLAB_LAB = Lab(
    name="slab",
    title="Slab lab",
    preset=_setup,
    actions=(
        Action(
            "create",
            "Create cache",
            run=slab_actions.create,
            code=slab_actions.create_code,
            params=(
                TextParam("name", "Name", 31, "of the new cache", "inode"),
                IntParam("size", "Size", 8, high=_largest, words=lambda _session, value: count(value, "byte"), default=600),
                ChoiceParam("align", "Alignment", _ALIGNMENTS),
                ChoiceParam("flags", "Flags", tuple(FLAGS)),
            ),
        ),
        Action("build", "Build slab", run=slab_actions.build, code=slab_actions.cache_code("grow()"), params=(_CELL,)),
        Action(
            "allocate",
            "Allocate",
            run=slab_actions.allocate,
            code=lambda session, cell, cpu: slab_actions.on(
                cpu, f"m.caches[{slab_actions.cache_of(session.machine, cell).name!r}].alloc()"
            ),
            params=(_CELL, _ON),
            enabled=slab_actions.can_use,
        ),
        Action("free", "Free", run=slab_actions.free, code=slab_actions.free_code, params=(_CELL, _ON), enabled=slab_actions.can_free),
        Action(
            "fill",
            "Fill a slab",
            run=slab_actions.fill,
            code=lambda session, cell: slab_actions.cache_code(f"alloc_bulk({slab_actions.room(session.machine, cell)})")(session, cell),
            params=(_CELL,),
            enabled=slab_actions.can_use,
        ),
        Action(
            "free_all",
            "Free all",
            run=slab_actions.free_all,
            code=slab_actions.free_all_code,
            params=(_CELL,),
            enabled=slab_actions.can_free_all,
        ),
        Action("shrink", "Shrink", run=slab_actions.shrink, code=slab_actions.cache_code("shrink()"), params=(_CELL,)),
        Action(
            "destroy",
            "Destroy cache",
            run=slab_actions.destroy,
            code=slab_actions.cache_code("destroy()"),
            params=(_CELL,),
            enabled=slab_actions.can_destroy,
        ),
    ),
    figure=_figure,
    details=_details,
    demo=(
        ("build", {"cell": ""}),
        ("allocate", {"cell": "", "cpu": "CPU 0"}),
        ("fill", {"cell": ""}),
        ("free", {"cell": f"object-{2 * _PAGES}-3", "cpu": "CPU 0"}),
        ("free", {"cell": f"object-{2 * _PAGES}-7", "cpu": "CPU 1"}),
    ),
    yours=("objects_per_slab", "calculate_order"),
)
