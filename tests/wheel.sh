#!/usr/bin/env bash
# The wheel, as a user installs it: built, put alone into fresh environments per extra, and run from an empty folder.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

say "building the wheel"
.venv/bin/python -m build --wheel --no-isolation --outdir "$work/dist" . >/dev/null
wheel=$(echo "$work"/dist/bootwright-*.whl)

say "coordinator extra: installed from the lock, without this checkout on the path"
python=$(readlink -f .venv/bin/python)
"$python" -m venv "$work/coordinator"
"$work/coordinator/bin/pip" install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
"$work/coordinator/bin/pip" install -qq --disable-pip-version-check --no-deps "$wheel"
cd "$work"
"$work/coordinator/bin/coordinator" --help >/dev/null
"$work/coordinator/bin/coordinator" schema >"$work/schema.json"
"$work/coordinator/bin/python" -c 'import json; assert json.load(open("schema.json"))["properties"]'
cp -r "$OLDPWD/tests" "$work/tests"
cp -r "$OLDPWD/examples" "$OLDPWD/docs" "$OLDPWD/pyproject.toml" "$work/"
"$work/coordinator/bin/python" -m pytest -q -p no:cacheprovider tests/units/test_golden.py tests/units/test_resources.py tests/pki/test_openssl.py -m "not root and not lab"

say "agent extra: no boto3 on a node, and it starts"
cd "$OLDPWD"
"$python" -m venv "$work/agent"
"$work/agent/bin/pip" install -qq --disable-pip-version-check --require-hashes -r requirements/agent.txt
"$work/agent/bin/pip" install -qq --disable-pip-version-check --no-deps "$wheel"
cd "$work"
"$work/agent/bin/agent" --help >/dev/null
"$work/agent/bin/agent" version
"$work/agent/bin/python" -c 'import importlib.util as u; assert u.find_spec("boto3") is None, "boto3 in the agent venv"'
say "the wheel works"
