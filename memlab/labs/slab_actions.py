"""What the actions of the Slab lab do and say, when they can be done, and the code that does the same.

Used by slab.py, which declares the lab.  Imports the core, figures' reading of RAM, steps and the engine's action and session; never widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..figures.picture import count
from ..figures.slab_state import Slab, allocated, cache_at, cpu_freelist, focus, live_objects, slab_freelist, slabs_of, word
from ..kmem_cache import DescriptorCache, KmemCache, OwnedCache
from ..machine import Machine, Stats
from ..slub_debug import RED_ACTIVE, RED_INACTIVE
from ..slub_size import SLAB
from ..structs import HELD, NR_CACHES
from .action import Done
from .refused import Refused
from .session import Session
from .steps import steps

FLAGS: Final = {
    "none": 0,
    "RED_ZONE": SLAB.RED_ZONE,
    "POISON": SLAB.POISON,
    "DEBUG": SLAB.DEBUG,
    "HWCACHE_ALIGN": SLAB.HWCACHE_ALIGN,
    "TYPESAFE_BY_RCU": SLAB.TYPESAFE_BY_RCU,
}


def create(session: Session, name: str, size: int, align: str, flags: str) -> Done:
    """Create a cache; Refused for what kmem_cache_create does not take."""
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


def create_code(_session: Session, name: str, size: int, align: str, flags: str) -> str:
    """Return the code of create."""
    with_flags = f", flags=SLAB.{flags}" if flags != "none" else ""
    call = f"m.kmem_cache_create({name!r}, {size}{f', align={align}' if align != '0' else ''}{with_flags})"
    return f"from memlab import SLAB\n{call}" if with_flags else call


def build(session: Session, cell: str) -> Done:
    """Give the cache one more slab, recorded step by step."""
    m, before = session.machine, session.machine.stats
    cache = cache_of(m, cell)
    address, recording = steps(m, cache.grow)
    if address is None:
        return Done(f"{cache.name} got no slab: {_no_memory(m, cache)}.", f"cache-{focus(m, cell).slot}", recording)
    slab = _slab(m, focus(m, cell).slot, address)
    words = f"Built a slab of {cache.name}: {pages(slab)}, {count(slab.objects, 'object')}, last on the partial list; {_grown(cache, m.stats - before, 1)}."
    return Done(words, f"slab-{slab.pfn}", recording)


def allocate(session: Session, cell: str, cpu: str) -> Done:
    """Allocate an object on a CPU, and say where it came from."""
    m, at, me = session.machine, focus(session.machine, cell), _cpu(cpu)
    cache, before, slabs = cache_of(m, cell), m.stats, {s.address: s for s in slabs_of(m, at.slot)}
    old = next((s for s in slabs.values() if s.cpu == me), None)
    ready = bool(old and cpu_freelist(m, at.slot, old).objects)
    waiting = {s.address: len(slab_freelist(m, at.slot, s).objects) for s in slabs.values()}
    with m.on_cpu(me):
        obj = cache.alloc()
    if obj is None:
        return Done(f"kmem_cache_alloc({cache.name}) returned None: {_no_memory(m, cache)}.")
    slab, index = _find(m, at.slot, obj)
    if slab.address not in slabs:
        cost = _grown(cache, m.stats - before, 1)
        how = f"no object was free for {cpu}, so it built a slab of {pages(slab)}, {count(slab.objects, 'object')}: {cost}"
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


def free(session: Session, cell: str, cpu: str) -> Done:
    """Free an object on a CPU, and say where it went."""
    m, at, me = session.machine, focus(session.machine, cell), _cpu(cpu)
    cache, before = cache_of(m, cell), m.stats
    slab = _slab(m, at.slot, at.slab)
    with m.on_cpu(me):
        cache.free(slab.object_at(at.object))
    d = m.stats - before
    what = f"Freed object {at.object} of the slab at page {slab.pfn}"
    now = next((s for s in slabs_of(m, at.slot) if s.address == at.slab and s.pfn == slab.pfn), None)
    if now is None:
        kept = f"the partial list had {count(cache.struct.min_partial, 'slab')} or more"
        return Done(
            f"{what}: nothing in that is in use now, and {kept}, so the slab was given back{_gone(cache.name, d, 1)}.", f"cache-{at.slot}"
        )
    if slab.cpu == me:
        how = f"to the head of {cpu}'s freelist, the fast path: 2 words written"
    elif slab.cpu >= 0:
        how = f"to the slab's own freelist, since the slab is CPU {slab.cpu}'s and {cpu} frees; it goes on no other list"
    elif slab.place == "full":
        how = "to the slab's freelist; the slab was full and on no list, and is now last on the partial list"
    else:
        how = "to the slab's freelist; the slab stays where it is on the partial list"
    if now.place == "empty":
        how += f", with nothing in use, and is kept: the list has fewer than {count(cache.struct.min_partial, 'slab')}"
    return Done(f"{what}: {how}{_marked(cache, RED_INACTIVE)}.", cell)


def can_free(session: Session, cell: str | None) -> str | None:
    """Return why the selected cell is no object that can be freed, or None."""
    m, at = session.machine, focus(session.machine, cell)
    if at.object < 0:
        return "Select an allocated object (a) in the picture first."
    slab = _slab(m, at.slot, at.slab)
    if at.object not in allocated(m, at.slot, slab):
        return f"Object {at.object} of the slab at page {slab.pfn} is free already; select an allocated one (a)."
    cache = cache_of(m, cell)
    if cache.name in ("kmem_cache_buddy", "kmem_cache_slab") and not word(m, slab.object_at(at.object)) & HELD:
        return f"That object of {cache.name} describes pages; it goes when they go."
    return can_use(session, cell)


def can_use(session: Session, cell: str | None) -> str | None:
    """Return why objects of the cache cannot be allocated or freed here, or None."""
    cache = cache_of(session.machine, cell)
    if isinstance(cache, OwnedCache):
        return f"Objects of {cache.name} come and go with their pages; choose another cache."
    return None


def fill(session: Session, cell: str) -> Done:
    """Allocate what is free in one slab; a new one if none is free."""
    m, at, before = session.machine, focus(session.machine, cell), session.machine.stats
    cache, n, known = cache_of(m, cell), room(m, cell), {s.address for s in slabs_of(m, at.slot)}
    objects = cache.alloc_bulk(n)
    if objects is None:
        return Done(f"kmem_cache_alloc_bulk({cache.name}, {n}) returned None: {_no_memory(m, cache)}.")
    slab, _ = _find(m, at.slot, objects[-1])
    new = [s for s in slabs_of(m, at.slot) if s.address not in known]
    built = f"; for that, it built {count(len(new), 'slab')}: {_grown(cache, m.stats - before, len(new))}" if new else ""
    left = slab.objects - len(allocated(m, at.slot, slab))
    end = "full, and on no list" if slab.place == "full" else "full, but CPU 0's until that needs another object"
    end = f"left with {count(left, 'free object')}" if left else end
    return Done(f"Allocated {count(n, 'object')}: the slab at page {slab.pfn} is now {end}{built}.", f"slab-{slab.pfn}")


def room(m: Machine, cell: str | None) -> int:
    """Return how many objects fill a slab: CPU 0's, else the first partial one, else a new one."""
    slot = focus(m, cell).slot
    debug = cache_at(m, slot).flags & SLAB.DEBUG
    for slab in slabs_of(m, slot):
        free = slab.objects - len(allocated(m, slot, slab))
        if free and (slab.cpu == 0 or (slab.cpu < 0 and slab.place in ("partial", "empty"))) and (slab.cpu < 0 or not debug):
            return free
    return int(cache_at(m, slot).objects)


