"""memlab keeps its shape: imports run downward, without a circle, on few floors; the public face changes only on purpose."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from public_face import public_face

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up: a module imports from its own layer and from those below it. The modules directly in memlab/
# are the core.
LAYERS = ["core", "study", "linux", "bench", "figures", "labs", "lessons"]
STANDARD_LIBRARY_ONLY = ["core", "study", "linux"]
FLOORS = 15


def module_name(path):
    """The name that a file is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(ROOT.glob("memlab/**/*.py"))}


def imported(name):
    """The absolute names of all that a module imports, wherever in it: `from memlab.ram import Ram` is memlab.ram.Ram."""
    path = MODULES[name]
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def neighbours():
    """{module: the modules of memlab that it imports}; a name from a package that is none of its files is from its __init__."""
    own = {name: {n if n in MODULES else n.rpartition(".")[0] for n in imported(name)} for name in MODULES}
    return {name: sorted((found & MODULES.keys()) - {name}) for name, found in own.items()}


def circles(imports):
    """Through each module that is in one, a shortest circle of imports, as "a -> b -> a"."""
    found = set()
    for start in imports:
        ways, seen = [[start]], set()
        for way in ways:  # grows meanwhile: breadth first
            if start in imports[way[-1]]:
                first = way.index(min(way))
                found.add(" -> ".join([*way[first:], *way[:first], way[first]]))
                break
            ways += [[*way, name] for name in imports[way[-1]] if name not in seen]
            seen.update(imports[way[-1]])
    return sorted(found)


def towers(imports):
    """{module: the longest chain of imports from it down to one that imports nothing of memlab}; circles are cut."""
    highest = {}

    def tower(name, above=()):
        if name not in highest:
            below = [tower(other, (*above, name)) for other in imports[name] if other not in (*above, name)]
            highest[name] = [name, *max(below, key=len, default=[])]
        return highest[name]

    return {name: tower(name) for name in imports}


def layer_of(name):
    """The number of a memlab module's layer."""
    part = name.split(".")[1] if "." in name else ""
    return LAYERS.index(part) if part in LAYERS else 0


def test_there_is_no_circle_of_imports():
    found = circles(neighbours())
    assert not found, "\n".join(found)


def test_memlab_has_at_most_15_floors():
    ways = sorted(towers(neighbours()).values(), key=len)
    assert len(ways[-1]) > 10, "the search for imports found too few"
    too_high = [f"{len(way)} floors: {' -> '.join(way)}" for way in ways if len(way) > FLOORS]
    assert not too_high, "\n".join(too_high)


def test_circles_and_floors_are_found():
    imports = {"a": ["b"], "b": ["c", "d"], "c": ["b"], "d": [], "e": ["a", "d"]}
    assert circles(imports) == ["b -> c -> b"]
    assert towers({**imports, "c": []})["e"] == ["e", "a", "b", "c"]
    assert neighbours()["memlab.undo"] == ["memlab.kernel", "memlab.number", "memlab.ram"]


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_run_downward(name):
    upward = {other for other in imported(name) if other.startswith("memlab.") and layer_of(other) > layer_of(name)}
    assert upward == set()


@pytest.mark.parametrize("name", [name for name in MODULES if LAYERS[layer_of(name)] in STANDARD_LIBRARY_ONLY])
def test_the_core_imports_only_the_standard_library(name):
    outside = {other.split(".")[0] for other in imported(name)} - sys.stdlib_module_names - {"memlab"}
    assert outside == set()


def test_importing_memlab_imports_the_core_alone():
    code = "import sys; import memlab; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    heavy = {"IPython", "anywidget", "ipywidgets", "matplotlib", "numpy", "cocotbext"}
    assert heavy & {name.split(".")[0] for name in modules} == set()
    assert [name for name in modules if name.startswith("memlab.") and layer_of(name) > 0] == []


def test_the_map_of_the_core_names_each_file_after_those_that_it_imports():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The map")[1]
    lines = text.split("```text\n")[1].split("```")[0].splitlines()
    order = [f"memlab.{name}" for line in lines for name in line.partition("   ")[0].split()]
    core = {name for name, path in MODULES.items() if path.parent == ROOT / "memlab"} - {"memlab", "memlab.workbook"}
    assert sorted(order) == sorted(core)
    imports = neighbours()
    early = {name: [other for other in imports[name] if other not in order[:n]] for n, name in enumerate(order)}
    assert {name: others for name, others in early.items() if others} == {}


def test_the_page_allocator_and_slub_call_each_other_through_the_machine_only():
    imports = neighbours()
    assert "memlab.page_alloc" not in imports["memlab.slub"]
    assert "memlab.slub" not in imports["memlab.page_alloc"]


def test_the_public_face_changes_only_on_purpose(golden):
    golden("public_face.txt", public_face())
