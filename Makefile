# recorderd: `make help` lists what there is.
SHELL := /bin/bash
PY := .venv/bin/python
export PYTHONUNBUFFERED=1

.PHONY: man scene help venv demo test check bench crash powercut mutate format
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

BENCHES := ingest beside append seek fanout pull playback timeline reclaim start
bench: venv ## B=ingest|beside|append|seek|fanout|pull|playback|timeline|reclaim|start: measure, print a table, write benchmarks/out/B.json
	@case " $(BENCHES) " in *" $(B) "*) [ -n "$(B)" ] && exit 0;; esac; echo "usage: make bench B=NAME [ARGS=...] with NAME of: $(BENCHES)" >&2; exit 2
	@$(PY) -m benchmarks.$(B) $(ARGS)

SCENES := viewers stall slow-disk full-disk failing-disk read-only lost-mount swapped-disk turnovers clock
scene: venv ## S=viewers|stall|slow-disk|full-disk|failing-disk|read-only|lost-mount|swapped-disk|turnovers|clock: what a test plays small, in full
	@case " $(SCENES) " in *" $(S) "*) [ -n "$(S)" ] && exit 0;; esac; echo "usage: make scene S=NAME [ARGS=...] with NAME of: $(SCENES)" >&2; exit 2
	@$(PY) -m tests.e2e.$(subst -,_,$(S))_scene $(ARGS)

crash: venv ## kill -9 the recording daemon N times (N=30 SEED=1 BREAK=sync|dirsync|crc|reappend) and check what is left
	@$(PY) -m tests.e2e.crash_tier --kills $(or $(N),30) --seed $(or $(SEED),1) $(if $(BREAK),--break $(BREAK))

powercut: venv ## cut the power of a recording daemon N times on ext4 and XFS (root; N=20 SEED=1 FS=ext4|xfs BREAK=...)
	@$(PY) -m tests.e2e.powercut_tier --cuts $(or $(N),20) --seed $(or $(SEED),1) $(if $(FS),--fs $(FS)) $(if $(BREAK),--break $(BREAK))

mutate: venv ## damage every kind of file N times each (N=10000 SEED=1 K=segment|directory|footer|gone|log|volume|ledger|catalog) and read on
	@$(PY) -m tests.mutate --mutations $(or $(N),10000) --seed $(or $(SEED),1) $(if $(K),--kind $(K))
