#!/usr/bin/env bash
# Make .venv once per content of pyproject.toml and constraints.txt; a second call installs nothing and needs no network.
# usage: scripts/venv.sh run|dev
set -eu
cd "$(dirname "$0")/.."
kind=$1
stamp=.venv/.$kind-$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0

python=
for name in python3.13 python3.12 python3.11 python3; do
  # A shim may exist and fail: only one that runs and is new enough counts.
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$name; break; fi
done
if [ -z "$python" ]; then
  echo "recorderd needs Python 3.11 or newer. Install it: apt-get install python3 python3-venv" >&2
  exit 2
fi
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq python3-venv
  else
    echo "Python's venv module is missing. Install it: sudo apt-get install -y python3-venv" >&2
    exit 2
  fi
fi
if ! [ -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
  rm -rf .venv
  "$python" -m venv .venv
fi
if [ "$kind" = dev ]; then what='.[dev]'; else what=.; fi
echo "installing into .venv (once) ..." >&2
PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
  .venv/bin/python -m pip install --quiet --only-binary :all: --editable "$what"
rm -f ".venv/.$kind-"*
touch "$stamp"
# dev holds all of run
if [ "$kind" = dev ]; then rm -f .venv/.run-*; touch "${stamp/.dev-/.run-}"; fi
