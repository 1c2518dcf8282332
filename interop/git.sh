#!/usr/bin/env bash
# git clone over git:// through the proxy, git fsck, and a push back: the same commits, branches and tags at both ends.
# Debian packages: git openssl iproute2
source "$(dirname "$0")/lib.sh"
need git openssl ss=iproute2

# The settings and the name of this machine's user do not matter.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=author GIT_AUTHOR_EMAIL=author@localhost
export GIT_COMMITTER_NAME=author GIT_COMMITTER_EMAIL=author@localhost

# A history of 150 commits on two branches: small files that change, and big ones that do not compress.
make_history() {
  local origin=$1 number
  git init --quiet --initial-branch=main "$origin"
  cd "$origin"
  for number in {1..150}; do
    ((number != 60)) || git checkout --quiet -b side
    ((number != 90)) || git checkout --quiet main
    mkdir -p "folder$((number % 7))"
    seq "$number" $((number + 200)) >"folder$((number % 7))/file$((number % 20))"
    ((number % 30 != 0)) || openssl rand 5000000 >"big$number"
    git add .
    git commit --quiet -m "change $number"
    ((number % 25 != 0)) || git tag -a "v$number" -m "version $number"
  done
}

refs() { git -C "$1" for-each-ref --format='%(objectname) %(refname:lstrip=-1)' "${@:2}" | grep -v ' HEAD$' | sort -u; }

(make_history "$WORK/made")
mkdir "$WORK/served"
git clone --quiet --bare "$WORK/made" "$WORK/served/project.git"

server_port=$(free_port)
start_listening git-daemon "$server_port" "$(git --exec-path)/git-daemon" --listen=127.0.0.1 --port="$server_port" \
  --base-path="$WORK/served" --export-all --enable=receive-pack --informative-errors --verbose
start_proxy 127.0.0.1 "$server_port"
url=git://127.0.0.1:$PROXY_PORT/project.git

within 120 git clone --quiet "$url" "$WORK/clone"
git -C "$WORK/clone" fsck --full --strict
same "branches and tags of the clone" "$(refs "$WORK/made")" "$(refs "$WORK/clone" refs/remotes refs/tags)"

cd "$WORK/clone"
openssl rand 20000000 >big-from-here
git add .
git commit --quiet -m "a big file from the clone"
git tag -a pushed -m "pushed through the proxy"
git branch --quiet side-copy origin/side
within 120 git push --quiet "$url" main side-copy pushed
git -C "$WORK/served/project.git" fsck --full --strict
same "the pushed head" "$(git rev-parse main)" "$(git -C "$WORK/served/project.git" rev-parse main)"
same "the pushed tag" "$(git rev-parse pushed)" "$(git -C "$WORK/served/project.git" rev-parse pushed)"

# A second clone has the pushed commits.
within 120 git clone --quiet "$url" "$WORK/second"
same "the head of the second clone" "$(git rev-parse main)" "$(git -C "$WORK/second" rev-parse HEAD)"
stop_proxy
echo "$(git rev-list --all --count) commits are the same on both sides"
