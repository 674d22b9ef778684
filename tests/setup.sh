#!/usr/bin/env bash
# What the tests need besides Python: npm's packages, Chromium, Redis. Does nothing where they are there, and nothing
# that cannot be done here: tests that miss something skip and say what to install; with CI=true they fail.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v chromium > /dev/null || command -v google-chrome > /dev/null || missing+=(chromium)
command -v redis-server > /dev/null || missing+=(redis-server)
command -v node > /dev/null || missing+=(nodejs)
command -v npm > /dev/null || missing+=(npm)

quietly() {
  local log
  log=$(mktemp)
  "$@" > "$log" 2>&1 || {
    echo "This did not work, and the tests that need it will say so: $*" >&2
    tail -n 5 "$log" >&2
  }
  rm -f "$log"
}

if ((${#missing[@]})) && ((EUID == 0)) && [ -f /etc/debian_version ]; then
  echo "Installing ${missing[*]} ..."
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get update
  quietly apt-get install --yes --no-install-recommends "${missing[@]}"
fi

# npm keeps a copy of the lock file of what it has installed.
if command -v npm > /dev/null && [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  echo "Installing npm packages ..."
  quietly npm ci --no-audit --no-fund --ignore-scripts
fi
