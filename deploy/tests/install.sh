#!/usr/bin/env bash
# make install puts each file where it belongs, make uninstall removes exactly those, and what was installed works: the
# program starts, the manual can be read, and each shell completes an option. So does cargo install.
# Debian packages: make man-db zsh fish iproute2
source "$(dirname "$0")/../../interop/lib.sh"
need make man=man-db zsh fish ss=iproute2

# A neighbour in each folder, which has to stay.
bystander() { find "$1" -type d -exec touch '{}/foreign' \;; }
ours() { (cd "$1" && find . -type f ! -name foreign | sort); }

expected="./usr/bin/tcpproxy
./usr/lib/systemd/system/tcpproxy.service
./usr/lib/systemd/system/tcpproxy.socket
./usr/lib/systemd/system/tcpproxy@.service
./usr/share/bash-completion/completions/tcpproxy
./usr/share/fish/vendor_completions.d/tcpproxy.fish
./usr/share/man/man1/tcpproxy.1
./usr/share/zsh/site-functions/_tcpproxy"

make -s -C "$REPO" install "DESTDIR=$WORK/my root" PREFIX=/usr >"$WORK/make.out" 2>&1
cd "$WORK/my root"
same "what is installed" "$expected" "$(ours .)"
same "what can be executed" ./usr/bin/tcpproxy "$(find . -type f -perm /111)"

for path in "$REPO" "$HOME/" "${CARGO_HOME:-$HOME/.cargo}"; do
  ! grep -qaF "$path" usr/bin/tcpproxy || fail "the program contains the path of its build: $path"
done
! grep -qaF .symtab usr/bin/tcpproxy || fail "the program is not stripped"

share="$WORK/my root/usr/share"
man --warnings -l "$share/man/man1/tcpproxy.1" >"$WORK/page" 2>"$WORK/man.err"
[[ ! -s $WORK/man.err ]] || fail "the manual has mistakes: $(<"$WORK/man.err")"
grep -q 'EXIT STATUS' "$WORK/page" || fail "the manual lacks a section"

# What is offered after `tcpproxy --max-c`, by each shell.
bash_offers() {
  # shellcheck source=/dev/null
  source "$share/bash-completion/completions/tcpproxy"
  # shellcheck disable=SC2034 # read by the completion
  COMP_WORDS=(tcpproxy --max-c) COMP_CWORD=1 COMPREPLY=()
  _tcpproxy tcpproxy --max-c tcpproxy
  echo "${COMPREPLY[*]}"
}
same "bash's offer" --max-clients "$(bash_offers)"
same "fish's offer" --max-clients \
  "$(fish --no-config -c "source '$share/fish/vendor_completions.d/tcpproxy.fish'; complete -C 'tcpproxy --max-c'" | cut -f1)"
# zsh completes at a prompt only, so ask for the function and what it describes.
zsh -fc "fpath=('$share/zsh/site-functions' \$fpath); autoload -Uz compinit && compinit -D -u
  [[ \${_comps[tcpproxy]} == _tcpproxy ]] && autoload +X _tcpproxy && functions _tcpproxy" |
  grep -qe '--max-clients=' || fail "zsh does not complete"

same "its version" "tcpproxy $(sed -n 's/^version = "\(.*\)"$/\1/p' "$REPO/Cargo.toml" | head -n 1)" \
  "$(usr/bin/tcpproxy --version)"
for unit in tcpproxy.service tcpproxy@.service; do
  grep -q '^ExecStart=/usr/bin/tcpproxy ' "usr/lib/systemd/system/$unit" || fail "$unit starts another program"
done

bystander .
make -s -C "$REPO" uninstall "DESTDIR=$WORK/my root" PREFIX=/usr >"$WORK/make.out"
same "what is left" "" "$(ours .)"
(($(find . -name foreign | wc -l) >= 10)) || fail "uninstall removed what others had put there"

make -s -C "$REPO" install "DESTDIR=$WORK/local" >"$WORK/make.out" 2>&1
grep -q '^ExecStart=/usr/local/bin/tcpproxy ' "$WORK/local/usr/local/lib/systemd/system/tcpproxy.service" ||
  fail "the unit does not know the prefix"
make -s -C "$REPO" uninstall "DESTDIR=$WORK/local"
same "what is left below /usr/local" "" "$(ours "$WORK/local")"

cargo install --quiet --locked --path "$REPO/tcpproxy" --root "$WORK/cargo" 2>"$WORK/cargo.err"
same "what cargo installs" tcpproxy "$(ls "$WORK/cargo/bin")"
TCPPROXY=$WORK/cargo/bin/tcpproxy start_proxy 127.0.0.1 80
stop_proxy
echo "installed, used and removed: $(wc -l <<<"$expected") files"
