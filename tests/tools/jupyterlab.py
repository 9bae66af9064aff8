"""A JupyterLab of its own on loopback, for the browser tests and for the benchmark of a click."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60  # seconds
SOURCES = str(Path(__file__).resolve().parents[2])  # the memlab that is looked at, installed or not


@contextmanager
def jupyterlab(root: Path, home: Path) -> Iterator[str]:
    """Run JupyterLab on the folder `root`; yields the URL `http://.../doc?reset&token=...`. Its settings and its log are kept in `home`.

    RuntimeError, with the log, if it does not start.
    """
    (home / "config" / "labconfig").mkdir(parents=True)
    settings = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.expose_app_in_browser=True"]  # window.jupyterapp, to run all cells
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run", "IPYTHONDIR": "ipython"}
    environment = os.environ | {name: str(home / place) for name, place in places.items()}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    log = home / "server.log"
    with log.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            _wait(process, f"http://127.0.0.1:{port}/api/status?token={token}", log)
            yield f"http://127.0.0.1:{port}/doc?reset&token={token}"
        finally:
            process.terminate()


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    for _ in range(5 * PATIENCE):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")
