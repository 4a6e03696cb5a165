# recorderd: `make help` lists what there is.
SHELL := /bin/bash
PY := .venv/bin/python
export PYTHONUNBUFFERED=1

.PHONY: man scene help venv demo test check bench crash format
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## make .venv with everything that tests and checks use
	@scripts/venv.sh dev

demo: ## six simulated cameras with faults, recorded and shown at a printed address; Ctrl-C ends it (ARGS="--for 30s --json")
	@scripts/venv.sh run
	@exec $(PY) -m recorderd demo $(ARGS)

check: venv ## format, lint, types, import contracts, fast tests
	@$(PY) -m ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo --no-cache | tail -n 3; exit $${PIPESTATUS[0]}
	@$(PY) -m pytest -q -m fast -n 2 -p no:cacheprovider

man: venv ## manual pages into build/man, made from the programs
	@$(PY) -m recorderd.cli.manual build/man

format: venv ## format the code
	@$(PY) -m ruff format --quiet .
	@$(PY) -m ruff check --quiet --fix .

test: venv ## every test; as root installs the system packages it needs, else skips their groups and says so
	@$(PY) scripts/test.py $(ARGS)

bench: venv ## B=ingest|append|seek|fanout|pull|playback|timeline: measure, print a table, write benchmarks/out/B.json
	@case "$(B)" in ingest|append|seek|fanout|pull|playback|timeline) ;; \
	*) echo "usage: make bench B=ingest|append|seek|fanout|pull|playback|timeline [ARGS=...]" >&2; exit 2;; esac
	@$(PY) -m benchmarks.$(B) $(ARGS)

scene: venv ## S=viewers: a scene that a test plays small, in full (ARGS="--stalled 50 --slow 50")
	@case "$(S)" in viewers) ;; *) echo "usage: make scene S=viewers [ARGS=...]" >&2; exit 2;; esac
	@$(PY) -m tests.e2e.$(S)_scene $(ARGS)

crash: venv ## kill -9 the recording daemon N times (N=30 SEED=1) and check what is left
	@$(PY) -m tests.e2e.crash_tier --kills $(or $(N),30) --seed $(or $(SEED),1)
