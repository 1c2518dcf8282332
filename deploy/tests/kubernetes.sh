#!/usr/bin/env bash
# The manifests follow the official schemas, strictly, and say what they should; what they start the proxy with is a
# command line that it takes. The tool comes from PyPI, with the schemas in it, and is kept in target/tools.
# Debian packages: python3-venv jq
source "$(dirname "$0")/../../interop/lib.sh"
need python3=python3-venv jq

VERSIONS=(1.30 1.34)
manifest=$REPO/deploy/kubernetes/tcpproxy.yaml
tools=$REPO/target/tools/kubernetes-validate-1.37.0
if [[ ! -x $tools/bin/kubernetes-validate ]]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check kubernetes-validate==1.37.0
fi

valid() { "$tools/bin/kubernetes-validate" --strict --kubernetes-version "$1" "$2" >"$WORK/validate.out" 2>&1; }
for version in "${VERSIONS[@]}"; do
  valid "$version" "$manifest" || fail "not as Kubernetes $version wants it: $(<"$WORK/validate.out")"
  # To be sure that mistakes would show: a word that is none, and a value of the wrong type.
  for mistake in 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' 's/replicas: 3/replicas: three/'; do
    sed "$mistake" "$manifest" >"$WORK/broken.yaml"
    ! valid "$version" "$WORK/broken.yaml" || fail "a mistake was not found: $mistake"
  done
done

"$tools/bin/python" -c 'import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))' \
  <"$manifest" >"$WORK/manifest.json"
says() { jq -e "$1" "$WORK/manifest.json" >/dev/null || fail "the manifest does not say: $1"; }
pod='.[0].spec.template.spec'
says "$pod.securityContext.runAsNonRoot"
says "$pod.containers[0].securityContext | .readOnlyRootFilesystem and (.allowPrivilegeEscalation | not)"
says "$pod.containers[0].resources.limits | has(\"cpu\") and has(\"memory\")"
says "$pod | .terminationGracePeriodSeconds > .containers[0].lifecycle.preStop.sleep.seconds + 30"
says "$pod.containers[0].args | index(\"--drain-timeout=30s\")"
liveness="$pod.containers[0].livenessProbe.httpGet"
says "$liveness.port as \$port | [.[2].spec.ingress[] | select(any(.ports[]; .port == \$port))] | length == 1 and all(.[]; has(\"from\"))"
says ".[2].spec.podSelector.matchLabels == .[0].spec.template.metadata.labels"
says ".[1].spec.selector == .[0].spec.template.metadata.labels"

# With what it is started there, but for the name, which is known only there, and the ports, which may be taken here.
mapfile -t arguments < <(jq -r "$pod.containers[0].args[3:][]" "$WORK/manifest.json" | sed 's/:9090$/:0/')
start_proxy localhost 80 "${arguments[@]}"
stop_proxy
echo "valid for Kubernetes ${VERSIONS[*]}"
