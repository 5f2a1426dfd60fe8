# make run     the archive with demo data, on loopback
# make test    all tests
# make bench   the benchmarks
# make check   ruff, mypy, import-linter, file length
# make docs    the reference pages that are made from the code

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests run in parallel; TESTS and PYTEST_ARGS narrow them: make test TESTS=tests/wire PYTEST_ARGS="-k pdu"
TESTS ?= tests
JOBS ?= 2
RUN_ARGS ?=

.PHONY: run test bench check docs venv clean

run: $(READY)
	@exec $(BIN)/hounsfield serve --demo $(RUN_ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(TESTS) -n $(JOBS) $(PYTEST_ARGS)

bench: $(READY)
	$(BIN)/python -m bench $(BENCH_ARGS)

check: $(READY)
	$(BIN)/ruff check src tests bench scripts
	$(BIN)/ruff format --check src tests bench scripts
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_length.py

docs: $(READY)
	$(BIN)/python scripts/reference.py

venv: $(READY)

$(READY): requirements/dev.txt pyproject.toml scripts/bootstrap.py
	@$(PYTHON) scripts/bootstrap.py $(VENV)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
