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

# What the container image is built for, and by.
STATIC  ?= $(shell uname -m)-unknown-linux-musl
BUILDAH ?= buildah

# What is installed beside the program.
SHARED = man/man1/tcpproxy.1 bash-completion/completions/tcpproxy zsh/site-functions/_tcpproxy \
         fish/vendor_completions.d/tcpproxy.fish
UNITS  = tcpproxy.service tcpproxy.socket tcpproxy@.service

# The proxies that `make docs-conformance` compares: files in proxyspec/peers, in this order.
CONTENDERS = tcpproxy tcpproxy-many tcpproxy-copying tcpproxy-splicing haproxy haproxy-splice nginx nginx-half-close \
             socat socat-fork-tuned rinetd redir systemd-socket-proxyd

.PHONY: tcpproxy demo test check conform selftest interop deployment stress soak fuzz bench ring-bench docs-conformance docs-performance \
        doc share install uninstall deb image clean help toolchain

tcpproxy: toolchain ## build the proxy and say where it is
	$(CARGO) build --release --locked -p tcpproxy
	@cp -f target/release/tcpproxy tcpproxy/tcpproxy
	@echo "built: target/release/tcpproxy, and a copy: tcpproxy/tcpproxy"

test: toolchain ## run every test of the workspace
	$(CARGO) test --workspace --locked --features tcpproxy/manual

check: toolchain ## formatting, lints and docs, as CI runs them
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path ringbuf/benches/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --features tcpproxy/manual --locked -- -D warnings
	$(CARGO) clippy --manifest-path ringbuf/benches/Cargo.toml --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

stress: toolchain ## random misbehaving peers around the release build, for longer than the tests do
	TESTKIT_ROUNDS=500 $(CARGO) test --release --locked -p tcpproxy --test stress -- --nocapture

fuzz: toolchain ## each fuzz target for MINUTES=…: see fuzz/README.md
	for target in ring relay; do \
	  mkdir -p fuzz/target/corpus/$$target && \
	  $(CARGO) fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$$(($(MINUTES) * 60)) -max_len=1024 || exit 1; \
	done

soak: tcpproxy ## sessions of every kind through the release build for MINUTES=…, many at once; nothing may be lost or leak
	$(CARGO) build --release --locked -p proxyspec
	target/release/proxyspec stress --seconds $$(($(MINUTES) * 60)) --clients 64 --refusals --memory-growth 16MiB -- \
	  target/release/tcpproxy {host} {port} {listen} --max-clients 0 --quiet

bench: tcpproxy ## this proxy beside those that are installed: ROUNDS=… TIME=… ARGS='--only bulk'
	$(CARGO) run --release --locked -p proxyspec -- bench --rounds $(ROUNDS) --seconds $(TIME) $(ARGS)

docs-performance: ## make bench on a quiet machine, written into docs/performance.md
	$(MAKE) bench ARGS="--markdown docs/performance.md --plots docs/performance --json docs/performance/figures.json $(ARGS)"

ring-bench: toolchain ## the ring beside other rings
	$(CARGO) run --release --locked --manifest-path ringbuf/benches/Cargo.toml -- --bench $(ARGS)

conform: tcpproxy ## the conformance suite on this proxy: one client at a time, many at once, and every byte spliced
	$(CARGO) build --release --locked -p proxyspec
	target/release/proxyspec conform --config proxyspec/peers/tcpproxy.conf
	target/release/proxyspec conform --config proxyspec/peers/tcpproxy-many.conf
	target/release/proxyspec conform --config proxyspec/peers/tcpproxy-splicing.conf

selftest: toolchain ## the conformance suite on proxies with planted bugs: it must see each of them
	$(CARGO) build --release --locked -p proxyspec
	target/release/proxyspec selftest

docs-conformance: tcpproxy ## the suite on this proxy and the installed ones, written into docs/conformance.md
	$(CARGO) build --release --locked -p proxyspec
	target/release/proxyspec compare --json docs/conformance.json --markdown docs/conformance.md \
	  $(CONTENDERS:%=proxyspec/peers/%.conf)

interop: tcpproxy ## real programs through the proxy: see interop/packages.txt
	$(CARGO) build --release --locked -p proxyspec -p webproxy
	interop/run.sh

deployment: tcpproxy share ## install, start, replace and remove it as operators do: see deploy/tests
	$(CARGO) build --release --locked -p proxyspec
	$(CARGO) build --release --locked -p tcpproxy --target $(STATIC)
	interop/run.sh deploy/tests/*.sh

demo: tcpproxy ## a page with pictures through the proxy; HOST=… PORT=… LISTEN=… for a real site
	$(CARGO) build --release --locked -p proxyspec
	HOST="$(HOST)" PORT="$(PORT)" LISTEN="$(LISTEN)" interop/demo.sh

doc: toolchain ## the documentation, as a book in target/doc
	$(CARGO) doc --workspace --no-deps --locked

share: toolchain ## the manual page and the completions for bash, zsh and fish, in target/share
	$(CARGO) run --release --locked --quiet -p tcpproxy --features manual --bin manual -- target/share

install: tcpproxy share ## install the program, its manual, completions and units below PREFIX
	install -D -m 755 target/release/tcpproxy "$(DESTDIR)$(PREFIX)/bin/tcpproxy"
	for file in $(SHARED); do install -D -m 644 "target/share/$$file" "$(DESTDIR)$(PREFIX)/share/$$file" || exit; done
	for unit in $(UNITS); do \
	  install -D -m 644 "deploy/systemd/$$unit" "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" && \
	  sed -i 's|/usr/bin/|$(PREFIX)/bin/|' "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" || exit; \
	done

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(PREFIX)/bin/tcpproxy"
	for file in $(SHARED); do rm -f "$(DESTDIR)$(PREFIX)/share/$$file" || exit; done
	for unit in $(UNITS); do rm -f "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" || exit; done

deb: tcpproxy share ## a Debian package in target/debian
	@$(CARGO) deb --version > /dev/null 2>&1 || { echo "cargo-deb is missing: cargo install cargo-deb" >&2; exit 1; }
	$(CARGO) deb --quiet --package tcpproxy --no-build --output target/debian/ # it warns of what share has made

image: toolchain ## a container image of the static program alone, by buildah
	$(CARGO) build --release --locked --target $(STATIC) -p tcpproxy
	install -D -m 755 target/$(STATIC)/release/tcpproxy target/image/tcpproxy
	$(BUILDAH) build --quiet --tag tcpproxy --file deploy/Containerfile target/image

clean: ## remove everything that was built
	$(CARGO) clean
	rm -f tcpproxy/tcpproxy

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

toolchain:
	@command -v $(CARGO) > /dev/null || { \
	  echo "cargo is missing: install Rust from https://rustup.rs, or the package 'cargo' of your system" >&2; exit 1; }
