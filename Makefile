# Thin over cargo: every recipe is one command or two.

CARGO  ?= cargo
PREFIX ?= /usr/local
# Where the demonstration listens, and the real site it proxies to if HOST is given (PORT is then 80).
LISTEN ?= 8000
HOST   ?=
PORT   ?=
# How often, and for how many seconds each time, `make bench` measures; ARGS is what else to tell it.
ROUNDS ?= 3
TIME   ?= 2
ARGS   ?=
# How long to go on looking for trouble.
MINUTES ?= 10

.PHONY: tcpproxy test check stress fuzz interop demo doc install uninstall clean help toolchain

tcpproxy: toolchain ## build the proxy and say where it is
	$(CARGO) build --release --locked -p tcpproxy
	@cp -f target/release/tcpproxy tcpproxy/tcpproxy
	@echo "built: target/release/tcpproxy, and a copy: tcpproxy/tcpproxy"

test: toolchain ## run every test of the workspace
	$(CARGO) test --workspace --locked

check: toolchain ## formatting, lints and docs, as CI runs them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

stress: toolchain ## random misbehaving peers around the release build, for longer than the tests do
	TESTKIT_ROUNDS=500 $(CARGO) test --release --locked -p tcpproxy --test stress -- --nocapture

fuzz: toolchain ## each fuzz target for MINUTES=…: see fuzz/README.md
	for target in ring relay; do \
	  mkdir -p fuzz/target/corpus/$$target && \
	  $(CARGO) fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$$(($(MINUTES) * 60)) -max_len=1024 || exit 1; \
	done

bench: tcpproxy ## this proxy beside those that are installed: ROUNDS=… TIME=… ARGS='--only bulk'
	$(CARGO) run --release --locked -p testkit -- bench --rounds $(ROUNDS) --seconds $(TIME) $(ARGS)

interop: tcpproxy ## real programs through the proxy: see interop/packages.txt
	$(CARGO) build --release --locked -p testkit
	$(CARGO) build --release --locked -p tcpproxy --example webproxy
	interop/run.sh

demo: tcpproxy ## a page with pictures through the proxy; HOST=… PORT=… LISTEN=… for a real site
	$(CARGO) build --release --locked -p testkit
	HOST="$(HOST)" PORT="$(PORT)" LISTEN="$(LISTEN)" interop/demo.sh

doc: toolchain ## the documentation, as a book in target/doc
	$(CARGO) doc --workspace --no-deps --locked

install: tcpproxy ## install the program below PREFIX
	install -D -m 755 target/release/tcpproxy "$(DESTDIR)$(PREFIX)/bin/tcpproxy"

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/tcpproxy"

clean: ## remove everything that was built
	$(CARGO) clean
	rm -f tcpproxy/tcpproxy

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

toolchain:
	@command -v $(CARGO) > /dev/null || { \
	  echo "cargo is missing: install Rust from https://rustup.rs, or the package 'cargo' of your system" >&2; exit 1; }
