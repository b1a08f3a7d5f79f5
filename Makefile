# make demo   trains, lowers, runs and compares real models (first run installs everything)
# make test   the whole test suite
# make lint   ruff and mypy
# make docs   the documentation as a site, in build/site
# make bench  side-by-side measurements, minutes
# make fuzz   random calls of every op against eager PyTorch, MINUTES=20
# make mutate damaged models through every public door, COUNT=20000, minutes
# make suite  ExecuTorch's own operator suite in our flows, minutes; writes docs/suite.md
# make conformance  coremltools' own tests with our engine, two hours of CPU; writes docs/conformance.md
.PHONY: demo test lint docs bench fuzz mutate suite conformance clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 20
COUNT ?= 20000
FIRST ?= 0
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
# pip compiles the bytecode of everything in one process. What each of ours imports is compiled
# afterwards on all cores, the rest when it is imported.
COMPILED := torch executorch sympy coremltools torchao numpy scipy sklearn
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile \
  --constraint constraints.txt
NATIVE := $(wildcard src/executorch_coreml/runtime/cpp/* cmake/*)

demo: $(READY)
	$(PY) examples/demo.py

test: $(READY)
	$(PY) -m pytest -n 2 --dist loadgroup

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: $(READY)
	$(PIP) --no-build-isolation --editable '.[dev,bench]'
	$(PY) benchmarks/lowering.py
	$(PY) benchmarks/runtime.py
	$(PY) benchmarks/cpp.py

fuzz: $(READY)
	PYTHONPATH=tests $(PY) -m fuzz --minutes $(MINUTES)

mutate: $(READY)
	PYTHONPATH=tests $(PY) -m mutations --count $(COUNT) --first $(FIRST)

# No configuration of ours: the suite is another project's, whose conftest knows the flows.
suite: $(READY)
	PYTHONPATH=tests $(PY) -m pytest --quiet -c /dev/null -n 2 -W ignore -p no:cacheprovider \
	  -p executorch_suite.plugin --suite-json build/suite.json --suite-table docs/suite.md \
	  "$$($(PY) -c 'import executorch.backends.test.suite as s; print(s.__path__[0])')/operators"

# What is done stays done in build/conformance: another call goes on. WORDS chooses files by path,
# SAMPLE=3 takes up to 3 tests of each function in each precision.
conformance: $(READY)
	PYTHONPATH=tests $(PY) -m conformance --table docs/conformance.md $(if $(SAMPLE),--sample $(SAMPLE)) $(WORDS)

# torch first: the packages after it are then content with the build that is installed. The plugin
# compiles against the installed executorch, hence no build isolation.
$(READY): pyproject.toml constraints.txt CMakeLists.txt $(NATIVE)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing dependencies into $(VENV) (a few minutes the first time)"
	$(PIP) torch
	$(PIP) executorch scikit-build-core nanobind cmake ninja
	$(PIP) --no-build-isolation --editable '.[dev]'
	@cd $(VENV)/lib/python3*/site-packages && $(abspath $(PY)) -m compileall -qq -j 0 -x '/tests?/' \
	  $(COMPILED) || true # packages ship templates that are no Python
	@touch $@

clean:
	rm -rf $(VENV) build
