"""The public face of memlab as text: every public name, and how it is called.

Used by test_shape.py, which compares it with tests/golden/public_face.txt; ``python tests/tools/public_face.py`` prints it.
"""

import importlib
import inspect
import re
from collections.abc import Iterator

from memlab import Machine

PACKAGES = ("memlab", "memlab.figures", "memlab.labs", "memlab.lessons", "memlab.linux", "memlab.study")
# What people read of a machine or a trace beside its functions and properties; the rest that one has is for the core.
ATTRIBUTES = {
    "Machine": (
        *("config", "max_order", "page_size", "nr_pages", "mem_map_pfn", "mem_map_pages", "highmem_pfn"),
        *("zones", "zone_of", "cpu", "node", "frame_limit", "w", "map", "touched", "B", "V"),
    ),
    "KmemCache": ("machine",),
    "Trace": ("calls", "interrupts", "max_depth", "recording"),
}
# What has no underscore and is for the files of the core alone.
FOR_THE_CORE = {
    "Machine": {"builtin", "count", "fill", "follow", "null_or_overflow", "rebind", "run_on", "see", "write_in_line"},
    "KmemCache": {"rebind", "write_in_line"},
    "Trace": {"enter", "leave", "interrupted", "resumed"},
}


def written(annotation: object) -> str:
    """An annotation as it is written, without the modules that names are taken from."""
    text = getattr(annotation, "__forward_arg__", annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text if isinstance(text, str) else inspect.formatannotation(text))


def one(p: inspect.Parameter) -> str:
    """A parameter with its annotation and its default."""
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    default = "..." if p.default is ... or callable(p.default) else repr(p.default)
    return f"{stars}{p.name}: {written(p.annotation)}" + ("" if p.default is p.empty else f" = {default}")


def call(function: object) -> str:
    """How a function or a class is called: its parameters, less self or the machine that it is bound to, and what it returns."""
    signature = inspect.signature(function)
    parameters = [one(p) for p in signature.parameters.values() if p.name not in ("self", "m", "cls")]
    returns = "" if inspect.isclass(function) else f" -> {written(signature.return_annotation)}"
    return f"({', '.join(parameters)}){returns}"


def told(name: str, value: object) -> str:
    """The line of one public name."""
    if isinstance(value, property):
        return f"{name}: {written(inspect.signature(value.fget).return_annotation)}"
    if inspect.isclass(value) and (
        constants := [f"{n} = {int(c):#x}" for n, c in vars(value).items() if n.isupper() and isinstance(c, int)]
    ):
        return f"{name}: {', '.join(constants)}"
    if inspect.isroutine(value) or (inspect.isclass(value) and not issubclass(value, Exception)):
        return name + call(value)
    return name


def members(owner: object) -> Iterator[str]:
    """The public names of an object: its class's functions, properties and constants, then what people read of it."""
    kind = type(owner)
    for name in sorted(name for name in dir(kind) if not name.startswith("_")):
        if name not in FOR_THE_CORE[kind.__name__] and name not in ATTRIBUTES.get(kind.__name__, ()):
            yield told(f"{kind.__name__}.{name}", getattr(kind, name))
    for name in ATTRIBUTES.get(kind.__name__, ()):
        yield f"{kind.__name__}.{name}: {type(getattr(owner, name)).__name__}"


def names(package: str) -> Iterator[str]:
    """The public names of a package."""
    module = importlib.import_module(package)
    yield from (told(f"{package}.{name}", getattr(module, name)) for name in sorted(module.__all__))


def public_face() -> str:
    """All of it, a name a line."""
    m = Machine("1M")
    with m.trace(frames=True) as trace:
        pass
    parts = [*map(names, PACKAGES), *map(members, (m, m.caches["kmalloc-64"], trace))]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


if __name__ == "__main__":
    print(public_face(), end="")
