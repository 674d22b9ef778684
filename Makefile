# make run     the endpoint on this machine, against a simulated Azure OpenAI resource
# make test    install what is needed, then every check and every test
# make check   the same without installing
# make diagnose  the doctor, against the simulated resource; ARGS="--fault 503" plants a fault
# make docs    rewrite what docs/ generates
# make infra-check  the az commands, Bicep, KQL and workflows, by Microsoft's own programs; installs 700 MB under build/
# make outdated  what of the dependencies is old, and what is known to be vulnerable
# make soak    faults in random order under 64 callers for 10 minutes; ARGS="--minutes 1" for less
# make mutants  changes mint/ one thing at a time and tells what no fast test notices; ARGS="body quota" for less
# make fuzz    bytes led by coverage, where bodies, replies and tokens are read, a minute each; ARGS=600 for longer
# make bench   the speed figures, as ratios within one run, 15 minutes; ARGS=quick or a part, as ARGS=-h lists them

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Azure runs this app on Python 3.13, so that is what it is tested on. PYTHON=/path/to/python3.13 overrides.
PYTHON ?= $(shell for p in python3.13 python3 python $$HOME/.pyenv/versions/3.13*/bin/python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
ARGS ?=

.PHONY: soak mutants fuzz help run test check types pytest diagnose docs infra-check outdated bench clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.venv/installed: requirements.txt requirements-dev.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.13 is needed and none was found (looked for python3.13, python3, python and pyenv's versions)." >&2; \
		echo "Install it, or name one: make $(or $(firstword $(MAKECMDGOALS)),run) PYTHON=/path/to/python3.13" >&2; exit 1; fi
	@"$(PYTHON)" -m venv --clear .venv || { \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3.13-venv" >&2; exit 1; }
	@echo "Installing into .venv (a minute, the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: .venv/installed
	@exec $(BIN)/python -m local $(ARGS)

test: .venv/installed
	@tests/setup.sh
	@$(MAKE) --no-print-directory check

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(MAKE) --no-print-directory -j2 types pytest

types:
	$(BIN)/mypy

pytest:
	$(BIN)/python -m pytest $(ARGS)

diagnose: .venv/installed
	@$(BIN)/python -m local.diagnose $(ARGS)

docs: .venv/installed
	@$(BIN)/python -m diagnose.docs
	@$(BIN)/python -m tests.mobile
	@$(BIN)/python -m tests.picture

bench: .venv/installed
	@$(BIN)/python -m benchmarks $(ARGS)

build/infra/installed: infra/requirements.txt .venv/installed
	@echo "Installing azure-cli and the checkers into build/infra (some minutes, the first time) ..."
	@$(BIN)/python -m venv --clear build/infra
	@build/infra/bin/python -m pip install --quiet --disable-pip-version-check -r infra/requirements.txt
	@npm install --prefix build/infra/kql --silent --no-audit --no-fund --ignore-scripts @kusto/language-service-next@12.4.1
	@touch $@

infra-check: build/infra/installed
	@build/infra/bin/python -m tests.infra_check
	@build/infra/bin/zizmor --offline --quiet --min-severity medium .github/workflows
	@build/infra/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

build/audit/installed: .venv/installed
	@$(BIN)/python -m venv --clear build/audit
	@build/audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.10,<3"
	@touch $@

outdated: build/audit/installed
	@$(BIN)/python -m pip list --outdated --disable-pip-version-check
	@build/audit/bin/pip-audit --requirement requirements.txt

soak: .venv/installed
	@$(BIN)/python -m benchmarks.soak $(ARGS)

mutants: .venv/installed
	@$(BIN)/python -m benchmarks.mutants $(ARGS)

build/fuzz/installed: requirements.txt .venv/installed
	@$(BIN)/python -m venv --clear build/fuzz
	@build/fuzz/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt "atheris>=3,<4"
	@touch $@

fuzz: build/fuzz/installed
	@build/fuzz/bin/python benchmarks/fuzz.py $(ARGS)

clean:
	rm -rf .venv node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build
