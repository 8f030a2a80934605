# Everything that CI and people run. `make help` lists it; docs/developer/lab.md tells how the guests work.

SHELL := /bin/bash
PYTHON := .venv/bin/python
# What `test-kernel` and its like run; one test: make test-kernel TESTS='tests/kernel/test_x.py::test_y'
TESTS ?= tests/kernel tests/contract
# The guest sees this tree read-only.
GUEST_PYTEST := env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis $(PYTHON) -m pytest -p no:cacheprovider

.DEFAULT_GOAL := help
.PHONY: help setup lint test-unit test-kernel test-kernel-uml test-kernel-confined soak image test-image test suite test-all test-portable demo bench bench-quick bench-source reference coverage-spec drift-table docs package clean compile

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "%-21s %s\n", $$1, $$2 }'

setup: ## install Debian packages and .venv; does nothing when all is there
	@lab/setup.sh </dev/null

lint: setup ## formatting, style, sizes, types, import directions
	$(PYTHON) -m ruff format --check . </dev/null
	$(PYTHON) -m ruff check . </dev/null
	$(PYTHON) -m lab.code_rules </dev/null
	$(PYTHON) -m mypy </dev/null
	.venv/bin/lint-imports </dev/null
	$(PYTHON) -m lab.spec_coverage </dev/null

test-unit: setup ## tests that need no guest, on this machine
	$(PYTHON) -m pytest </dev/null

test-portable: ## tests that need neither root, Debian nor a guest: what runs on any machine with Python and a C compiler
	@lab/setup.sh --python-only </dev/null
	$(PYTHON) -m pytest tests/unit tests/scenarios tests/properties tests/faults </dev/null

# What is compiled here need not be compiled in the guest, at each start.
compile: setup
	@env -u PYTHONDONTWRITEBYTECODE $(PYTHON) -m compileall -q src tests lab bench </dev/null

test-kernel: compile ## all data-plane and driver tests in Debian's kernel under QEMU; OPTIONS='-k name' or TESTS=... selects
	lab/boot.sh -k qemu -t 0 -o lab/out -- $(GUEST_PYTEST) $(TESTS) -v $(OPTIONS)

test-kernel-uml: compile ## the same in user-mode-linux: boots in 2 s, iptables-legacy only
	lab/boot.sh -k uml -t 0 -o lab/out -- $(GUEST_PYTEST) $(TESTS) -v $(OPTIONS)

test-kernel-confined: compile ## data-plane tests with the agent confined as the chart's container; GUEST=uml for the quick guest
	lab/boot.sh -k $(or $(GUEST),qemu) -t 0 -o lab/out -- env IPVSAGENT_CONFINED=1 $(GUEST_PYTEST) \
		$(or $(filter-out tests/contract,$(TESTS)),tests/kernel) -v $(OPTIONS)

SOAK_SECONDS ?= 1800
soak: compile ## random changes, drift, restarts and kills under traffic; SOAK_SECONDS (1800), SOAK_SEED, SOAK_KERNEL=uml
	lab/boot.sh -k $(or $(SOAK_KERNEL),qemu) -t $$(($(SOAK_SECONDS) + 660)) -o lab/out -- \
		env SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(or $(SOAK_SEED),$(shell date +%s)) \
		$(GUEST_PYTEST) tests/kernel/test_soak.py -v --junit-xml=lab/out/soak.xml

image: setup ## carry the Dockerfile out in plain folders below build/image; needs root and a network
	@mkdir -p build
	$(PYTHON) -m lab.image build/image </dev/null >build/image.log 2>&1 || { tail -40 build/image.log; exit 1; }

test-image: image ## the image starts, has all that it needs, and keeps to its size
	IPVSAGENT_IMAGE=build/image $(PYTHON) -m pytest tests/image </dev/null

test: compile ## style, types and every test in the quickest place that can show it: this machine, UML, QEMU
	@$(MAKE) --no-print-directory -j 2 lint suite

suite: compile # what `make test` runs beside lint
	@$(PYTHON) -m lab.suite quick </dev/null

test-all: lint compile test-image ## every test in both guests, confined as in the chart, and in the image
	$(PYTHON) -m lab.suite all </dev/null

demo: compile ## show the agent at work in a guest, with real traffic
	@echo "booting a kernel that has IPVS (10 s without hardware virtualisation)"
	@lab/boot.sh -k qemu -t 900 -- env IPVSAGENT_TERMINAL=$$([ -t 1 ] && echo 1) $(PYTHON) -m lab.demo

bench: compile ## what large clusters cost, 15 min: bench/results.json, docs/benchmarks.md, plots
	PYTHONPATH=src $(PYTHON) -m bench </dev/null

bench-quick: compile ## the same with small clusters in user-mode-linux: prints a table, writes lab/out/bench
	PYTHONPATH=src $(PYTHON) -m bench --quick --kernel uml </dev/null

bench-source: setup ## what it costs to list, decode and index a large cluster over HTTP
	$(PYTHON) -m bench.source </dev/null
	$(PYTHON) -m bench.scrape </dev/null

reference: setup ## write what is generated from the code: schema and tables of the reference
	PYTHONPATH=src $(PYTHON) -m lab.reference </dev/null
	PYTHONPATH=src $(PYTHON) -m lab.chart_fields </dev/null
	$(PYTHON) -m lab.chart_reference </dev/null

docs: setup ## the documentation site: build/site/index.html
	$(PYTHON) -m mkdocs build --strict --quiet </dev/null

package: setup ## wheel and sdist: dist
	$(PYTHON) -m build --no-isolation </dev/null

coverage-spec: setup ## rules of the behaviour specification that no test cites
	$(PYTHON) -m lab.spec_coverage </dev/null

drift-table: setup ## fill the table of docs/concepts/drift.md from the reports of the last guest tests
	$(PYTHON) -m lab.drift_table --write </dev/null

clean: ## remove what was built; packages stay
	rm -rf .venv build dist lab/out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
