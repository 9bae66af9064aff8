"""The repository keeps its shape: its top level, its documents, its lock."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import binder_requirements
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import memlab

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    ".ci",
    ".gitattributes",
    ".gitignore",
    "CONTRIBUTING.md",
    "FINDINGS.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "binder",
    "memlab",
    "notebooks",
    "pyproject.toml",
    "requirements.lock",
    "tests",
}


def repository_files():
    """The files that git tracks, and new ones that it does not ignore."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def relative(path):
    return path.relative_to(ROOT).as_posix()


DOCUMENTS = [path for path in repository_files() if path.suffix == ".md"]


# --- Shape


def test_the_top_level_holds_only_what_it_should():
    assert {path.relative_to(ROOT).parts[0] for path in repository_files()} <= TOP_LEVEL


def test_no_file_names_a_home_directory():
    home = re.compile(rb"/(?:home|Users)/\w|[/]root[/]\w|\w:\\{1,2}Users")
    naming = {relative(path) for path in repository_files() if home.search(path.read_bytes())}
    assert naming == set()


# --- Documents

LINK = re.compile(r"(!?)\[((?:[^\[\]]|!?\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def links(text):
    """All (is a picture, text, target) of a Markdown text, of pictures inside links too; code is left out."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    for picture, label, target in LINK.findall(text):
        yield bool(picture), label, target
        yield from links(label)


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_the_relative_links_and_pictures_of_a_document_are_alive(path):
    targets = [target.split("#")[0] for _, _, target in links(path.read_text(encoding="utf-8"))]
    dead = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert dead == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_the_pictures_of_a_document_have_an_alt_text(path):
    assert [target for picture, label, target in links(path.read_text(encoding="utf-8")) if picture and not label] == []


def test_links_are_found():
    text = "[a](b.md) ![c](d.png) [![e](f.svg)](g#h)\n`[no](no)`\n```\n[no](no)\n```\n"
    assert list(links(text)) == [
        (False, "a", "b.md"),
        (True, "c", "d.png"),
        (False, "![e](f.svg)", "g#h"),
        (True, "e", "f.svg"),
    ]


def test_the_code_of_the_readme_gives_exactly_the_output_that_it_shows():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```\n+```text\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert examples
    assert readme.count("```python") == len(examples)
    for code, output in examples:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.stdout + done.stderr, done.returncode) == (output, 0)


def test_the_readme_names_the_test_command_that_ci_runs():
    command = "make test"
    assert re.search(rf"^{command}\b", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(rf"^{command}$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


# --- Dependencies


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_the_same_in_the_project_the_package_and_the_badge():
    version = project()["version"]
    assert memlab.__version__ == version
    badge = re.search(r"mybinder\.org/v2/gh/[\w-]+/[\w-]+/v([\d.]+)\?", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert badge.group(1) == version


def test_the_core_depends_on_nothing():
    assert project()["dependencies"] == []


def test_the_lock_holds_only_versions_and_no_place_to_get_them_from():
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"\s*#.*|[a-z0-9-]+==[\w.]+( ; .+)?", line)
        assert "://" not in line


@pytest.mark.parametrize("extra", ["lab", "test", "bench", "binder"])
def test_the_lock_pins_every_requirement_to_a_version_that_it_accepts(extra):
    pins, _ = binder_requirements.read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    for requirement in map(Requirement, project()["optional-dependencies"][extra]):
        if requirement.name != "memlab":
            pinned = Requirement(pins[canonicalize_name(requirement.name)])
            (version,) = [specifier.version for specifier in pinned.specifier]
            assert requirement.specifier.contains(version), f"make lock: {requirement} is pinned to {version}"


def test_binder_gets_the_versions_of_the_lock():
    assert binder_requirements.TARGET.read_text(encoding="utf-8") == binder_requirements.requirements()


def test_binder_brings_its_own_jupyterlab():
    assert not re.search(r"^jupyterlab==", binder_requirements.requirements(), re.MULTILINE)


def test_binder_runs_a_python_that_memlab_accepts():
    name, version = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip().split("-")
    assert name == "python"
    assert Requirement(f"python{project()['requires-python']}").specifier.contains(version)


def test_every_command_of_the_makefile_installs_from_the_lock():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if "pip install" in line and "uv" not in line.split()]
    assert installs
    assert all("-c requirements.lock" in line for line in installs)
