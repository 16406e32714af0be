# Short commands, the same for people and CI.
PY = .venv/bin/python

setup: ; @tools/setup
format: setup ; .venv/bin/ruff format . && .venv/bin/ruff check --fix .
lint: setup ; @ok=true; for command in '.venv/bin/ruff format --check .' '.venv/bin/ruff check .' .venv/bin/codespell 'npm --prefix clients/js --silent run lint'; do echo "$$command"; $$command || ok=false; done; $$ok
types: setup ; .venv/bin/mypy && tests/js/node_modules/.bin/tsc -p tests/js && npm --prefix clients/js --silent run types
js: setup ; npm --prefix tests/js --silent test && npm --prefix clients/js --silent test
unit: setup ; PRESENCED_EXAMPLES=0.1 $(PY) -m pytest -q tests/unit tests/features
property: setup ; PRESENCED_EXAMPLES=0.1 $(PY) -m pytest -q tests/property
check: ; @$(MAKE) --no-print-directory --output-sync --keep-going --jobs 2 setup property unit types js lint || { echo "make check: search for FAIL and *** above"; false; }
contract: setup ; npm --prefix clients/js --silent run contract && npm --prefix clients/js --silent run package
test: setup ; @$(MAKE) --no-print-directory --output-sync --keep-going --jobs 2 lint types js && $(MAKE) --no-print-directory contract && $(PY) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
soak: setup ; $(PY) -m tests.soak --seed $(or $(SEED),0) --minutes $(or $(MINUTES),30)
simulate: setup ; $(PY) -m tests.simulation --seed $(or $(SEED),0) --minutes $(or $(MINUTES),10)
docs: setup ; $(PY) -m tools.docs
site: setup ; $(PY) -m tools.site
build: setup ; $(PY) -m build && $(PY) -m build --outdir dist clients/python
bench: setup ; $(PY) -m pip install --quiet --disable-pip-version-check --editable '.[bench]' && npm --prefix benchmarks/peers ci --silent --no-audit --no-fund && npm --prefix benchmarks/peers/friends ci --silent --ignore-scripts --no-audit --no-fund && npm --prefix benchmarks/peers/cluster ci --silent --ignore-scripts --no-audit --no-fund && $(PY) -m benchmarks
clean: ; rm -rf benchmarks/peers/node_modules benchmarks/peers/friends/node_modules benchmarks/peers/cluster/node_modules .venv build dist site tests/js/node_modules clients/js/node_modules clients/js/mutation/node_modules clients/js/dist tests/prisma/node_modules examples/nextjs/node_modules examples/nextjs/.next examples/nextjs/generated examples/vite-react/node_modules examples/react-native/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .screenshots

.PHONY: setup format lint types js contract unit property check test soak simulate docs site build bench clean
