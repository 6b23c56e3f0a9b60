# netdial: `make run` trains a first family, `make test` checks the project. Both set the environment up when needed.
# Any Python from 3.11 on: PY=... if you want a certain one, else the first that is new enough.
PY ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
# Compiled modules are kept: without them every process, and tests start many, would compile torch again.
unexport PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export MPLBACKEND := Agg

# Data sets that are not embedded (MNIST, CIFAR-10, tables) are looked for here; tests that need them skip when absent.
ifndef NETDIAL_DATA
ifneq ($(wildcard ../shared/data),)
export NETDIAL_DATA := $(abspath ../shared/data)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-all browser docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ok  ## make .venv with everything; quick when up to date

# torch first and pinned, so that pip does not fetch another build of it. Have a GPU? Put your own torch in .venv first.
.venv/.ok: pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PY)" || { echo "make: no Python 3.11 or newer found; install one, or say PY=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PY) -m venv .venv
	$(BIN)/python -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

run: setup  ## train a family on embedded data and write its report
	$(BIN)/netdial fit wine --name demo --overwrite

test: setup  ## format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not gpu'

test-slow: setup  ## the tests that the fast ones leave out
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow and not gpu'

test-all: setup  ## the same with slow tests, and the documentation built without a warning
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not gpu' --hypothesis-profile thorough
	$(MAKE) docs

browser: setup  ## pages and servers in an installed Chromium; skipped without one
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/report/test_browser.py tests/report/test_every_page.py tests/serve/test_live.py

docs: setup  ## build docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs: $(abspath docs/_build/html/index.html)"

clean:  ## remove what was built, but not .venv and runs
	rm -rf docs/_build dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
