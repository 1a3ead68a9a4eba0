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

.PHONY: help up test check test-senders test-openapi fuzz
.PHONY: fmt licences unused one-tls contract contract-accept lint docs goldens unit-tests doc-tests

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## set this machine up, build, start everything and play a night (make up ARGS="--listen 127.0.0.1:9000")
	@tools/setup
	cargo build --release --locked -p itsm
	./target/release/itsm up --demo $(ARGS)

test: ## all tests, on a private Postgres and private NATS servers
	@tools/setup test
	@$(MAKE) --no-print-directory unit-tests doc-tests

check: ## everything that is judged without running the tests
	@tools/setup check
	@$(MAKE) --no-print-directory fmt licences unused one-tls contract lint docs goldens
	@echo "check: all good"

test-senders: ## real Prometheus and Alertmanager send to a real itsm
	@tools/setup
	tests/senders/run

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
