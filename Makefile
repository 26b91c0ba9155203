# Each target installs what it needs; the first `make demo` or `make test` also compiles the local control plane.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The auditors have dependencies of their own, which are none of ours.
AUDIT_VENV := build/audit/venv
AUDIT := $(AUDIT_VENV)/.installed
CLUSTER ?= local
# Most tests wait for real parts: more workers than cores. Each starts a control plane of its own (about 1 GB).
JOBS ?= 5
# Files are begun in the order of tests/conftest.py, the long ones first.
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install tools demo test test-long unit lint format crd lock bench bench-sizing bench-policy bench-scale soak soak-kills soak-takeovers fuzz audit clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pdscaler needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=...)")'
	@echo "Installing the Python dependencies into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(AUDIT): requirements/audit.txt
	@echo "Installing the auditors into $(AUDIT_VENV)"
	@$(PYTHON) -m venv $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

install: $(STAMP) ## Create the virtual environment with the locked dependencies

tools: $(STAMP) ## Compile the local control plane and Prometheus (once, into a cache)
	@PYTHONPATH=deploy/local $(BIN)/python -m localplane tools

demo: $(STAMP) ## Run the main job end to end: a real control plane, a real Prometheus, emulated engines, the operator
	@PYTHONPATH=deploy/local $(BIN)/python -m localplane demo --cluster "$(CLUSTER)" \
		$(if $(TRACE),--trace "$(TRACE)") $(if $(PROFILE),--profile "$(PROFILE)") \
		$(if $(DURATION),--duration "$(DURATION)") $(if $(RATE_SCALE),--rate-scale "$(RATE_SCALE)") \
		$(if $(FORECAST),--forecast "$(FORECAST)")

# The tests start the operator dozens of times: its bytecode is kept, also where the machine's settings say otherwise.
test test-long: export PYTHONDONTWRITEBYTECODE :=
# Go collects garbage less often: a fifth less of an API server's processor time, for 0.13 GB more.
test test-long: export GOGC := 400

test: $(STAMP) tools ## Run the tests, on real parts
	@$(BIN)/python -m pytest $(PARALLEL) -m "not long$$(PYTHONPATH=tests $(BIN)/python -m support.browser)"

# Laws that stand with the unit they are of.
LAWS := tests/unit/core/test_verify_search.py tests/unit/core/test_curve_notes.py
test-long: $(STAMP) tools ## Run the tests that take minutes, and look deeper for what breaks a law (CI runs them, too)
	@$(BIN)/python -m pytest $(PARALLEL) -m long tests/packaging tests/e2e tests/unit/bench
	@$(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile=deep tests/property $(LAWS)

unit: $(STAMP) ## Run the tests that need no control plane and no Prometheus
	@$(BIN)/python -m pytest -m "not e2e and not prometheus and not browser and not long"

lint: $(STAMP) ## Run the static checks
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

crd: $(STAMP) ## Generate the CRD from the models (crds/ and the chart's copy)
	@$(BIN)/python -m pdscaler crd --write

lock: ## Lock the dependencies again (needs uv)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q pyproject.toml -o requirements/operator.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q pyproject.toml --extra dev -o requirements/dev.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/go.in -o requirements/go.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/build.in -o requirements/build.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/audit.in -o requirements/audit.txt

bench: $(STAMP) ## Measure speed and memory (build/bench/*.json)
	@$(BIN)/python -m bench

bench-sizing: $(STAMP) ## Judge plans by simulation, ours and four others (docs/sizing-benchmark.md)
	@$(BIN)/python -m bench.sizing $(if $(CASES),--cases "$(CASES)") $(if $(SEED),--seed "$(SEED)") \
		$(if $(PROFILE),--profile "$(PROFILE)") $(if $(RESUME),--resume)

bench-scale: $(STAMP) tools ## Run a thousand PDDeployments on a real control plane, beside HPA (build/bench-scale/scale.json)
	@PYTHONPATH=deploy/local:. $(BIN)/python -m bench.scale $(if $(COUNT),--count "$(COUNT)") $(if $(BROKEN),--broken "$(BROKEN)") \
		$(if $(PERIOD),--period "$(PERIOD)") $(if $(SIZING),--sizing "$(SIZING)")

soak: $(STAMP) tools ## Torment a running operator with random faults (DURATION=30m, SEED=0; build/soak/soak.json)
	@PYTHONPATH=tests:deploy/local $(BIN)/python -m soak $(if $(DURATION),--duration "$(DURATION)") $(if $(SEED),--seed "$(SEED)")
# The short forms of these run in every `make test`; the long ones write what they measured to build/soak.
soak-kills: $(STAMP) tools ## kill -9 the operator KILLS times (200) at every step of an evaluation, under load
	@$(BIN)/python -m pytest -s --timeout 0 --soak-report build/soak tests/e2e/operator/test_kills.py \
		--kills "$(or $(KILLS),200)" $(if $(SEED),--soak-seed "$(SEED)")

soak-takeovers: $(STAMP) tools ## Force TAKEOVERS (10) changes of the leader with the default durations of the Lease
	@$(BIN)/python -m pytest -s --timeout 0 --soak-report build/soak tests/e2e/operator/test_leadership.py \
		--takeovers "$(or $(TAKEOVERS),10)" --lease-duration 15

# TRACES: trace files (or YAML files that list them) beside the synthetic ones; PROFILE: their engine; OPTIONS: see --help.
bench-policy: $(STAMP) ## Replay every autoscaling policy on every trace (docs/policy-benchmark.md)
	@$(BIN)/python -m bench.policy $(if $(TRACES),--traces $(TRACES)) $(if $(PROFILE),--profile "$(PROFILE)") \
		$(if $(QUICK),--quick) $(OPTIONS)

fuzz: $(STAMP) ## Fuzz every parser and every way in (MINUTES=10, SEED=1; build/fuzz/report.json)
	@PYTHONPATH=operator:deploy/local:tests $(BIN)/python -m fuzz \
		$(if $(MINUTES),--minutes "$(MINUTES)") $(if $(SEED),--seed "$(SEED)")

audit: $(STAMP) $(AUDIT) ## Look for known vulnerabilities; write the SBOM and the licences (build/audit)
	@$(BIN)/python -m audit --tools $(AUDIT_VENV)/bin $(if $(STRICT),--strict)

clean: ## Remove what the targets made here (not the tools' cache)
	@rm -rf build dist $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
