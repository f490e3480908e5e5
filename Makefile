SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The checks and tests start hundreds of Python processes: what one has compiled the others load.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- Environments -------------------------------------------------------------------------------------------------------
# One virtual environment a role, as their botocores differ. A `.stamp` is written last, so a cut installation is redone.

DEV := .venvs/dev/bin

# uv installs in seconds what pip takes minutes to resolve.
UV := .venvs/uv/bin/uv pip install --quiet

.venvs/uv/.stamp: tools/requirements-uv.txt
	@$(call make-venv,.venvs/uv)
	@.venvs/uv/bin/python -m pip install --quiet --requirement $<
	@touch $@

.PHONY: dev
dev: .venvs/dev/.stamp ## Install the development environment: pytest, ruff, mypy (.venvs/dev)

.venvs/dev/.stamp: pyproject.toml .venvs/uv/.stamp
	@echo "installing the development environment (.venvs/dev)"
	@$(call make-venv,.venvs/dev)
	@$(UV) --python $(DEV)/python --editable '.[dev]'
	@touch $@

# .venvs/NAME holds what tools/requirements-NAME.txt lists.
.venvs/%/.stamp: tools/requirements-%.txt .venvs/uv/.stamp
	@echo "installing $< (.venvs/$*)"
	@$(call make-venv,.venvs/$*)
	@$(UV) --python .venvs/$*/bin/python --requirement $<
	@touch $@

.venvs/cli/.stamp: layers/workflows/requirements.txt

define make-venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or later is needed; choose one with: make PYTHON=/path/to/python3" >&2; exit 1; }; \
$(PYTHON) -m venv $(1) \
	|| { echo "$(PYTHON) made no virtual environment (on Debian and Ubuntu it needs the package python3-venv)" >&2; exit 1; }
endef

# --- Checks and tests ---------------------------------------------------------------------------------------------------

TIERS := unit property contract integration docs e2e
TEMPLATE := $(wildcard template.yaml)
CHECKS := lint format types audit site $(if $(TEMPLATE),cloudformation sam)
# What tests run on, beside the development environment. Amazon's runtime emulator exists for Linux only.
ENGINES := .venvs/emulator/.stamp .venvs/sam/.stamp $(if $(filter Linux,$(shell uname -s)),.venvs/rie/.stamp)
# More for pytest: make test PYTEST_ARGS='-k fencing -x'. In another order: PYTEST_ARGS='--shuffle 7'. One worker, which
# can show what a test prints: PYTEST_ARGS='-n 0 -s'.
PYTEST_ARGS ?=
# One more than the two cores that CI has: the end-to-end tests wait more than they work.
WORKERS ?= 3
PYTEST := $(DEV)/python -m pytest -n $(WORKERS)

.PHONY: check test $(TIERS) $(CHECKS:%=check-%)

check: .venvs/dev/.stamp .venvs/sam/.stamp ## Lint, format, types, dependencies, documentation and template, all of them even if one fails
	@$(run-checks); \
	if [ -n "$$failed" ]; then echo "checks that FAILED:$$failed" >&2; exit 1; fi

# All at once, each with its output in a file, which is shown when its turn comes. Leaves the names of those that failed
# in $$failed.
define run-checks
failed=""; begun=""; mkdir -p .local/checks; \
for check in $(CHECKS); do \
	$(MAKE) check-$$check >.local/checks/$$check.log 2>&1 & begun="$$begun $$check:$$!"; \
done; \
for check in $$begun; do \
	if wait "$${check#*:}"; then result=passed; else result=FAILED; failed="$$failed $${check%:*}"; fi; \
	echo "check-$${check%:*} $$result"; cat ".local/checks/$${check%:*}.log"; \
done
endef

check-lint: .venvs/dev/.stamp
	@$(DEV)/ruff check --quiet --output-format concise .

check-format: .venvs/dev/.stamp
	@$(DEV)/ruff format --check --quiet --output-format concise .

check-types: .venvs/dev/.stamp
	@$(DEV)/mypy --no-error-summary

# Fails on a known vulnerability; where the advisories cannot be reached, it says so and does not.
check-audit: .venvs/dev/.stamp
	@$(DEV)/python tools/audit.py

# The documentation's site, whole; a warning (a dead link, a page in no menu, a name that is not there) fails it.
# Its log is shown only then: with --quiet mkdocs would count no warnings.
check-site: .venvs/docs/.stamp
	@mkdir -p .local
	@$(MKDOCS) build --strict >.local/site.log 2>&1 || { cat .local/site.log >&2; exit 1; }

check-cloudformation: .venvs/dev/.stamp
	@$(DEV)/cfn-lint template.yaml

check-sam: .venvs/sam/.stamp
	@env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_DEFAULT_REGION=eu-west-1 \
		SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR=$(CURDIR)/.local/sam .venvs/sam/bin/sam validate --lint --template template.yaml >/dev/null

# pytest runs last and in any case; it is told which checks failed, so that its summary and its status say so, too.
test: .venvs/dev/.stamp $(ENGINES) ## The checks, then every tier of tests
	@$(run-checks); \
	if [ -n "$$failed" ]; then echo "checks that FAILED:$$failed" >&2; fi; \
	HEPHAESTUS_FAILED_CHECKS="$$failed" $(PYTEST) $(PYTEST_ARGS) $(wildcard $(TIERS:%=tests/%))

