"""The picture of the Slab lab: a cache's slabs beside its descriptors, the orders it could have, one object's bytes, and all caches.

Used by the Slab lab, slides and by hand: ``slab_lab(m)``.  Imports the core, slab_state and the other figures of slabs.
"""

from __future__ import annotations

from collections.abc import Callable

from ..machine import Machine
from ..slub_size import MAX_SLAB_ORDER
from .picture import Picture, panels, stack, text
from .slab_caches import slab_caches
from .slab_links import slab_links
from .slab_object import slab_object
from .slab_orders import slab_orders
from .slab_state import Slab, cache_at, focus, slabs_of, unborn_slabs
from .slabs import slabs


def slab_lab(
    m: Machine,
    cell: str | None = None,
    hexadecimal: bool = False,
    yours: Callable[[int], tuple[int | None, str]] | None = None,
    your_order: tuple[int | None, str] | None = None,
) -> Picture:
    """Draw the Slab lab's picture of a machine.

    ``cell``: what is selected, ``cache-SLOT``, ``slab-PFN`` or ``object-PFN-NUMBER``; the newest cache unless given.  ``hexadecimal``: how page
    numbers are written.  ``yours``, ``your_order``: as for slab_orders.
    """
    at = focus(m, cell)
    cache = cache_at(m, at.slot)
    found = slabs_of(m, at.slot)
    slab = next((s for s in found if s.address == at.slab), next(iter([*unborn_slabs(m), *found]), None))
    by_rule = m.B + 8 * m.KC_BUDDY != cache.address != m.B + 8 * m.KC_SLAB
    orders = slab_orders(
        max(cache.size, 8),
        m.config.cpus,
        m.page_size,
        min(MAX_SLAB_ORDER, m.max_order),
        None if by_rule else min(cache.order, m.max_order),
        yours,
        your_order,
    )
    index = max(at.object, 0)
    side = [_links(m, slab, hexadecimal)]
    if slab and index < slab.objects:
        side.append(slab_object(m, at.slot, slab, index))
    main = stack(
        f"Slabs of {cache.name}, and the orders they could have",
        slabs(m, None, f"cache-{at.slot}" if cell is None else cell, hexadecimal),
        orders,
    )
    other = stack("Who describes the slab, and all caches", *side, slab_caches(m, at.slot))
    return panels(f"The cache {cache.name}: its slabs, free lists, descriptors and orders", main, other)


def _links(m: Machine, slab: Slab | None, hexadecimal: bool) -> Picture:
    if slab is not None:
        return slab_links(m, slab.address, hexadecimal)
    words = text(0, 14, "This cache has no slab yet: Build slab, or Allocate.", "ml-dim", 12)
    return Picture({"slab_links-none": words}, 400, 24, "No slab yet")
