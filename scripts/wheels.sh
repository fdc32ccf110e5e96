#!/bin/sh
# Wheels for a machine that has torch and Python 3.12 on x86-64 Linux, but no network:
#
#   scripts/wheels.sh FOLDER [HAVE]
#
# HAVE names packages that the machine has already, one a line, as its `pip freeze` prints them: they are left out, as
# torch with all that it brings always is. What is collected runs the benchmark and scripts/gpu_proof.py.
set -eu
folder=${1:?usage: scripts/wheels.sh FOLDER [HAVE]}
have=${2:-/dev/null}
root=$(dirname "$0")/..
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
mkdir -p "$folder"

python -m pip wheel --quiet --no-deps --wheel-dir "$folder" GPUtil # has no wheel of its own

python - "$root/pyproject.toml" > "$work/wanted.txt" <<'PYTHON'
import sys, tomllib
from pathlib import Path
print(*tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"], sep="\n")
print("hypothesis\npytest\npytest-benchmark\npytest-timeout\npytest-xdist")
PYTHON

for target in --only-binary=:all: "--python-version 3.12" "--platform manylinux1_x86_64" \
    "--platform manylinux2014_x86_64" "--platform manylinux_2_17_x86_64" "--platform manylinux_2_24_x86_64" \
    "--platform manylinux_2_26_x86_64" "--platform manylinux_2_27_x86_64" "--platform manylinux_2_28_x86_64"; do
    targets="${targets:-} $target"
done
# shellcheck disable=SC2086 # words of their own
python -m pip install --quiet --dry-run --ignore-installed --report "$work/report.json" --target "$work" \
    --find-links "$folder" $targets -r "$work/wanted.txt"

python - "$work" "$have" > "$work/missing.txt" <<'PYTHON'
import json, re, sys
from pathlib import Path

def plain(requirement):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]*", requirement.strip())[0]).lower()

work, have = map(Path, sys.argv[1:])
report = json.loads((work / "report.json").read_text())
found = {plain(item["metadata"]["name"]): item["metadata"] for item in report["install"]}
there = {"torch", "torchvision", *map(plain, have.read_text().splitlines())}
queue, needed = list(map(plain, (work / "wanted.txt").read_text().splitlines())), set()
while queue:  # neither through torch nor into extras, such as the fifteen solvers that Avalanche offers
    name = queue.pop()
    if name in found and name not in needed | {"torch", "torchvision"}:
        needed.add(name)
        queue += [plain(line) for line in found[name].get("requires_dist", []) if "extra ==" not in line]
print(*(f"{name}=={found[name]['version']}" for name in sorted(needed - there)), sep="\n")
PYTHON

# shellcheck disable=SC2086
python -m pip download --quiet --no-deps --dest "$folder" --find-links "$folder" $targets -r "$work/missing.txt"
du -sh "$folder"
echo "there: python -m pip install --no-index --no-deps --find-links $folder $folder/*.whl"
