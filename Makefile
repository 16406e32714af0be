# One-line commands, the same for people and CI. `make test` is all of it.
PY = .venv/bin/python

setup: ; @tools/setup
format: setup ; .venv/bin/ruff format . && .venv/bin/ruff check --fix .
lint: setup ; .venv/bin/ruff format --check . && .venv/bin/ruff check . && tests/js/node_modules/.bin/tsc -p tests/js
types: setup ; .venv/bin/mypy
test: lint types ; $(PY) -m pytest
simulate: setup ; $(PY) -m tests.simulation --seed $(or $(SEED),0) --minutes $(or $(MINUTES),10)
docs: setup ; $(PY) -m tools.docs
build: setup ; $(PY) -m build
bench: setup ; $(PY) -m pip install --quiet --disable-pip-version-check --editable '.[bench]' && $(PY) -m benchmarks
clean: ; rm -rf .venv build dist tests/js/node_modules tests/prisma/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .screenshots

.PHONY: setup format lint types test simulate docs build bench clean
