# Needs Python 3.11 or later, make and pip; everything else comes from the lock files. `make help` lists the targets.
PY := .venv/bin/python
RUN := .venv/.stamp-run
DEV := .venv/.stamp-dev
DRILL ?= join-stuck
PYTEST_ARGS ?=
SECONDS ?= 60
MINUTES ?= 30
PLANES ?= 1
# a test that waits for a real program leaves its processor to others; on a busy machine there are fewer at once
JOBS ?= $(shell awk -v n=$$(nproc) '{ j = 2 * n + 1 - int($$1); print (j > n + 1 ? j : n + 1) }' /proc/loadavg)
PYTEST := $(PY) -m pytest -n $(JOBS) --dist worksteal
SYSTEMD_UNITS := $(wildcard systemd/*.service)
SHELL_LIBRARY := $(wildcard recoverd/*/*.sh tests/lab/kubelab/vxlan/*.sh)
SHELL_SCRIPTS := $(shell grep -lE '^\#!/bin/(ba)?sh' scripts/* tests/lab/faults/* tests/lab/kubelab/vxlan/* packaging/deb/* .ci/run)
RULES := $(wildcard config/alerts/*.yml)
RULE_TESTS := $(wildcard config/alerts/tests/*.yml)
# where it is set, every worker of the tests and every process that they start compiles the same modules anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help drill test tests quick quick-tests lab-test soak-model soak-lab lab-all unit lint format lock venv host-packages alerts units docs deb clean
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

drill: $(RUN) ## the incident against a model cluster, narrated; no root, no cluster (DRILL=scenario)
	@if [ -t 0 ]; then $(PY) -m recoverd drill $(DRILL); else $(PY) -m recoverd drill $(DRILL) --approve; fi

test: host-packages $(DEV) ## everything that needs no lab: style, types, layers, alert rules, tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint alerts units tests

# pytest writes the asserts of each module anew before it keeps it: on a fresh clone once, and not in every worker
tests: $(DEV)
	@[ -d tests/unit/__pycache__ ] || $(PY) -m pytest --collect-only -qq >/dev/null || true
	$(PYTEST) $(PYTEST_ARGS)

quick: $(DEV) ## what to run at every change, in under a minute: style, types, layers, the pure core, the stories
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint quick-tests

quick-tests:
	@$(PYTEST) -q tests/unit tests/simulate/test_stories.py $(PYTEST_ARGS)

soak-model: $(DEV) ## random stories over the model cluster for SECONDS=n from SEED=m on; one story: SEED=m RUNS=1; RECORD=1 writes a row in docs/soak-results.md
	@$(PY) -m tests.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) $(if $(RECORD),--record)

soak-lab: $(DEV) ## random faults, kills and people on a real cluster for MINUTES=n from SEED=m; PLANES=3 for three control planes
	@$(PY) -m tests.lab.soak --minutes $(MINUTES) --control-planes $(PLANES) $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record)

unit: $(DEV) ## the tests alone, without installing anything on the machine
	$(PYTEST) $(PYTEST_ARGS)

lab-test: $(DEV) ## the core on real kubeadm clusters; Debian 12 and root; the first run compiles Kubernetes
	@scripts/lab-test $(TESTS) -- $(PYTEST_ARGS)

lab-all: $(DEV) ## every lab test, or TESTS="name ...", with the results in docs/lab-results.md
	@scripts/lab-all $(if $(COUNT),--count $(COUNT)) $(TESTS) -- $(PYTEST_ARGS)

lint: $(DEV) ## style, types, the contract of imports, and the shell
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	.venv/bin/shellcheck --shell=sh $(SHELL_LIBRARY)
	.venv/bin/shellcheck $(SHELL_SCRIPTS)

format: $(DEV) ## write the style that `lint` checks
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

alerts: host-packages ## the alert rules against their tests
	@if command -v promtool >/dev/null; then promtool check rules $(RULES) && promtool test rules $(RULE_TESTS); \
	else echo "skipped: the alert rules, since promtool (Debian package prometheus) is not installed"; fi

units: ## the systemd unit, as systemd reads it
	@scripts/verify-units $(SYSTEMD_UNITS)

docs: $(DEV) ## write the pages anew that are made of the code (docs/states.md, findings, playbooks, metrics, stories)
	@for page in states findings playbooks metrics stories; do PYTHONPATH=. $(PY) scripts/draw-$$page > docs/$$page.md.new && mv docs/$$page.md.new docs/$$page.md || exit 1; done

deb: $(DEV) ## dist/recoverd_VERSION_ARCH.deb, for this Debian's own Python; lintian, where it is installed
	@scripts/build-deb
	@if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning dist/*.deb; \
	else echo "skipped: lintian, since it is not installed"; fi

host-packages:
	@scripts/host-packages

venv: $(DEV) ## the virtual environment with all tools

$(RUN): requirements.lock scripts/venv
	@scripts/venv requirements.lock $@

$(DEV): requirements-dev.lock pyproject.toml scripts/venv
	@scripts/venv requirements-dev.lock $@ --editable
	@touch $(RUN)

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
		pyproject.toml -o requirements.lock
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
		--extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove what was made, the lab's cache excepted
	rm -rf dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
