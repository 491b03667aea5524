# shellcheck shell=bash disable=SC2154 # The scripts that source this file set the other variables.
# Functions for hack/cluster/control-plane and test/node/binaries, which make binaries in a folder of bin. One run
# at a time works and prints its progress. Later runs do nothing until a version changes. The scripts set
#
#   me          the name of the script, for messages
#   folder      the folder of the binaries. Its file "versions" is written last
#   all         the names of the binaries
#   versions    the versions of the binaries. When this text changes, the binaries are made again
#
# The only output on stdout is the folder's path. Everything else goes to stderr.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
job=

die() { echo "$me: $*" >&2; exit 1; }
since() { printf '%dm%02ds' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60)); }
found() { echo "$1" >&3; exit 0; }

# missing FOLDER: prints the names of the binaries that are not in the folder.
missing() {
  local name
  for name in $all; do [[ -f $1/$name && -x $1/$name ]] || printf ' %s' "$name"; done
}

required() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$root/hack/cluster/go.mod"; }

# The version of Kubernetes to build, and the folder of the Go module that requires it.
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
# shellcheck disable=SC2317 # The trap calls it.
finish() {
  trap '' INT TERM HUP
  if [[ -n $job ]] && kill -INT "$job" 2>/dev/null; then wait "$job" || true; fi
  clean
}

# prepare NAME: ends the script if the binaries are up to date. Otherwise it locks the folder against other runs, and
# makes the empty folder $tmp/new for the binaries. Processes that a run starts inherit the lock. If a run is killed
# while its compiler runs on, the next run therefore waits before it removes files.
prepare() {
  if current; then found "$folder"; fi
  command -v flock >/dev/null || command -v perl >/dev/null || die "needs flock or perl, so that two runs do not write at once."
  mkdir -p "$root/bin"
  tmp=$folder.tmp # unfinished files, which the run with the lock may remove
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
  # All builds use the same flags, and so the same build cache.
  export CGO_ENABLED=0 GOWORK=off TMPDIR=$tmp
  unset GOOS GOARCH
  command -v go >/dev/null || die "needs Go, which is not installed: https://go.dev/dl/"
  run 300 "looking at Go" go -C "$root/hack/cluster" list -m ||
    die "needs Go $(awk '$1 == "go" { print $2 }' "$root/hack/cluster/go.mod") or newer, and this is $(cd / && go env GOVERSION) ($(tail -n 1 "$tmp/log"))"
}

# run SECONDS ACTION COMMAND...: runs the command, and writes its output to $tmp/log. Every half minute it prints that
# the action still runs. It stops the command after SECONDS.
run() {
  local limit=$1 action=$2 began=$SECONDS next=30
  shift 2
  # A background command of a shell ignores Ctrl-C. The trap resets that.
  (trap - INT && exec "$@") >"$tmp/log" 2>&1 </dev/null 3>&- &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    if ((SECONDS - began >= limit)); then
      echo "stopped after $limit s" >>"$tmp/log"
      kill -INT "$job" 2>/dev/null || true
    elif ((SECONDS - began >= next)); then
      echo "  … still $action, $(since "$began")"
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