def free_all(session: Session, cell: str) -> Done:
    """Free every object of the cache that is in use."""
    m, at, before = session.machine, focus(session.machine, cell), session.machine.stats
    cache = cache_of(m, cell)
    objects, had = live_objects(m, cache.name), len(slabs_of(m, at.slot))
    cache.free_bulk(objects)
    left = slabs_of(m, at.slot)
    gone = had - len(left)
    back = f"{count(gone, 'slab')} given back{_gone(cache.name, m.stats - before, gone)}" if gone else "no slab was given back"
    return Done(f"Freed all {count(len(objects), 'object')} of {cache.name}: {back}; {_stay(left)}.", f"cache-{at.slot}")


def can_free_all(session: Session, cell: str | None) -> str | None:
    """Return why there is nothing to free, or None."""
    cache = cache_of(session.machine, cell)
    if cache.name in ("kmem_cache_buddy", "kmem_cache_slab"):
        return f"The objects of {cache.name} describe pages; they go when those go."
    if not live_objects(session.machine, cache.name):
        return f"No object of {cache.name} is in use."
    return can_use(session, cell)


def shrink(session: Session, cell: str) -> Done:
    """Take the slabs from the CPUs and give empty ones back."""
    m, at, before = session.machine, focus(session.machine, cell), session.machine.stats
    cache = cache_of(m, cell)
    flushed = sum(s.cpu >= 0 for s in slabs_of(m, at.slot))
    gone = cache.shrink()
    left = slabs_of(m, at.slot)
    took = f"{count(flushed, 'slab')} taken from the CPUs, " if flushed else ""
    back = f"{count(gone, 'empty slab')} given back{_gone(cache.name, m.stats - before, gone)}"
    return Done(f"Shrank {cache.name}: {took}{back}; {_stay(left)}.", f"cache-{at.slot}")


