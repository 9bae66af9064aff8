"""The Slab lab: a cache whose slabs you build, fill and empty, object by object, and see each list that an object is on.

Used by notebooks: ``slab_lab()``.  One declaration on the engine of session, action, lab and view.  Imports the core, figures and the engine.

The preset boots as the Buddy lab's does (its arena is the last third of memory), but with two CPUs, each with free descriptors at hand,
and with one cache.  A cell of the picture stands for a cache, a slab or an object; what is selected says which cache an action is about.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, Final

from ..figures import Picture
from ..figures import slab_lab as slab_lab_figure
from ..figures.picture import count
from ..figures.slab_state import Focus, Slab, allocated, cache_at, cpu_freelist, focus, live_objects, slab_freelist, slabs_of, word
from ..figures.slabs import PLACES
from ..kmem_cache import DescriptorCache, KmemCache, OwnedCache
from ..machine import Machine, Stats
from ..slub_debug import RED_ACTIVE, RED_INACTIVE
from ..slub_size import SLAB
from ..structs import HELD, NR_CACHES
from .action import Action, CellParam, ChoiceParam, Done, IntParam, Refused, TextParam
from .lab import Lab, Look
from .session import Session, Setup
from .steps import steps
from .view import LabView
from .yours import ask

FLAGS: Final = {
    "none": 0,
    "RED_ZONE": SLAB.RED_ZONE,
    "POISON": SLAB.POISON,
    "DEBUG": SLAB.DEBUG,
    "HWCACHE_ALIGN": SLAB.HWCACHE_ALIGN,
    "TYPESAFE_BY_RCU": SLAB.TYPESAFE_BY_RCU,
}
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
    given = {"name": name, "size": size, "align": align, "flags": flags, "pages": pages, "cpus": cpus}
    usual = signature(slab_machine).parameters
    call = ", ".join(f"{key}={value!r}" for key, value in given.items() if value != usual[key].default)
    m = slab_machine(**given)
    return Setup(m, range(2 * pages, 3 * pages), f"from memlab.labs import slab_machine\n\nm = slab_machine({call})")


# -- actions


def _create(session: Session, name: str, size: int, align: str, flags: str) -> Done:
    m = session.machine
    try:
        cache = m.kmem_cache_create(name, size, int(align), FLAGS[flags])
    except ValueError as error:
        raise Refused(f"{error}.") from None
    if cache is None:
        return Done(f"kmem_cache_create returned None: all {NR_CACHES} slots of the table of caches are taken.")
    view = cache.struct
    shape = f"order {view.order}, {count(view.objects, 'object')}, {count((m.page_size << view.order) - view.objects * view.size, 'byte')} unused"
    grown = "" if view.size == size else f", {view.size:,} in its slab"
    slot = next(slot for slot in range(NR_CACHES) if cache_at(m, slot).address == cache.address)
    return Done(f"Created the cache {name}: {count(size, 'byte')} an object{grown}; slabs of {shape}. It has no slab yet.", f"cache-{slot}")


def _create_code(_session: Session, name: str, size: int, align: str, flags: str) -> str:
    with_flags = f", flags=SLAB.{flags}" if flags != "none" else ""
    call = f"m.kmem_cache_create({name!r}, {size}{f', align={align}' if align != '0' else ''}{with_flags})"
    return f"from memlab import SLAB\n{call}" if with_flags else call


def _build(session: Session, cell: str) -> Done:
    m, before = session.machine, session.machine.stats
    cache = _cache(m, cell)
    address, recording = steps(m, cache.grow)
    if address is None:
        return Done(f"{cache.name} got no slab: {_no_memory(m, cache)}.", f"cache-{focus(m, cell).slot}")
    slab = _slab(m, focus(m, cell).slot, address)
    words = f"Built a slab of {cache.name}: {_pages(slab)}, {count(slab.objects, 'object')}, last on the partial list; {_grown(m, cache, before)}."
    return Done(words, f"slab-{slab.pfn}", recording)


def _allocate(session: Session, cell: str, cpu: str) -> Done:
    m, at, me = session.machine, focus(session.machine, cell), _cpu(cpu)
    cache, before, slabs = _cache(m, cell), m.stats, {s.address: s for s in slabs_of(m, at.slot)}
    old = next((s for s in slabs.values() if s.cpu == me), None)
    ready = bool(old and cpu_freelist(m, at.slot, old).objects)
    waiting = {s.address: len(slab_freelist(m, at.slot, s).objects) for s in slabs.values()}
    with m.on_cpu(me):
        obj = cache.alloc()
    if obj is None:
        return Done(f"kmem_cache_alloc({cache.name}) returned None: {_no_memory(m, cache)}.")
    slab, index = _find(m, at.slot, obj)
    if slab.address not in slabs:
        how = f"no object was free for {cpu}, so it built a slab of {_pages(slab)}, {count(slab.objects, 'object')}: {_grown(m, cache, before)}"
    elif cache.struct.flags & SLAB.DEBUG:
        how = f"the first object of the first partial slab, looked at and handed out{_marked(cache, RED_ACTIVE)}"
    elif ready:
        how = f"from {cpu}'s freelist, the fast path: 1 word written"
        if isinstance(cache, DescriptorCache):
            how += f", and the {cache.object_size // 8} of the descriptor, which is marked as held"
    elif slabs[slab.address].cpu == me:
        how = f"{cpu}'s freelist was empty, so it took over the {count(waiting[slab.address], 'object')} of its slab's own freelist"
    else:
        how = f"{cpu} had no free object, so the first slab of the partial list became its own, with {count(waiting[slab.address], 'free object')}"
    if old and not ready and slab.address != old.address:
        how += f"; its old slab at page {old.pfn} is full, and on no list from now on"
    return Done(f"Allocated object {index} of the slab at page {slab.pfn}: {how}.", f"object-{slab.pfn}-{index}")


def _free(session: Session, cell: str, cpu: str) -> Done:
    m, at, me = session.machine, focus(session.machine, cell), _cpu(cpu)
    cache, before = _cache(m, cell), m.stats
    slab = _slab(m, at.slot, at.slab)
    with m.on_cpu(me):
        cache.free(slab.object_at(at.object))
    d = m.stats - before
    what = f"Freed object {at.object} of the slab at page {slab.pfn}"
    now = next((s for s in slabs_of(m, at.slot) if s.address == at.slab and s.pfn == slab.pfn), None)
    if now is None:
        kept = f"{count(cache.struct.min_partial, 'slab')} or more are on the partial list"
        return Done(f"{what}: nothing in that is in use now, and {kept}, so the slab was given back; {_gone(d)}.", f"cache-{at.slot}")
    if slab.cpu == me:
        how = f"to the head of {cpu}'s freelist, the fast path: 2 words written"
    elif slab.cpu >= 0:
        how = f"to the slab's own freelist, since the slab is CPU {slab.cpu}'s and {cpu} frees; it goes on no other list"
    elif slab.place == "full":
        how = "to the slab's freelist; the slab was full and on no list, and is now last on the partial list"
    else:
        how = "to the slab's freelist; the slab stays where it is on the partial list"
    if now.place == "empty":
        how += f", with nothing in use: up to {count(cache.struct.min_partial, 'such slab')} are kept"
    return Done(f"{what}: {how}{_marked(cache, RED_INACTIVE)}.", cell)


def _can_free(session: Session, cell: str | None) -> str | None:
    m, at = session.machine, focus(session.machine, cell)
    if at.object < 0:
        return "Select an allocated object (a) in the picture first."
    slab = _slab(m, at.slot, at.slab)
    if at.object not in allocated(m, at.slot, slab):
        return f"Object {at.object} of the slab at page {slab.pfn} is free already; select an allocated one (a)."
    cache = _cache(m, cell)
    if cache.name in ("kmem_cache_buddy", "kmem_cache_slab") and not word(m, slab.object_at(at.object)) & HELD:
        return f"That object of {cache.name} describes pages; it goes when they go."
    return _can_use(session, cell)


def _can_use(session: Session, cell: str | None) -> str | None:
    cache = _cache(session.machine, cell)
    if isinstance(cache, OwnedCache):
        return f"Objects of {cache.name} come and go with their pages; choose another cache."
    return None


def _fill(session: Session, cell: str) -> Done:
    m, at, before = session.machine, focus(session.machine, cell), session.machine.stats
    cache, n = _cache(m, cell), _room(m, cell)
    objects = cache.alloc_bulk(n)
    if objects is None:
        return Done(f"kmem_cache_alloc_bulk({cache.name}, {n}) returned None: {_no_memory(m, cache)}.")
    slab, _ = _find(m, at.slot, objects[-1])
    built = f"; for that, it built the slab: {_grown(m, cache, before)}" if (m.stats - before).slabs_allocated else ""
    end = "full, and on no list" if slab.place == "full" else "full, but CPU 0's until that needs another object"
    return Done(f"Allocated {count(n, 'object')}: the slab at page {slab.pfn} is now {end}{built}.", f"slab-{slab.pfn}")


def _room(m: Machine, cell: str | None) -> int:
    """Return how many objects fill a slab: CPU 0's, else the first partial one, else a new one."""
    slot = focus(m, cell).slot
    debug = cache_at(m, slot).flags & SLAB.DEBUG
    for slab in slabs_of(m, slot):
        free = slab.objects - len(allocated(m, slot, slab))
        if free and (slab.cpu == 0 or (slab.cpu < 0 and slab.place in ("partial", "empty"))) and (slab.cpu < 0 or not debug):
            return free
    return int(cache_at(m, slot).objects)


