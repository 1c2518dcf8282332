# Thin over cargo: every recipe is one command or two.

CARGO  ?= cargo
PREFIX ?= /usr/local
# The port of the demonstration, and the real site behind it if HOST is given (PORT is then 80).
LISTEN ?= 8000
HOST   ?=
PORT   ?=
# The rounds of `make bench`, the turns of each contender in a round, and the seconds of each turn; ARGS are more arguments.
ROUNDS ?= 5
TURNS  ?= 10
TIME   ?= 0.1
ARGS   ?=
# How long the scripts of `make sessions` are, and how many random plans it has.
DEPTH ?= 4
PLANS ?= 1000000
# The duration of `make soak` and of each fuzz target.
MINUTES ?= 10

# The scripts that `make interop` runs, if not all of that folder.
SCRIPTS ?=

# The target of the container image's program, and the tool that builds the image.
STATIC  ?= $(shell uname -m)-unknown-linux-musl
BUILDAH ?= buildah

# What is installed beside the program.
SHARED = man/man1/tcpproxy.1 bash-completion/completions/tcpproxy zsh/site-functions/_tcpproxy \
         fish/vendor_completions.d/tcpproxy.fish
UNITS  = tcpproxy.service tcpproxy.socket tcpproxy@.service

# The configurations of our proxy that `make conform` judges, and the proxies that `make docs-conformance` compares: proxyspec/peers.
OURS       = tcpproxy tcpproxy-many tcpproxy-splicing tcpproxy-calloop
CONTENDERS = tcpproxy tcpproxy-many tcpproxy-copying tcpproxy-splicing haproxy haproxy-splice nginx nginx-half-close \
             socat socat-fork-tuned rinetd redir systemd-socket-proxyd

# Workspaces of their own: what they need is not for every build.
APART = fuzz ringbuf/benches

# No path of this machine gets into a release: panics name the source files of dependencies. Release builds share these
# flags, so that none builds all of them again; RUSTFLAGS of yours take their place.
ifeq ($(origin RUSTFLAGS),undefined)
tcpproxy proxyspec share image interop deployment sessions stress: export CARGO_ENCODED_RUSTFLAGS = $(shell \
  printf -- '--remap-path-prefix=%s=/cargo\037--remap-path-prefix=%s=/tcpproxy' "$${CARGO_HOME:-$$HOME/.cargo}" "$(CURDIR)")
endif

.PHONY: tcpproxy demo test check conform selftest interop deployment sessions stress soak fuzz bench ring-bench \
        docs-conformance docs-performance doc share install uninstall deb image clean help toolchain proxyspec

tcpproxy: toolchain ## build the proxy and print its path
	$(CARGO) build --release --locked -p tcpproxy
	@cp -f target/release/tcpproxy tcpproxy/tcpproxy
	@echo "built: target/release/tcpproxy, and a copy: tcpproxy/tcpproxy"

demo: tcpproxy proxyspec ## show a page with pictures through the proxy: HOST= PORT= LISTEN=
	HOST="$(HOST)" PORT="$(PORT)" LISTEN="$(LISTEN)" interop/demo.sh

test: toolchain ## run every test of the workspace
	$(CARGO) test --workspace --locked --features tcpproxy/manual

check: toolchain ## check wording, format, lints, docs, fuzz targets, other systems, oldest Rust
	.ci/words
	$(CARGO) fmt --all --check
	for apart in $(APART); do \
	  $(CARGO) fmt --manifest-path $$apart/Cargo.toml --check && \
	  $(CARGO) metadata --manifest-path $$apart/Cargo.toml --locked --format-version 1 > /dev/null || exit; \
	done
	.ci/minimum-rust
	$(CARGO) clippy --workspace --all-targets --features tcpproxy/manual,relay/real-clients --locked -- -D warnings
	.ci/portable
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	for apart in $(APART); do $(CARGO) clippy --manifest-path $$apart/Cargo.toml --all-targets --locked -- -D warnings || exit; done
	$(CARGO) build --manifest-path fuzz/Cargo.toml --locked

conform: tcpproxy proxyspec ## judge the proxy by the conformance suite, in each of its modes
	for ours in $(OURS); do target/release/proxyspec conform --config proxyspec/peers/$$ours.conf || exit; done

selftest: proxyspec ## judge the conformance suite by proxies with planted bugs
	target/release/proxyspec selftest

interop: tcpproxy proxyspec ## run real programs through the proxy: SCRIPTS=, see interop/packages.txt
	$(CARGO) build --release --locked -p webproxy
	interop/run.sh $(SCRIPTS)

