"""`make binder-check`: does a click on the Binder badge land in a workbook that works? Answered without Docker.

Renders the Dockerfile with repo2docker, the program that mybinder.org runs, and then replays its steps in a fresh
virtual environment: the JupyterLab that Binder's image brings, binder/requirements.txt, binder/postBuild, the
server. At the end the learner's copy must be there, the widgets' extensions enabled, and notebooks/00_start.ipynb
must run. What is built is the files that git tracks, and new ones that it does not ignore.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repo2docker import buildpacks
from repo2docker.app import Repo2Docker

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "00_start.ipynb"
EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "anywidget")
# Packages of Binder's image that the workbook stands on, by the names of its lock file.
IMAGE_PACKAGES = ("ipykernel", "ipython", "ipywidgets", "jupyter_server", "jupyterlab", "notebook", "traitlets")


def main() -> None:
    """Check the repository; ends with a message and status 1 at the first thing that is wrong."""
    with tempfile.TemporaryDirectory(prefix="memlab-binder-") as folder:
        source = Path(folder) / "source"
        copy_repository(source)
        os.chdir(source)  # as in the image: every step runs at the root of the repository
        python = render()
        bin_folder = make_environment(Path(folder) / "venv", python)
        build(source, bin_folder)
        check_extensions(bin_folder)
        check_server(bin_folder, Path(folder))
        run_notebook(source, bin_folder)
    say("a click on the badge works")


def copy_repository(target: Path) -> None:
    """Copy to `target` what a clone would hold."""
    listing = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def render() -> str:
    """Render the Dockerfile from the current folder, check it, and return the Python version that it sets up."""
    app = Repo2Docker()
    candidates = (kind(app.base_image) for kind in app.buildpacks)
    pack = next(candidate for candidate in candidates if candidate.detect())
    pack.platform = "linux/amd64"
    dockerfile = pack.render({})
    require(type(pack).__name__ == "PythonBuildPack", f"repo2docker takes this for a {type(pack).__name__}")
    require('pip install --no-cache-dir -r "binder/requirements.txt"' in dockerfile, "requirements are not installed")
    require("./binder/postBuild" in dockerfile, "postBuild is not run")
    say(f"repo2docker renders a Dockerfile of {dockerfile.count(chr(10))} lines, Python {pack.python_version}")
    return pack.python_version


def make_environment(venv: Path, python: str) -> Path:
    """Make a fresh environment like that of Binder's image for this Python; return its folder of programs."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != here:
        say(f"note: Binder runs Python {python}; this replay runs {here}")
    lock = Path(buildpacks.__file__).parent / "conda" / f"environment.py-{python}-linux-64.lock"
    image = dict(re.findall(r"/([\w-]+?)-(\d[^-/]*)-[^-/]*\.conda", lock.read_text(encoding="utf-8")))
    pins = [f"{name}=={image[name]}" for name in IMAGE_PACKAGES]
    say(f"a fresh environment as in Binder's image: {' '.join(pins)}")
    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin" / "python", "-m", "pip", "install", "--quiet", *pins)
    return venv / "bin"


def build(source: Path, bin_folder: Path) -> None:
    """Do what the Dockerfile does with the repository: requirements, then postBuild."""
    say("binder/requirements.txt")
    run(bin_folder / "python", "-m", "pip", "install", "--quiet", "-r", "binder/requirements.txt")
    say("binder/postBuild")
    post_build = (source / "binder" / "postBuild").read_bytes()
    require(post_build.startswith(b"#!") and b"\r" not in post_build, "postBuild needs a shebang and LF line ends")
    (source / "binder" / "postBuild").chmod(0o755)  # the Dockerfile does
    run("./binder/postBuild", bin_folder=bin_folder)
    run(bin_folder / "python", "-m", "pip", "check")
    require((source / "my" / NOTEBOOK).is_file(), f"postBuild made no my/{NOTEBOOK}, where the badge leads")


def check_extensions(bin_folder: Path) -> None:
    """JupyterLab must find and enable the extensions that draw widgets."""
    listing = run(bin_folder / "jupyter", "labextension", "list", bin_folder=bin_folder)
    listing = re.sub(r"\x1b\[[\d;]*m", "", listing)  # it is coloured
    for extension in EXTENSIONS:
        require(re.search(rf"{extension} v\S+ enabled", listing), f"{extension} is not enabled:\n{listing}")
    say(f"enabled in JupyterLab: {', '.join(EXTENSIONS)}")


def check_server(bin_folder: Path, folder: Path) -> None:
    """A JupyterLab started there must serve the page and the notebook that the badge names."""
    with server(bin_folder, folder) as fetch:
        page = fetch(f"lab/tree/my/{NOTEBOOK}")
        require(b"jupyter-config-data" in page, "the server does not serve JupyterLab")
        cells = json.loads(fetch(f"api/contents/my/{NOTEBOOK}"))["content"]["cells"]
        require(not any(cell.get("outputs") for cell in cells), f"my/{NOTEBOOK} has stored outputs")
        require("python3" in json.loads(fetch("api/kernelspecs"))["kernelspecs"], "there is no kernel python3")
    say(f"the server opens my/{NOTEBOOK}")


@contextmanager
def server(bin_folder: Path, folder: Path) -> Iterator:
    """A JupyterLab on loopback, as a function that fetches a path of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    command = [bin_folder / "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]

    def fetch(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}?token={token}", timeout=30) as answer:
            return answer.read()

    log = folder / "server.log"
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=environment(bin_folder), stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            for _ in range(600):
                require(process.poll() is None, f"the server ended:\n{log.read_text()[-2000:]}")
                try:
                    fetch("api/status")
                    break
                except OSError:
                    time.sleep(0.2)
            else:
                require(False, f"the server does not answer:\n{log.read_text()[-2000:]}")
            yield fetch
        finally:
            process.terminate()


def run_notebook(source: Path, bin_folder: Path) -> None:
    """Every cell of the first notebook must run there."""
    say(f"run notebooks/{NOTEBOOK}")
    notebook = source / "notebooks" / NOTEBOOK
    run(bin_folder / "jupyter", "nbconvert", "--to=notebook", "--execute", "--stdout", notebook, bin_folder=bin_folder)


def run(*command: str | Path, bin_folder: Path | None = None) -> str:
    """Run a program, with the new environment active if its `bin_folder` is given; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        env=environment(bin_folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    shown = " ".join(Path(word).name if isinstance(word, Path) else word for word in command)
    require(done.returncode == 0, f"{shown} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def environment(bin_folder: Path | None) -> dict[str, str]:
    """The variables for a program: nothing of the caller's Python and Jupyter set-up, and the new environment first."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER"))}
    if bin_folder:
        home = bin_folder.parent
        variables |= {"PATH": f"{bin_folder}:{os.environ['PATH']}", "VIRTUAL_ENV": str(home)}
        variables |= {f"JUPYTER_{kind}_DIR": str(home / f"jupyter-{kind.lower()}") for kind in ("CONFIG", "DATA")}
        variables |= {"JUPYTER_RUNTIME_DIR": str(home / "jupyter-run"), "IPYTHONDIR": str(home / "ipython")}
    return variables


def require(condition: object, message: str) -> None:
    """End with `message` unless the condition holds."""
    if not condition:
        raise SystemExit(f"binder-check: {message}")


def say(message: str) -> None:
    """Report progress."""
    print(f"binder-check: {message}", flush=True)


if __name__ == "__main__":
    main()
