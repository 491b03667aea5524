# shellcheck shell=bash disable=SC2154 # Those who source it set what it does not.
# For control-plane beside this file and test/node/binaries, which leave binaries in a folder of bin: one run at a time,
# with progress, and done until a version changes. They set
#
#   me          what they are called, in messages
#   folder      the result, a folder of bin: its file "versions" is written last
#   all         the names of the binaries
#   versions    what they are of: another text makes them anew
#
# Stdout is for the folder's path, and nothing else: prepare() sends the rest to stderr.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
job=

die() { echo "$me: $*" >&2; exit 1; }
since() { printf '%dm%02ds' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60)); }
found() { echo "$1" >&3; exit 0; }

# missing FOLDER: those of the binaries that are not there.
missing() {
  local name
  for name in $all; do [[ -f $1/$name && -x $1/$name ]] || printf ' %s' "$name"; done
}

required() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$root/hack/cluster/go.mod"; }

# The version of Kubernetes that is built, and the folder of the Go module that requires it.
kubernetes=$(required k8s.io/kubernetes)
kubernetes_module=$root/hack/cluster
kubernetes_flags= # more flags of go build in this module

current() { [[ -f $folder/versions && $(<"$folder/versions") == "$versions" && -z $(missing "$folder") ]]; }

lock() {
  if command -v flock >/dev/null; then flock -n 9; else
    perl -e 'use Fcntl ":flock"; open(F, ">&=9") && flock(F, LOCK_EX | LOCK_NB) or exit 1'
  fi
}

clean() { if [[ -e $tmp ]]; then chmod -R u+w "$tmp" && rm -rf "$tmp"; fi; }
# shellcheck disable=SC2317 # it is the trap that calls it
finish() {
  trap '' INT TERM HUP
  if [[ -n $job ]] && kill -INT "$job" 2>/dev/null; then wait "$job" || true; fi
  clean
}

# prepare WHAT: ends the script if there is nothing to do. Else it is the only run from here on,
# with an empty folder $tmp/new for the binaries. What a run starts inherits the lock, so that
# nothing is removed under a compiler that outlived its killed run.
prepare() {
  if current; then found "$folder"; fi
  command -v flock >/dev/null || command -v perl >/dev/null || die "needs flock or perl, so that two runs do not write at once."
  mkdir -p "$root/bin"
  tmp=$folder.tmp # all that is unfinished; whoever holds the lock may remove it
  exec 9>"$folder.lock"
  SECONDS=0
  local next=0
  until lock; do
    if ((SECONDS >= next)); then
      echo "Another run is making $1: waiting for it, $(since 0)"
      next=$((next + 30))
    fi
    sleep 1
  done
  if current; then found "$folder"; fi
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  clean
  mkdir -p "$tmp/new"
  # The same flags everywhere, so that one build cache serves all.
  export CGO_ENABLED=0 GOWORK=off TMPDIR=$tmp
  unset GOOS GOARCH
  command -v go >/dev/null || die "needs Go, which is not installed: https://go.dev/dl/"
  run 300 "looking at Go" go -C "$root/hack/cluster" list -m ||
    die "needs Go $(awk '$1 == "go" { print $2 }' "$root/hack/cluster/go.mod") or newer, and this is $(cd / && go env GOVERSION) ($(tail -n 1 "$tmp/log"))"
}

# run SECONDS WHAT COMMAND...: runs the command with its output in $tmp/log, says every half
# minute that it is still at it, and stops it after SECONDS.
run() {
  local limit=$1 what=$2 began=$SECONDS next=30
  shift 2
  # In the background a shell ignores Ctrl-C for what it starts; the trap undoes that.
  (trap - INT && exec "$@") >"$tmp/log" 2>&1 </dev/null 3>&- &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    if ((SECONDS - began >= limit)); then
      echo "stopped after $limit s" >>"$tmp/log"
      kill -INT "$job" 2>/dev/null || true
    elif ((SECONDS - began >= next)); then
      echo "  … still $what, $(since "$began")"
      next=$((next + 30))
    fi
    sleep 0.5
  done
  local status=0
  wait "$job" || status=$?
  job=
  return "$status"
}

# build NAME...: builds these binaries into $tmp/new: etcd and etcdctl from hack/cluster, the others
# from $kubernetes_module.
build() {
  local name package module flags began n=0
  for name in "$@"; do
    n=$((n + 1)) began=$SECONDS flags=
    case $name in
      etcd) module=$root/hack/cluster package=go.etcd.io/etcd/server/v3 ;;
      etcdctl) module=$root/hack/cluster package=go.etcd.io/etcd/etcdctl/v3 ;;
      *) module=$kubernetes_module package=k8s.io/kubernetes/cmd/$name flags=$kubernetes_flags ;;
    esac
    echo "Building $name, $n of $# ($(since 0) so far)"
    if ! run 7200 "building $name" go -C "$module" build -trimpath ${flags:+"$flags"} \
      -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes" -o "$tmp/new/$name" "$package"; then
      tail -n 20 "$tmp/log"
      die "$name could not be built: the reason is above."
    fi
    echo "  $name is built, $(since "$began")"
  done
}

# deliver: moves the binaries to the folder.
deliver() {
  local name
  mkdir -p "$folder"
  rm -f "$folder/versions"
  for name in $all; do mv -f "$tmp/new/$name" "$folder/$name"; done
  echo "$versions" >"$tmp/versions"
  mv -f "$tmp/versions" "$folder/versions"
}
