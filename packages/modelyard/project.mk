# The verbs of a project; its Makefile includes this file. Each verb makes the environment when there is none.

ifeq ($(wildcard src pyproject.toml),)
$(error run make in the folder of the project)
endif
ifneq ($(shell git ls-files .venv .uv 2>/dev/null | head -n 1),)
$(error git has files of .venv or .uv, which no commit may bring along: `git rm -r --cached .venv .uv`)
endif
# A workflow writes what another job made into these folders, and DVC writes there: a link would lead out of them.
ifneq ($(shell git ls-files --stage build candidate data deploy models reports run 2>/dev/null | grep -m 1 '^120000'),)
$(error git has a link in build, candidate, data, deploy, models, reports or run: commit the file itself)
endif

# What is given to make, as in `make gate BASE=main`, is an option: it travels as MODELYARD_BASE, as the text that it is
# (no `$(…)` in it is ever evaluated). A variable that a shell happened to export never is one.
define option
override $1 := $$(value $1)
export $1
export MODELYARD_$1 := $$(value $1)
endef
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
given := $(foreach name,$(given),$(if $(findstring $$,$(name))$(filter MAKE% -%,$(name)),,$(name)))
$(foreach name,$(given),$(eval $(call option,$(name))))

VENV := $(or $(value MODELYARD_VENV),.venv)
BIN := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/bin
# A uv that is not of these versions would look for the build backend on the network: then a pinned one is made.
UV := $(or $(shell uv --version 2>/dev/null | grep -Eq '^uv 0\.(9|[1-9][0-9]+)\.' && command -v uv),.uv/bin/uv)
export MODELYARD_VENV := $(VENV)
export MODELYARD_UV := $(UV)
export PATH := $(BIN):$(PATH)
# No process finds modules in the project's folder or in src/: the library imports src/<package> by its place.
export PYTHONPATH := packages/modelyard/src
export PYTHONSAFEPATH := 1
export MLFLOW_DISABLE_TELEMETRY := true
# DVC keeps pickles (CVE-2025-69872) in a folder where everybody on the machine may write; ours is for nobody else.
export DVC_SITE_CACHE_DIR := $(shell mkdir -p -m 700 .dvc/tmp/own && cd .dvc/tmp/own && pwd)
# The caches of uv, pre-commit and act lie in the project where there is no home folder that takes them.
ifeq ($(shell [ -d "$$HOME" ] && mkdir -p "$${XDG_CACHE_HOME:-$$HOME/.cache}" 2>/dev/null && \
  [ -w "$${XDG_CACHE_HOME:-$$HOME/.cache}" ] && echo yes),)
export XDG_CACHE_HOME := $(DVC_SITE_CACHE_DIR)/cache
export XDG_DATA_HOME := $(DVC_SITE_CACHE_DIR)/data
endif
unexport PYTHONDONTWRITEBYTECODE

# Of what ships; skops, which names none in its metadata, is MIT.
LICENCES ?= Apache;BSD;ISC;MIT;MPL;Python Software Foundation;PSF;Zlib;HPND;Unlicense
# Known, without a better version, not open here: diskcache's pickles (above), and skops where all types are trusted.
UNFIXED ?= CVE-2025-69872 CVE-2024-37065
CHOSEN_PYTHON = "$${MODELYARD_PYTHON:-$$(cat .python-version)}"
# It is a version and nothing else: uv would take a path, and start what lies there.
CHECK_PYTHON = case $(CHOSEN_PYTHON) in *[!0-9.]*|"") \
	  echo "error: .python-version (or PYTHON=) is not a version; write digits and dots, such as 3.12" >&2; exit 2;; esac
RUN = @python -m modelyard $@
BARE = @python3 -m modelyard $@

ifneq ($(wildcard compose.yaml),)
include packages/modelyard/service.mk
endif

.DEFAULT_GOAL := next
.NOTPARALLEL:
.PHONY: environment $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## Show the verbs
	@awk -F ':.*## ' '/^## / {group = substr($$0, 4)} \
	  /^[a-z-]+:.*## / && !seen[$$1]++ {if (group) printf "\n%s\n", group; group = ""; printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: | $(filter .uv/%,$(UV))
	@$(CHECK_PYTHON); \
	stamp="$$MODELYARD_VENV/.installed-$$({ echo $(CHOSEN_PYTHON) 2; cat requirements/dev.txt; } | cksum | cut -d' ' -f1)"; \
	[ -e "$$stamp" ] || { \
	  echo "installing the environment into $$MODELYARD_VENV …" && \
	  "$(UV)" venv --quiet --allow-existing --python $(CHOSEN_PYTHON) "$$MODELYARD_VENV" && \
	  "$(UV)" pip sync --quiet --compile-bytecode --require-hashes --python "$(BIN)/python" requirements/dev.txt && \
	  "$(UV)" pip install --quiet --offline --no-deps --python "$(BIN)/python" --editable packages/modelyard && \
	  rm -f "$$MODELYARD_VENV"/.installed-* && touch "$$stamp"; }

.uv/bin/uv:
	@python3 -m venv .uv && .uv/bin/pip install --quiet --require-hashes -r requirements/uv.txt

## Project
next: ## Show what to do next in this state of the project (`make` alone does it; installs nothing)
	$(BARE)

doctor: ## Look at tools, versions, remotes, tokens, locks, disk and ports, and name the cures (installs nothing)
	$(BARE)