def _free_all(session: Session, cell: str) -> Done:
    m, at, before = session.machine, focus(session.machine, cell), session.machine.stats
    cache = _cache(m, cell)
    objects = live_objects(m, cache.name)
    cache.free_bulk(objects)
    d, left = m.stats - before, slabs_of(m, at.slot)
    gone = (
        f"{count(d.slabs_freed, 'slab')} {'was' if d.slabs_freed == 1 else 'were'} given back; {_gone(d)}"
        if d.slabs_freed
        else "no slab was given back"
    )
    return Done(
        f"Freed all {count(len(objects), 'object')} of {cache.name}: {gone}; {count(len(left), 'slab')} {_stay(left)}.", f"cache-{at.slot}"
    )


def _can_free_all(session: Session, cell: str | None) -> str | None:
    cache = _cache(session.machine, cell)
    if cache.name in ("kmem_cache_buddy", "kmem_cache_slab"):
        return f"The objects of {cache.name} describe pages; they go when those go."
    if not live_objects(session.machine, cache.name):
        return f"No object of {cache.name} is in use."
    return _can_use(session, cell)


def _shrink(session: Session, cell: str) -> Done:
    m, at, before = session.machine, focus(session.machine, cell), session.machine.stats
    cache = _cache(m, cell)
    flushed = sum(s.cpu >= 0 for s in slabs_of(m, at.slot))
    gone = cache.shrink()
    left = slabs_of(m, at.slot)
    took = f"{count(flushed, 'slab')} taken from the CPUs, " if flushed else ""
    back = f"{count(gone, 'empty slab')} given back" + (f"; {_gone(m.stats - before)}" if gone else "")
    return Done(f"Shrank {cache.name}: {took}{back}; {count(len(left), 'slab')} {_stay(left)}.", f"cache-{at.slot}")


