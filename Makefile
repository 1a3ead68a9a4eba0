# The commands of this project. `make help` lists them; what needs more than a few lines is in tools/.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The programs that tools/setup fetched come first, and the checked SQL compiles from .sqlx, whatever
# database a developer has open.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
export SQLX_OFFLINE := true
# A golden that differs fails its test; it is never rewritten by running the tests.
export INSTA_UPDATE := no

CLIPPY := cargo clippy --workspace --all-targets --locked -- -D warnings
GOLDENS := ':(glob)**/golden/**' ':(glob)**/goldens/**' ':(glob)**/snapshots/**' ':(glob)**/*.snap' ':(glob)**/*.snap.new'

.PHONY: help up image secrets test-compose test check test-senders test-queries test-openapi fuzz bench bench-smoke bench-programs faults faults-mutants faults-ci
.PHONY: fmt licences unused one-tls contract manifests contract-accept lint docs goldens unit-tests doc-tests

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## set this machine up, build, start everything and play a night (make up ARGS="--listen 127.0.0.1:9000")
	@tools/setup
	cargo build --release --locked -p itsm
	./target/release/itsm up --demo $(ARGS)

image: ## the container image of every role (make image BASE=scratch asks no registry; BIN=path takes a binary)
	@tools/image $(BASE)

secrets: ## draws what docker-compose.yml needs, into ./secrets; builds the image where there is none
	@tools/secrets

# Needs root: it starts a container engine where there is none, and kills the processes of containers.
test-compose: ## runs docker-compose.yml for real: the main job, and every container killed once (BIN=path takes a binary)
	@tools/setup
	tests/compose/run $(if $(BIN),--itsm $(BIN)) $(ARGS)

test: ## all tests, on a private Postgres and private NATS servers
	@tools/setup test
	@$(MAKE) --no-print-directory unit-tests doc-tests

check: ## everything that is judged without running the tests
	@tools/setup check
	@$(MAKE) --no-print-directory fmt licences unused one-tls contract manifests lint docs goldens
	@echo "check: all good"

test-senders: ## real Prometheus and Alertmanager send to a real itsm
	@tools/setup
	tests/senders/run

test-queries: ## a real Prometheus asks a real itsm every query of the dashboards and alarms
	@tools/setup
	tests/queries/run

# ONLY=P1,P2 chooses figures, PAIRS=5 says how many pairs, SECONDS_OF=P1=5,P2=6 how long a stretch is,
# BIN=path plays another itsm. The build of the references is their own, beside them.
BENCH := tests/bench/run $(if $(ONLY),--only $(ONLY)) $(if $(PAIRS),--pairs $(PAIRS)) $(if $(SECONDS_OF),--seconds $(SECONDS_OF)) $(if $(BIN),--itsm $(BIN))

bench: bench-programs ## the figures beside their references, into docs/performance.md (make bench ONLY=P1,P2 PAIRS=5)
	$(BENCH)

bench-smoke: bench-programs ## one short pair of the figures that are quick: that it runs and counts right
	@python3 -m unittest discover -q tests/bench
	$(BENCH) --smoke

bench-programs:
	@tools/setup bench
	CARGO_TARGET_DIR=tests/bench/target cargo build --release --locked --quiet --manifest-path tests/bench/Cargo.toml
	$(if $(BIN),,cargo build --release --locked --quiet -p itsm)

# What `make faults` takes (ONLY, SEED, ROUNDS, LONG, BIN, KEEP) stands in tests/faults/README.md; make
# hands it on in the environment.
MUTANTS_BINARY := target/mutants/debug/itsm

faults: ## breaks a real installation in every way, and checks what is left (ONLY=F01,F03 SEED=7 ROUNDS=1000 LONG=1)
	@tools/setup faults
	$(if $(BIN),,cargo build --release --locked -p itsm)
	$(if $(BIN),,@$(MAKE) --no-print-directory $(MUTANTS_BINARY))
	POINTS="$(if $(BIN),$(POINTS),$(MUTANTS_BINARY))" tests/faults/run

faults-mutants: ## plants faults in a build of its own; each must be caught (ONLY=gap_ignored)
	@tools/setup faults
	@$(MAKE) --no-print-directory $(MUTANTS_BINARY)
	MUTANTS=1 BIN=$(MUTANTS_BINARY) tests/faults/run

faults-ci: ## part of CI: five minutes of faults with a fixed seed, on the debug binary
	@tools/setup faults
	cargo build --locked -p itsm
	SEED=20261123 SELECTION=ci BIN=target/debug/itsm tests/faults/run

# In a folder of its own: no other build may find these parts.
.PHONY: $(MUTANTS_BINARY)
$(MUTANTS_BINARY):
	RUSTFLAGS='--cfg mutants' cargo build --locked -p itsm --target-dir target/mutants

# The document and its answers at length; SECONDS is what schemathesis may take.
test-openapi: ## everything that the served OpenAPI allows and forbids, asked (make test-openapi SECONDS=180 SEED=2)
	@tools/setup openapi
	cargo build --release --locked -p itsm
	tests/openapi/run --itsm target/release/itsm --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(ARGS)

fuzz: ## libFuzzer on every target, ten minutes each (make fuzz SECONDS=60 ONLY=filters)
	@tools/fuzz $(or $(SECONDS),600) $(ONLY)

unit-tests: ## part of test: ARGS="-p incident" or ARGS="-E 'test(reopen)'" chooses
	tools/testenv cargo nextest run --workspace --locked $(ARGS)

doc-tests: ## part of test: the examples in the documentation
	cargo test --doc --workspace --locked --quiet

fmt: ## part of check: formatting
	cargo fmt --all --check

licences: ## part of check: the licences of all dependencies
	tools/licences

unused: ## part of check: dependencies that nothing uses
	cargo machete

# With two providers compiled in, rustls panics at its first use.
one-tls: ## part of check: aws-lc is the only TLS provider
	@if [ -n "$$(cargo tree --locked --quiet --workspace --edges normal,build,dev --invert ring 2>/dev/null)" ]; then \
	    cargo tree --locked --workspace --edges normal,build,dev --invert ring; \
	    echo "ring is compiled in beside aws-lc: switch off the default features of what pulls it"; exit 1; \
	fi

contract: ## part of check: the protocol is well-formed, breaks nobody, and its image is current
	buf lint
	buf breaking --against proto/buf-image.binpb
	@mkdir -p target
	@buf build --exclude-source-info -o target/buf-image.binpb
	@cmp -s target/buf-image.binpb proto/buf-image.binpb || { \
	    echo "the contract grew: run make contract-accept and commit proto/buf-image.binpb, so that what is new is protected too"; exit 1; }

manifests: ## part of check: deploy/kubernetes renders, fits the schemas, and is safe by default
	tools/manifests

contract-accept: ## take the protocol as it stands for the contract to keep (refuses to break it)
	buf lint
	@mkdir -p target
	if [ -e proto/buf-image.binpb ]; then buf breaking --against proto/buf-image.binpb; fi
	buf build --exclude-source-info -o proto/buf-image.binpb

# One compilation for both: clippy judges the code while the query macros speak to a migrated database.
lint: ## part of check: clippy without a warning, and .sqlx fresh
	tools/sqlx check $(CLIPPY)

docs: ## part of check: the documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

goldens: ## part of check: no golden file differs from what is committed
	@changed=$$(git status --porcelain -- $(GOLDENS)); \
	if [ -n "$$changed" ]; then \
	    echo "these goldens differ from what is committed; judge each difference, then commit it:"; echo "$$changed"; \
	    git --no-pager diff --stat HEAD -- $(GOLDENS); exit 1; \
	fi
