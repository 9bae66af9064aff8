# Every command of the project. Needs Python 3.11 or newer and make; everything else is put into .venv/.
#
#   make lab            the workbook in JupyterLab                     (LAB_FLAGS= more flags for JupyterLab)
#   make test           every test, browser included                   (what .ci/run runs)
#   make lint           ruff and mypy
#   make notebooks      run the notebooks again and store their outputs in place
#   make bench          measure speed                                  (BENCH_FLAGS=--json)
#   make binder-check   build what mybinder.org would build, without Docker
#   make lock           solve requirements.lock again                  (LOCK_FLAGS=--upgrade for newer versions)
#   make clean          remove .venv/ and caches; my/ stays

# The first Python on this machine that is new enough and can make a virtual environment.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
NOTEBOOKS = $(wildcard notebooks/*.ipynb)

.PHONY: lab test lint notebooks bench binder-check lock clean chromium
.DELETE_ON_ERROR:

# In a container everybody is root, and JupyterLab wants to be told that this is meant.
lab: .venv/lab.stamp
	$(BIN)/python -m memlab.workbook
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(if $(filter 0,$(shell id -u)),--allow-root) \
		$(LAB_FLAGS) my/00_start.ipynb

test: .venv/test.stamp chromium lint
	$(BIN)/python -m pytest -n 2 --dist loadscope --ignore=tests/browser
	$(BIN)/python -m pytest tests/browser

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: .venv/test.stamp
	$(BIN)/python tests/tools/execute_notebooks.py $(NOTEBOOKS)

bench: .venv/bench.stamp
	$(BIN)/python -m memlab.bench $(BENCH_FLAGS)

binder-check: .venv/binder.stamp
	$(BIN)/python tests/tools/binder_check.py

# uv solves for all platforms and Python versions at once. It is not pinned: making a new lock is its only use.
lock: .venv/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --all-extras \
		--custom-compile-command "make lock" $(LOCK_FLAGS) --output-file requirements.lock pyproject.toml
	$(BIN)/python tests/tools/binder_requirements.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	find memlab tests -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each extra of pyproject.toml, so that nothing is installed twice.
.venv/%.stamp: .venv/pyvenv.cfg pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$*]'
	@touch $@

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "memlab needs Python 3.11 or newer with its venv module \
	(Debian, Ubuntu: apt install python3 python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The browser tests need a Chromium. In a container or CI (root, apt) it is installed; elsewhere that is yours to do.
chromium:
	@if [ -n "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core </dev/null; \
	else echo "The browser tests need Chromium: install it (Debian, Ubuntu: sudo apt install chromium), \
	or name one with CHROMIUM=/path/to/it." >&2; exit 1; fi