def _destroy(session: Session, cell: str) -> Done:
    m, before = session.machine, session.machine.stats
    cache = _cache(m, cell)
    name = cache.name
    cache.destroy()
    d = m.stats - before
    return Done(f"Destroyed the cache {name}: {count(d.slabs_freed, 'slab')} given back{f'; {_gone(d)}' if d.slabs_freed else ''}.")


def _can_destroy(session: Session, cell: str | None) -> str | None:
    m, cache = session.machine, _cache(session.machine, cell)
    if cache._ci in m.builtin:
        return f"{cache.name} is one of the machine's own caches."
    live = len(live_objects(m, cache.name))
    return f"{cache.name} has {count(live, 'object')} in use; free them first (Free all)." if live else None


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
    return (value, "") if isinstance(value, int) and not isinstance(value, bool) else (None, f"{value!r} is no whole number")


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
        ("Kept", f"up to {count(view.min_partial, 'empty slab')} for each node"),
    ]
    slab = next((s for s in slabs if s.address == at.slab), None)
    if slab is not None:
        on_cpu = len(cpu_freelist(m, at.slot, slab).objects)
        also = f", {on_cpu} of them free on CPU {slab.cpu}'s freelist" if slab.cpu >= 0 else ""
        found.append(("Slab", f"{_pages(slab)}, {PLACES[slab.place]}"))
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


def _cache(m: Machine, cell: str | None) -> KmemCache:
    return m.caches[cache_at(m, focus(m, cell).slot).name]


def _cpu(words: str) -> int:
    return int(words.removeprefix("CPU "))


def _slab(m: Machine, slot: int, address: int) -> Slab:
    return next(s for s in slabs_of(m, slot) if s.address == address)


def _find(m: Machine, slot: int, obj: int) -> tuple[Slab, int]:
    """Return the slab that an object is in, and its number there."""
    slab = next(s for s in slabs_of(m, slot) if (obj - m.B) >> m.PS in s.pages)
    return slab, (obj - slab.first) // slab.size


def _pages(slab: Slab) -> str:
    return f"page {slab.pfn}" if len(slab.pages) == 1 else f"pages {slab.pfn} to {slab.pages[-1]}"


