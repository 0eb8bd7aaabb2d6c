# A fresh machine needs two commands: `make demo` and `make test`. Each installs what it needs into .venv.
# Python keeps the bytecode of what it imports, whatever the environment says: or every process compiles it again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
SECONDS ?= 30
VENV := .venv
BIN := $(VENV)/bin
# pip would compile on one core, and the tests of all packages, too. Left out is also what we import in part or never.
# Templates in packages do not compile; that is fine.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable
UNCOMPILED = tests?|testing|fontTools|mypy|mypyc|networkx|selenium|sklearn
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x '/($(UNCOMPILED))/' $(VENV)/lib || :

.PHONY: demo test check nightly docs bench clean

demo: $(VENV)/.ready $(VENV)/.kernels
	$(BIN)/eventveil demo --seconds $(SECONDS)

test: $(VENV)/.ready-to-test $(VENV)/.kernels
	scripts/test

check: $(VENV)/.ready-to-test
	scripts/check

nightly: $(VENV)/.ready-for-nightly $(VENV)/.kernels
	scripts/nightly

docs: $(VENV)/.ready-for-docs
	scripts/docs

bench: $(VENV)/.ready-to-test $(VENV)/.kernels
	for script in histogram readers replay runtime; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 1) and "eventveil needs Python 3.11.1 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(BIN)/python pyproject.toml
	@echo "Installing into $(VENV). If PyTorch is missing there, pip downloads it: 3 GB with CUDA on Linux, 100 MB on macOS."
	@echo "For 200 MB instead of 3 GB: $(BIN)/pip install torch --index-url https://download.pytorch.org/whl/cpu"
	@echo "All other packages take 150 MB. Weights are in this repository; no recording or dataset is downloaded."
	$(INSTALL) '.[line]'
	$(COMPILE)
	touch $@

$(VENV)/.ready-to-test: $(BIN)/python pyproject.toml
	$(INSTALL) '.[test]'
	$(COMPILE)
	touch $@ $(VENV)/.ready

$(VENV)/.ready-for-nightly: $(BIN)/python pyproject.toml
	$(INSTALL) '.[nightly]'
	$(COMPILE)
	touch $@ $(VENV)/.ready $(VENV)/.ready-to-test

$(VENV)/.ready-for-docs: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

# numba caches compiled kernels on disk and does not notice changes in functions that they call from other files.
$(VENV)/.kernels: $(BIN)/python $(shell find core io replay stream -name '*.py')
	find core io replay stream -name '*.nb[ic]' -delete
	touch $@