deployment: tcpproxy proxyspec share ## install, start, replace and remove the proxy: see deploy/tests
	$(CARGO) build --release --locked -p tcpproxy --target $(STATIC)
	interop/run.sh deploy/tests/*.sh

sessions: toolchain ## run many more whole sessions in memory, on the release build: DEPTH= PLANS=
	RELAY_SCRIPT_DEPTH=$(DEPTH) RELAY_PLANS=$(PLANS) $(CARGO) test --release --locked -p relay --lib --test sessions

stress: toolchain ## run the tests' random misbehaving peers for longer, on the release build
	TESTKIT_ROUNDS=500 $(CARGO) test --release --locked -p tcpproxy --test stress -- --nocapture

soak: tcpproxy proxyspec ## run sessions of every kind for MINUTES=, and watch memory and descriptors
	target/release/proxyspec stress --seconds $$(($(MINUTES) * 60)) --clients 64 --refusals --memory-growth 16MiB -- \
	  target/release/tcpproxy {host} {port} {listen} --max-clients 0 --quiet

fuzz: toolchain ## run each fuzz target for MINUTES=: see fuzz/README.md
	for target in $(patsubst fuzz/targets/%.rs,%,$(wildcard fuzz/targets/*.rs)); do \
	  mkdir -p fuzz/target/corpus/$$target && \
	  $(CARGO) fuzz run --sanitizer none $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$$(($(MINUTES) * 60)) -max_len=1024 || exit; \
	done

bench: tcpproxy proxyspec ## measure the proxy beside installed ones: ROUNDS= TURNS= TIME= ARGS='--only bulk'
	target/release/proxyspec bench --rounds $(ROUNDS) --turns $(TURNS) --seconds $(TIME) $(ARGS)

ring-bench: toolchain ## measure the ring beside other rings
	$(CARGO) run --release --locked --manifest-path ringbuf/benches/Cargo.toml -- --bench $(ARGS)

docs-conformance: tcpproxy proxyspec ## judge the proxy and installed ones, and rewrite docs/conformance.md
	target/release/proxyspec compare --json docs/conformance.json --markdown docs/conformance.md \
	  $(CONTENDERS:%=proxyspec/peers/%.conf)

docs-performance: ## run make bench, and rewrite docs/performance.md
	$(MAKE) bench ARGS="--markdown docs/performance.md --plots docs/performance --json docs/performance/figures.json $(ARGS)"

doc: toolchain ## build the pages of the crates in target/doc
	$(CARGO) doc --workspace --no-deps --locked

# The manual page and shell completions.
share: toolchain
	$(CARGO) run --release --locked --quiet -p tcpproxy --features manual --bin manual -- target/share

install: tcpproxy share ## install the program, manual, completions and units below PREFIX=
	install -D -m 755 target/release/tcpproxy "$(DESTDIR)$(PREFIX)/bin/tcpproxy"
	for file in $(SHARED); do install -D -m 644 "target/share/$$file" "$(DESTDIR)$(PREFIX)/share/$$file" || exit; done
	for unit in $(UNITS); do \
	  install -D -m 644 "deploy/systemd/$$unit" "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" && \
	  sed -i 's|/usr/bin/|$(PREFIX)/bin/|' "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" || exit; \
	done

uninstall: ## remove what make install installed
	rm -f "$(DESTDIR)$(PREFIX)/bin/tcpproxy"
	for file in $(SHARED); do rm -f "$(DESTDIR)$(PREFIX)/share/$$file" || exit; done
	for unit in $(UNITS); do rm -f "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit" || exit; done

deb: tcpproxy share ## build a Debian package in target/debian
	@$(CARGO) deb --version > /dev/null 2>&1 || { echo "cargo-deb is missing: cargo install cargo-deb" >&2; exit 1; }
	$(CARGO) deb --quiet --package tcpproxy --no-build --output target/debian/ # quiet: it warns that these files exist already

image: toolchain ## build a container image of the static program, with buildah
	$(CARGO) build --release --locked --target $(STATIC) -p tcpproxy
	install -D -m 755 target/$(STATIC)/release/tcpproxy target/image/tcpproxy
	$(BUILDAH) build --quiet --tag tcpproxy --file deploy/Containerfile target/image

clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf tcpproxy/tcpproxy fuzz/target ringbuf/benches/target

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

# The program that judges any proxy.
proxyspec: toolchain
	$(CARGO) build --release --locked -p proxyspec

toolchain:
	@command -v $(CARGO) > /dev/null || { \
	  echo "cargo is missing: install Rust from https://rustup.rs, or the package 'cargo' of your system" >&2; exit 1; }