def _grown(m: Machine, cache: KmemCache, before: Stats) -> str:
    """Say what a new slab cost."""
    d = m.stats - before
    taken = [] if cache.name == "kmem_cache_slab" else ["1 struct slab"]
    taken += [count(d.buddies_allocated, "descriptor")] if d.buddies_allocated else []
    took = f"took {' and '.join(taken)}" if taken else "took nothing, since its struct slab lies in its own first bytes"
    more = d.slabs_allocated - 1
    took += f", built {count(more, 'slab')} more to hold descriptors" if more else ""
    split = f", rewrote {count(d.words_split, 'mem_desc word')} in {count(d.splits, 'split')}" if d.splits else ""
    return took + split + (f", changed the type in {count(d.words_typed, 'mem_desc word')}" if d.words_typed else "")


def _gone(d: Stats) -> str:
    """Say what giving slabs back gave."""
    back = f"gave back {count(d.slabs_freed, 'struct slab')} and {count(d.buddies_freed, 'descriptor')}"
    return f"{back}, merged {count(d.merges, 'time')}, rewrote {count(d.words_merged, 'mem_desc word')}"


def _stay(slabs: list[Slab]) -> str:
    """Say where slabs are that stay."""
    places = [
        f"{n} {words}"
        for place, words in (("cpu", "of the CPUs"), ("partial", "partial"), ("empty", "empty"), ("full", "full"))
        if (n := sum(s.place == place for s in slabs))
    ]
    told = f" ({', '.join(places)})" if places else ""
    return ("stays" if len(slabs) == 1 else "stay") + told


def _marked(cache: KmemCache, red: int) -> str:
    """Say what debug flags wrote around and into an object."""
    flags, words = cache.struct.flags, []
    if flags & SLAB.RED_ZONE:
        words.append(f"red zones of {red:02x}")
    if flags & SLAB.POISON and red == RED_INACTIVE:
        words.append("poison")
    return f"; the object now has {' and '.join(words)}" if words else ""


def _no_memory(m: Machine, cache: KmemCache) -> str:
    least = cache.struct.min_order
    free = [order for counts in m.buddyinfo().values() for order, n in enumerate(counts) if n]
    return f"the largest free block has order {max(free)}, and a slab needs order {least}" if free else "no page is free"


_CELL: Final = CellParam(what="a cache, slab or object", needed=False)
_ON: Final = ChoiceParam("cpu", "On", choices=lambda session: [f"CPU {cpu}" for cpu in range(session.machine.config.cpus)])


def _cache_code(call: str) -> Any:
    """Return the code of an action that makes one call on the cache."""
    return lambda session, cell: f"m.caches[{_cache(session.machine, cell).name!r}].{call}"


def _on(cpu: str, line: str) -> str:
    return line if _cpu(cpu) == 0 else f"with m.on_cpu({_cpu(cpu)}):\n    {line}"


def _free_code(session: Session, cell: str, cpu: str) -> str:
    m, at = session.machine, focus(session.machine, cell)
    return _on(cpu, f"m.caches[{_cache(m, cell).name!r}].free({_slab(m, at.slot, at.slab).object_at(at.object):#x})")


def _free_all_code(session: Session, cell: str) -> str:
    name = _cache(session.machine, cell).name
    return f"from memlab.figures.slab_state import live_objects\nm.caches[{name!r}].free_bulk(live_objects(m, {name!r}))"


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
            run=_create,
            code=_create_code,
            params=(
                TextParam("name", "Name", 31, "of the new cache", "inode"),
                IntParam("size", "Size", 8, high=_largest, words=lambda _session, value: count(value, "byte"), default=600),
                ChoiceParam("align", "Alignment", _ALIGNMENTS),
                ChoiceParam("flags", "Flags", tuple(FLAGS)),
            ),
        ),
        Action("build", "Build slab", run=_build, code=_cache_code("grow()"), params=(_CELL,)),
        Action(
            "allocate",
            "Allocate",
            run=_allocate,
            code=lambda session, cell, cpu: _on(cpu, f"m.caches[{_cache(session.machine, cell).name!r}].alloc()"),
            params=(_CELL, _ON),
            enabled=_can_use,
        ),
        Action("free", "Free", run=_free, code=_free_code, params=(_CELL, _ON), enabled=_can_free),
        Action(
            "fill",
            "Fill a slab",
            run=_fill,
            code=lambda session, cell: _cache_code(f"alloc_bulk({_room(session.machine, cell)})")(session, cell),
            params=(_CELL,),
            enabled=_can_use,
        ),
        Action("free_all", "Free all", run=_free_all, code=_free_all_code, params=(_CELL,), enabled=_can_free_all),
        Action("shrink", "Shrink", run=_shrink, code=_cache_code("shrink()"), params=(_CELL,)),
        Action("destroy", "Destroy cache", run=_destroy, code=_cache_code("destroy()"), params=(_CELL,), enabled=_can_destroy),
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
