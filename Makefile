# The same commands on a laptop and in CI. Everything happens in .venv; only Python ≥ 3.11, git and make are needed.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
RUN := .venv/bin/python
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench kills acceptance fuzz lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## install everything into .venv (uv where present, else venv and pip)

$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 2; }
	if command -v uv >/dev/null; then \
		uv venv -q --allow-existing --python "$(PYTHON)" .venv && uv pip install -q --python $(RUN) -r requirements.lock -e . --no-deps; \
	else \
		"$(PYTHON)" -m venv .venv && $(RUN) -m pip install -q --disable-pip-version-check --no-deps -r requirements.lock -e .; \
	fi
	touch $(STAMP)

demo: setup ## the whole life of a model on real data (about a minute)
	$(RUN) examples/demo.py

test: setup ## all tests, three at a time on two processors
	$(RUN) -m pytest -q -n auto --maxprocesses 6 --dist loadfile --no-loadscope-reorder

check: setup ## lint, types, import contract
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## reformat the code
	.venv/bin/ruff check --fix-only -q .
	.venv/bin/ruff format -q .

bench: setup ## measure start-up, sizes and limits; prints ratios
	$(RUN) bench/run.py

kills: setup ## 200 random kills over the chain
	STELLWERK_KILLS=200 $(RUN) -m pytest -q -m faults tests/faults

acceptance: setup ## kills, schedules, engines and trials of pipelines in the numbers that are promised (20 minutes)
	STELLWERK_KILLS=500 $(RUN) -m pytest -q tests/faults/test_pipeline_kills.py
	STELLWERK_ENGINES=50 $(RUN) -m pytest -q tests/faults/test_many_engines.py
	STELLWERK_TRIALS=200 STELLWERK_KILLS=40 $(RUN) -m pytest -q tests/faults/test_tuning_kills.py
	STELLWERK_SCHEDULES=100000 $(RUN) -m pytest -q tests/unit/pipelines/test_rules.py

fuzz: setup ## ten minutes of requests made of each description (needs schemathesis on the path)
	STELLWERK_FUZZ_SECONDS=600 $(RUN) -m pytest -q -s tests/fuzz

lock: ## renew requirements.lock (needs uv)
	uv pip compile -q --universal --python-version 3.11 --group dev --extra examples pyproject.toml --no-emit-package stellwerk -o requirements.lock

clean: ## remove what was made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build examples/flights/.stellwerk examples/flights/dossier
