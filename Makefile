# Two commands matter: `make run` and `make test`. Python alone is enough; the first run
# makes .venv from the hashed requirement files, later runs see the stamp and start at once.

PYTHON ?= python3
VENV := .venv
GEN := .venv-gen
BIN := $(VENV)/bin
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PROTOS := $(sort $(wildcard proto/kronforce/v1/*.proto))
SOURCES := kronforce agent/kronforce_agent clients/python/kronforce_client
PIP := -m pip --disable-pip-version-check install --quiet --require-hashes

.PHONY: run test check generate bench test-chaos clean

$(VENV)/.stamp: requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) -r requirements/dev.txt
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(GEN)/.stamp: requirements/generate.txt
	test -x $(GEN)/bin/python || $(PYTHON) -m venv $(GEN)
	$(GEN)/bin/python $(PIP) -r requirements/generate.txt
	touch $@

# google/api and google/rpc as the installed package ships them: the contract's only foreign
# imports, copied so that buf and protoc find them without a network.
build/googleapis: $(VENV)/.stamp
	rm -rf $@ && mkdir -p $@
	cd "$(SITE)" && find google/api google/rpc google/type google/longrunning -name '*.proto' \
		-exec cp --parents {} "$(CURDIR)/$@/" \;

generate: build/googleapis $(GEN)/.stamp
	find kronforce/v1 -type f \( -name '*_pb2*.py' -o -name '*_pb2*.pyi' \) -delete 2>/dev/null || true
	$(GEN)/bin/python -m grpc_tools.protoc -I proto -I build/googleapis \
		--plugin=protoc-gen-mypy=$(GEN)/bin/protoc-gen-mypy \
		--plugin=protoc-gen-mypy_grpc=$(GEN)/bin/protoc-gen-mypy_grpc \
		--python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
		$(PROTOS:proto/%=%)
	touch kronforce/v1/__init__.py
	$(BIN)/buf build proto -o build/kronforce.binpb

run: $(VENV)/.stamp
	$(BIN)/kronforce up --seed

test: $(VENV)/.stamp
	$(BIN)/pytest -n auto --ignore=tests/bench --ignore=tests/chaos tests

bench: $(VENV)/.stamp
	$(BIN)/python -m tests.bench

test-chaos: $(VENV)/.stamp
	$(BIN)/pytest -m chaos tests/chaos

check: $(VENV)/.stamp build/googleapis
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/buf lint proto
	$(BIN)/buf format -d --exit-code proto

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