e2e: $(ENGINES)
$(TIERS): .venvs/dev/.stamp ## (unit, property, contract, integration, docs, e2e) One tier of tests
	@$(PYTEST) $(PYTEST_ARGS) tests/$@

# The banner is about another release of MkDocs than the pinned one.
MKDOCS := NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/mkdocs
DOCS_PORT ?= 8000

.PHONY: docs-serve
docs: check-site ## Build the documentation's site into .local/site, and run its examples
docs-serve: .venvs/docs/.stamp ## Show the documentation while you write it (DOCS_PORT=8000)
	@$(MKDOCS) serve --dev-addr 127.0.0.1:$(DOCS_PORT)

.PHONY: bench
bench: .venvs/bench/.stamp ## Measure the engine's own cost, how it grows, and a cold start, each beside what it is compared with
	@.venvs/bench/bin/python benchmarks/engine.py
	@.venvs/bench/bin/python benchmarks/scaling.py
	@.venvs/bench/bin/python benchmarks/walk.py
	@.venvs/bench/bin/python benchmarks/rounds.py
	@.venvs/bench/bin/python benchmarks/children.py
	@.venvs/bench/bin/python benchmarks/maps.py
	@.venvs/bench/bin/python benchmarks/map_trees.py
	@.venvs/bench/bin/python benchmarks/rates.py --starts 2000
	@.venvs/bench/bin/python benchmarks/tables.py
	@.venvs/bench/bin/python benchmarks/cold_start.py --limit 1.3
	@.venvs/bench/bin/python benchmarks/beside.py
	@.venvs/bench/bin/python benchmarks/dev.py

.PHONY: bench-limits
bench-limits: .venvs/dev/.stamp ## Have instances contend for limits and rates on DynamoDB Local, while workers are killed
	@$(DEV)/python benchmarks/limits.py
	@$(DEV)/python benchmarks/rates.py --dynamodb --starts 2000

# More for the soak: make soak SOAK_ARGS='--instances 10000 --seed 7 --json report.json'
SOAK_ARGS ?=

.PHONY: soak
soak: .venvs/dev/.stamp ## Run thousands of instances while workers are killed, then check every log and effect (SOAK_ARGS=)
	@$(DEV)/python benchmarks/soak.py $(SOAK_ARGS)

# More for the fuzzer: make fuzz FUZZ_ARGS='-max_total_time=3600', or the path of an input that was found.
FUZZ_ARGS ?=

.PHONY: fuzz
fuzz: .venvs/fuzz/.stamp ## Fuzz the functions' entry points, guided by coverage, for five minutes (Linux; FUZZ_ARGS=)
	@.venvs/fuzz/bin/python tools/fuzz.py $(FUZZ_ARGS)

# More for the mutants: make mutate MUTATE_ARGS='store/ engine/fold.py', or '--list store/keys.py'.
MUTATE_ARGS ?=

.PHONY: mutate
mutate: .venvs/mutate/.stamp ## Change engine, store and commit path in one place at a time: a test must fail (hours; MUTATE_ARGS=)
	@.venvs/mutate/bin/python -m tools.mutation $(MUTATE_ARGS)

.PHONY: console
console: ## Build the console's page into the package, where its sources have changed (needs Node and npm)
	@cd console && npm ci --ignore-scripts --no-audit --no-fund --silent && npm run --silent types && npm run --silent build

# --- The local AWS ------------------------------------------------------------------------------------------------------

# Where it listens, on loopback: make up PORT=4570; by default at 4566, or where it runs already.
PORT ?=
# Parameters of the template: make deploy PARAMS='StepPolicyArn=arn:aws:iam::000000000000:policy/orders LogLevel=DEBUG'.
PARAMS ?=
EMULATOR := .venvs/sam/bin/python tools/emulator.py
FUNCTION ?= start
EVENT ?= events/direct-start.json

.PHONY: up deploy look down status invoke clean

up: deploy ## Start a local AWS, deploy the stack on it and take the tour (PORT=4566)
	@.venvs/sam/bin/python tools/tour.py

deploy: .venvs/emulator/.stamp .venvs/sam/.stamp .venvs/cli/.stamp ## Start a local AWS if none runs, check the workflows, and deploy the stack as it is now (CHECK=no)
	@$(EMULATOR) up $(if $(PORT),--port $(PORT)) $(if $(filter no,$(CHECK)),--unchecked) $(if $(PARAMS),--parameters $(PARAMS))

look: .venvs/cli/.stamp ## Show the console of the local AWS in a browser; the command is .venvs/cli/bin/hephaestus
	@.venvs/cli/bin/hephaestus --local console

down: .venvs/sam/.stamp ## Stop the local AWS; its data are kept
	@$(EMULATOR) down

status: .venvs/sam/.stamp ## Say whether the local AWS runs, and where what is
	@$(EMULATOR) status

invoke: .venvs/sam/.stamp ## Invoke a function there: make invoke FUNCTION=start EVENT=events/direct-start.json
	@$(EMULATOR) invoke $(FUNCTION) $(EVENT)

clean: ## Stop the local AWS and remove its data and what was built; the environments stay
	@if [ -x .venvs/sam/bin/python ]; then $(EMULATOR) down; fi
	@rm -rf .local/emulator .local/build .local/build-cache .local/build.digest