def destroy(session: Session, cell: str) -> Done:
    """Remove the cache."""
    m, before = session.machine, session.machine.stats
    cache = cache_of(m, cell)
    name, had = cache.name, len(slabs_of(m, focus(m, cell).slot))
    cache.destroy()
    return Done(f"Destroyed the cache {name}: {count(had, 'slab')} given back{_gone(name, m.stats - before, had)}.")


def can_destroy(session: Session, cell: str | None) -> str | None:
    """Return why the cache cannot be removed, or None."""
    m, cache = session.machine, cache_of(session.machine, cell)
    if cache._c in m.builtin:
        return f"{cache.name} is one of the machine's own caches."
    live = len(live_objects(m, cache.name))
    return f"{cache.name} has {count(live, 'object')} in use; free them first (Free all)." if live else None


# -- the code of actions


def cache_code(call: str) -> Callable[[Session, str], str]:
    """Return the code of an action that makes one call on the cache."""
    return lambda session, cell: f"m.caches[{cache_of(session.machine, cell).name!r}].{call}"


def on(cpu: str, line: str) -> str:
    """Return a line of code as it is run on a CPU."""
    return line if _cpu(cpu) == 0 else f"with m.on_cpu({_cpu(cpu)}):\n    {line}"


def free_code(session: Session, cell: str, cpu: str) -> str:
    """Return the code of free."""
    m, at = session.machine, focus(session.machine, cell)
    return on(cpu, f"m.caches[{cache_of(m, cell).name!r}].free({_slab(m, at.slot, at.slab).object_at(at.object):#x})")


def free_all_code(session: Session, cell: str) -> str:
    """Return the code of free_all."""
    name = cache_of(session.machine, cell).name
    return f"from memlab.figures.slab_state import live_objects\nm.caches[{name!r}].free_bulk(live_objects(m, {name!r}))"


# -- helpers


def cache_of(m: Machine, cell: str | None) -> KmemCache:
    """Return the cache that a cell stands for, or belongs to."""
    return m.caches[cache_at(m, focus(m, cell).slot).name]


def _cpu(words: str) -> int:
    return int(words.removeprefix("CPU "))


def _slab(m: Machine, slot: int, address: int) -> Slab:
    return next(s for s in slabs_of(m, slot) if s.address == address)


def _find(m: Machine, slot: int, obj: int) -> tuple[Slab, int]:
    """Return the slab that an object is in, and its number there."""
    slab = next(s for s in slabs_of(m, slot) if (obj - m.B) >> m.PS in s.pages)
    return slab, (obj - slab.first) // slab.size


def pages(slab: Slab) -> str:
    """Say which pages a slab has."""
    if not slab.pages:
        return "no page (yet)"
    return f"page {slab.pfn}" if len(slab.pages) == 1 else f"pages {slab.pfn} to {slab.pages[-1]}"


def _grown(cache: KmemCache, d: Stats, new: int) -> str:
    """Say what ``new`` slabs of a cache cost."""
    taken = [] if cache.name == "kmem_cache_slab" else [count(new, "struct slab")]
    taken += [count(d.buddies_allocated, "descriptor")] if d.buddies_allocated else []
    took = f"took {' and '.join(taken)}" if taken else "took nothing, since its struct slab lies in its own first bytes"
    more = d.slabs_allocated - new
    took += f", built {count(more, 'slab')} more to hold descriptors" if more else ""
    split = f", rewrote {count(d.words_split, 'mem_desc word')} in {count(d.splits, 'split')}" if d.splits else ""
    return took + split + (f", changed the type in {count(d.words_typed, 'mem_desc word')}" if d.words_typed else "")


def _gone(name: str, d: Stats, gone: int) -> str:
    """Say what giving back ``gone`` slabs of a cache brought; begins with a comma."""
    if not gone:
        return ""
    back = [] if name == "kmem_cache_slab" else [count(gone, "struct slab")]
    back += [count(d.buddies_freed, "descriptor")] if d.buddies_freed else []
    merged = f", merged {count(d.merges, 'time')}, rewrote {count(d.words_merged, 'mem_desc word')}" if d.merges else ""
    more = d.slabs_freed - gone
    others = f", and {count(more, 'slab')} of descriptors went with it" if more > 0 else ""
    return f" with {' and '.join(back)}{merged}{others}" if back else f"{merged}{others}"


def _stay(slabs: list[Slab]) -> str:
    """Say which slabs stay, and where."""
    words = (("cpu", "CPUs' own"), ("partial", "partial"), ("empty", "empty"), ("full", "full"))
    places = [f"{n} {what}" for place, what in words if (n := sum(s.place == place for s in slabs))]
    told = f" ({', '.join(places)})" if places else ""
    return f"{count(len(slabs), 'slab')} {'stays' if len(slabs) == 1 else 'stay'}{told}"


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
