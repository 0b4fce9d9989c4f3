# Every command a developer or CI needs. `./setup RECIPE` installs what is missing first.

set shell := ["bash", "-euo", "pipefail", "-c"]

# What there is.
default:
    @just --list

# The program, optimised: target/release/longshore.
build:
    cargo build --release --locked -p longshore

# The main job on the embedded default: a generated qcow2 from a local TLS server into an image layout.
demo:
    cargo build --locked -p longshore
    tests/demo "${CARGO_TARGET_DIR:-target}/debug/longshore"

# The guests that exist for the tests, as components in target/fixtures. Builds the whole workspace at once: package by
# package cargo would choose other features each time, and build the dependencies again.
fixtures:
    cargo build --locked --workspace
    "${CARGO_TARGET_DIR:-target}/debug/build-fixtures"

# All tests, against real peers on 127.0.0.1. Ends with their sum.
test: fixtures
    tests/sum cargo test --locked --workspace --no-fail-fast

# One test binary or filter: `just test-some failures checksum`.
test-some name *filter: fixtures
    cargo test --locked --workspace --test {{ name }} {{ filter }}

# That many transfers with seeded faults on either side, over every kind of registry; from the seed FIRST if it is given.
# Prints what went wrong, with its seed, and the counts.
faults count *first: fixtures
    "${CARGO_TARGET_DIR:-target}/debug/faults" {{ count }} {{ first }}

# That many kills at random moments of imports with a checkpoint, each continued; prints what was sent twice.
kills count: fixtures
    LONGSHORE_KILLS={{ count }} cargo test --locked --workspace --test checkpoint killed_at_random -- --nocapture

# Formatting, without changing anything.
fmt-check:
    cargo fmt --all --check
    cargo fmt --all --check --manifest-path tests/fixtures/Cargo.toml

# Lints; a warning is an error.
clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# The documentation builds without a warning.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# The fuzz targets still fit what they fuzz. They are a workspace of their own, which builds everything once more.
fuzz-check:
    cargo check --manifest-path fuzz/Cargo.toml

# Fuzzes the probe, each format for that many seconds: `just fuzz 60 qcow2 vmdk`, or without names all of them.
fuzz seconds *formats:
    nice fuzz/run {{ seconds }} {{ formats }}

# The cryptography of AWS-LC's FIPS module: it builds, passes its self-tests, and does what policies may demand of it.
fips-check:
    cargo test --locked --workspace --features longshore/fips --lib -- tls:: policy::

# Licences, sources, duplicate cryptography.
deny:
    cargo deny --locked check bans licenses sources

# Known vulnerabilities; fails loudly where the advisory database cannot be had.
advisories:
    cargo deny --locked check advisories

# All that needs no peer.
checks: fmt-check deny clippy doc

# What CI runs, in CI's order.
ci: checks test

# What an import costs beside other ways of doing the same, into docs/bench. Takes about fifteen minutes on a quiet machine, as root.
bench: bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" compare docs/bench

# The main comparison alone, without writing anything.
bench-quick rounds="5": bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" quick {{ rounds }}

# Throughput against what this machine could do.
bench-bound: bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" bound

# A source far away, with several numbers of connections.
bench-link: bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" link

# Peak memory of imports of these sizes in GiB; fails above 64 MiB.
bench-memory *sizes="1 8 64": bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" memory {{ sizes }}

# From start to the first request.
bench-start: bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" start

# The import with 0.75 of a CPU, in a control group of its own: as root. Fails below 500 MB/s.
bench-quota: bench-build
    "${CARGO_TARGET_DIR:-target}/release/longshore-bench" quota

# Allocations and, by callgrind, instructions of the hot functions; fails on a regression.
bench-counts: bench-build fixtures
    "${CARGO_TARGET_DIR:-target}/release/bench-counts" check bench/counts.json

[private]
bench-build:
    cargo build --release --locked -p longshore -p longshore-bench