update: environment ## Bring the newer template on a branch, run the tests (TEST=0 does not; KEEP=1 keeps a change of packages/)
	$(RUN)

install: environment ## Make the environment (every other verb does it by itself)

lock: | $(filter .uv/%,$(UV)) ## Pin the newest versions that pyproject.toml allows, with hashes (UPGRADE= keeps what is pinned)
	@sh packages/modelyard/lock.sh "$(UV)" "$${MODELYARD_UPGRADE---upgrade}"

check: environment ## Format, lint, type-check, look for secrets: all pre-commit hooks
	@pre-commit run --all-files

scan: environment ## Look for known vulnerabilities in what is pinned, and for licences that bind who gets what ships
	@"$(UV)" venv --quiet --allow-existing --python $(CHOSEN_PYTHON) .scan
	@"$(UV)" pip sync --quiet --require-hashes --python .scan/bin/python requirements/scan.txt
	@.scan/bin/pip-licenses --python "$(BIN)/python" --partial-match --allow-only "$(LICENCES)" --ignore-packages skops \
	  --packages $(shell sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/\1/p' requirements/serve.txt)
	@.scan/bin/python packages/modelyard/audit.py $(UNFIXED:%=--ignore-vuln=%)

test: environment ## Run the tests of code, data and model
	@python -m pytest

## Data and model
adopt: environment ## Make a table yours: CSV=path TARGET=column [TIME= GROUP= SENSITIVE=a,b TASK= DROP=1 NUMBERS=auto MISSING= KEEP= TEXT= SEP= …]
	$(RUN)

schema: environment ## Show how schema.yaml differs from the data (WRITE=1 writes it)
	$(RUN)

pipeline: environment ## Run what changed: validate, split, train, evaluate; then track (TRACK=0 does not)
	@! grep -qs '^<<<<<<< ' dvc.lock || { echo "error: dvc.lock is in conflict; run \`make resolve\`" >&2; exit 1; }
	@grep -qs '^  start: null' params.yaml || python -m modelyard start
	@dvc repro
	@[ "$$MODELYARD_TRACK" = 0 ] || python -m modelyard track --later

track: environment ## Record the current dvc.lock in MLflow, once
	$(RUN)

move: environment ## Move the project's own runs to the server at MLFLOW_TRACKING_URI, each once
	$(RUN)

sweep: environment ## Search better arguments for the estimator; Ctrl-C stops it, the next call goes on
	$(RUN)

compute: environment ## Let sweeps, importances and scoring use WORKERS=4, or BACKEND=dask ADDRESS=tcp://… (or ray)
	$(RUN)

resolve: environment ## Make dvc.lock anew after a merge conflict in it
	$(RUN)

## Judge
gate: environment ## Judge the model against BASE (default: the default branch), on the same rows
	$(RUN) || { code=$$?; [ $$code = 2 ] || [ "$$MODELYARD_REPORT" = 0 ] || python -m modelyard report; exit $$code; }

report: environment ## Write the verdict as a page: Markdown, HTML and model card
	$(RUN)

holdout: environment ## Hold out other rows, for a fresh count of looks: another seed, or the newest rows [WINDOW=2026-03-01]
	$(RUN)

registry: environment ## Show which model is champion, challenger and previous, by git and by MLflow
	$(RUN)

audit: environment ## Show who made which model run where, when and on which evidence: [SINCE=2026-01-31]
	$(RUN)

promote: environment ## Make the judged model the champion of ENV (default: production)
	$(RUN)

ui: environment ## Open MLflow on this project's runs
	@python -m modelyard track && mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///.mlflow/mlflow.db}"

## Watch
labels: environment ## Join truth that came late to predictions: IN=labels.csv; GROW_DATA=1 makes them rows of the data
	$(RUN)

monitor: environment ## Compare what the service saw with the training reference; LOGS=address fetches its logs first
	$(RUN)

evidently: environment | $(filter .uv/%,$(UV)) ## Write Evidently's report on the latest window (from an environment of its own)
	$(RUN)

alert: ## Say on GitHub and to WEBHOOK what monitoring found (installs nothing)
	$(BARE)

retrain: environment ## Train again and judge; REASON=auto lets params.yaml decide, WINDOW=90d narrows it
	$(RUN)

## Predict
compile: environment ## Compile the model where that changes no answer of it
	$(RUN)

score: environment ## Write the predictions for IN (Parquet or text, a file or a folder) to OUT, and to LOGS for monitor; OUTSIDE=flag
	$(RUN)

## GitHub
remote: environment ## Give data and models a home: URL=s3://… gs://… azure://… ssh://… or a folder
	$(RUN)

pull: environment ## Fetch data and models from the remote, if there is one
	$(RUN)

receive: environment ## Put a candidate that another job trained into place, as data: FOLDER=path
	$(RUN)

push: environment ## Bring data and models to the remote, if there is one
	$(RUN)

verify: environment ## Run everything again and compare with dvc.lock; ENV= or MODEL=: follow a deployed model back to its data
	$(RUN)

post: ## Say on GitHub what a run found: WHAT="comment status" (installs nothing)
	$(BARE)

release: ## Keep the promoted model as a release of the repository (installs nothing)
	$(BARE)

rehearse: environment ## Run the workflow that EVENT=pull_request starts on this machine, before a push
	$(RUN)

protect: environment ## Protect the default branch on GitHub; shows what it would change and asks
	$(RUN)
