# Two commands matter: `make run` and `make test`. Python 3.11 alone is enough: the first call
# makes .venv from the hashed requirement files, later ones see the stamp and start at once.

PYTHON ?= python3
VENV := .venv
GEN := .venv-gen
BIN := $(VENV)/bin
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PIP := -m pip --disable-pip-version-check --no-input install --quiet
PROTOS = $(sort $(notdir $(wildcard proto/kronforce/v1/*.proto)))
SERVICES = $(sort $(notdir $(shell grep -l '^service ' proto/kronforce/v1/*.proto)))
RELEASED = $(sort $(wildcard proto/released/*.binpb))
TYPED := kronforce agent/kronforce_agent clients/python/kronforce_client egress/kronforce_egress \
	gateway/kronforce_gateway redaction/kronforce_redaction .ci/smoke_wheel.py tests/services/postgres.py
PROTOC := $(GEN)/bin/python -m grpc_tools.protoc -I proto -I build/googleapis
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

.PHONY: run test check check-contract check-generated generate bench test-chaos test-kills \
	soak fuzz wheel lock clean

run: $(VENV)/.stamp-run
	@$(BIN)/kronforce up --seed --trust-operators --open-agents

# Tests start some two thousand processes of ours: where bytecode may not be kept, each of them
# compiles all of it anew.
test test-chaos: export PYTHONDONTWRITEBYTECODE :=

# Work is stolen: in chunks, all tests with processes of their own would go to one worker.
test: $(VENV)/.stamp kronforce/v1/kronforce.binpb
	$(BIN)/pytest -n auto --dist worksteal --ignore=tests/bench --ignore=tests/chaos tests

bench: $(VENV)/.stamp
	$(BIN)/python -m tests.bench

test-chaos: $(VENV)/.stamp
	$(BIN)/pytest tests/chaos

# Of it, rounds of kills alone: so many, from this seed on; `make test-kills ROUNDS=20 SEED=17`
# plays one chapter again.
ROUNDS ?= 1000
SEED ?= 1
test-kills: $(VENV)/.stamp
	KRONFORCE_KILL_ROUNDS=$(ROUNDS) KRONFORCE_KILL_SEED=$(SEED) \
		$(BIN)/pytest -n 2 tests/chaos/test_many_kills.py

# Two hours of mixed load; KRONFORCE_SOAK_SECS says otherwise.
soak: $(VENV)/.stamp
	$(BIN)/python -m tests.soak

# Ten minutes for each target; KRONFORCE_FUZZ_SECS says otherwise.
fuzz: $(VENV)/.stamp
	$(BIN)/python -m tests.fuzz

check: $(VENV)/.stamp check-contract check-generated
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/deptry .

# The contract: style, format, and nothing that breaks a released version.
check-contract: $(VENV)/.stamp build/googleapis
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	@for released in $(RELEASED); do \
		echo "buf breaking proto --against $$released"; \
		$(BIN)/buf breaking proto --against $$released --exclude-imports || exit 1; \
	done

# The committed code is what the generator writes today.
check-generated: build/generated
	@diff -r --exclude=__init__.py --exclude=__pycache__ --exclude='*.binpb' --exclude=README.md \
		build/generated/kronforce/v1 kronforce/v1 || \
		{ echo "kronforce/v1 is not what proto/ generates: run make generate and commit"; exit 1; }

# Copies only what changed, so that running it twice touches nothing.
generate: build/generated
	@mkdir -p kronforce/v1 && test -e kronforce/v1/__init__.py || touch kronforce/v1/__init__.py
	@for old in kronforce/v1/*_pb2*.py*; do \
		test ! -e "$$old" || test -e "build/generated/$$old" || rm -v "$$old"; \
	done
	@cd build/generated && for new in kronforce/v1/*; do \
		cmp -s "$$new" "$(CURDIR)/$$new" || cp -v "$$new" "$(CURDIR)/$$new"; \
	done
	$(BIN)/buf build proto -o build/kronforce.binpb
	@cmp -s build/kronforce.binpb kronforce/v1/kronforce.binpb || \
		cp -v build/kronforce.binpb kronforce/v1/kronforce.binpb
	@$(BIN)/python clients/python/generate_docstrings.py
	@$(BIN)/python clients/python/generate_sync.py
	@$(BIN)/python clients/python/generate_job_schema.py
	@$(BIN)/python clients/python/generate_openapi.py
	@$(BIN)/python gateway/generate_mcp_tools.py
	@$(BIN)/ruff check --quiet --fix-only clients/python && $(BIN)/ruff format --quiet clients/python

# The descriptor set with the contract's comments: what docstrings, docs/job.schema.json and
# docs/openapi.json are checked against. Not in git; a test run makes it where it is missing or
# older than the contract.
kronforce/v1/kronforce.binpb: $(PROTOS:%=proto/kronforce/v1/%) | build/googleapis
	$(BIN)/buf build proto -o build/kronforce.binpb
	@cp build/kronforce.binpb $@

.PHONY: build/generated
build/generated: $(GEN)/.stamp build/googleapis
	@rm -rf $@ && mkdir -p $@
	$(PROTOC) --plugin=protoc-gen-mypy=$(GEN)/bin/protoc-gen-mypy \
		--python_out=$@ --mypy_out=quiet:$@ $(PROTOS:%=kronforce/v1/%)
	$(PROTOC) --plugin=protoc-gen-mypy_grpc=$(GEN)/bin/protoc-gen-mypy_grpc \
		--grpc_python_out=$@ --mypy_grpc_out=quiet:$@ $(SERVICES:%=kronforce/v1/%)

# google/api and google/rpc as the installed package ships them: the contract's only foreign
# imports, copied so that buf and protoc find them without a network.
build/googleapis: $(VENV)/.stamp
	@rm -rf $@ && mkdir -p $@
	@cd "$(SITE)" && find google/api google/rpc google/type google/longrunning -name '*.proto' \
		-exec cp --parents {} "$(CURDIR)/$@/" \;

# Carries the descriptor set, which is why it generates first.
wheel: $(VENV)/.stamp generate
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel -d dist

# For `kronforce up`: nothing that only tests or checks need.
$(VENV)/.stamp-run: requirements/run.txt requirements/build.txt pyproject.toml
	@echo "setting up $(VENV): once, and after a change of requirements (half a minute to a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.stamp: $(VENV)/.stamp-run requirements/dev.txt
	@echo "adding what tests and checks need (about 15 s)"
	@$(BIN)/python $(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(GEN)/.stamp: requirements/generate.txt
	test -x $(GEN)/bin/python || $(PYTHON) -m venv $(GEN)
	$(GEN)/bin/python $(PIP) --require-hashes -r requirements/generate.txt
	@touch $@

# Needs uv on the machine or in the environment; only whoever changes a dependency does this.
lock:
	$(LOCK) -c requirements/constraints.in --all-extras pyproject.toml -o requirements/run.txt
	$(LOCK) -c requirements/constraints.in --group build -o requirements/build.txt
	$(LOCK) -c requirements/constraints.in --all-extras --group dev pyproject.toml \
		-o requirements/dev.txt
	$(LOCK) requirements/generate.in -o requirements/generate.txt

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
