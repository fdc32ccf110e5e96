#!/usr/bin/env bash
# Judge OLD and NEW, show the verdict where GitHub shows it, and end with its exit code.
set -euo pipefail

if [[ $UNDECIDED != fail && $UNDECIDED != pass ]]; then
  echo "::error::undecided must be fail or pass, not '$UNDECIDED'"
  exit 2
fi
folder=$(mktemp -d)
summary=$folder/gate.md
split='import os, shlex, sys
try:
    words = shlex.split(sys.argv[1])
except ValueError as error:
    sys.exit(f"::error::arguments: {error}: close every quote")
sys.stdout.buffer.writelines(os.fsencode(word) + b"\0" for word in words)'
if ! "$PYTHON" -c "$split" "$ARGUMENTS" > "$folder/words"; then
  echo "verdict=error" >> "$GITHUB_OUTPUT"
  exit 2
fi
arguments=(--old "$OLD" --github --markdown "$summary")
while IFS= read -r -d '' word; do arguments+=("$word"); done < "$folder/words"
while IFS= read -r path; do
  if [[ -n $path ]]; then arguments+=(--new "$path"); fi
done <<< "$NEW"
if [[ -n $POLICY ]]; then arguments+=(--policy "$POLICY"); fi

code=0
PYTHONPATH=$(cd "$(dirname "$0")/../../.." && pwd) "$PYTHON" -m benchmark audit "${arguments[@]}" || code=$?
if [[ -s $summary ]]; then cat "$summary" >> "$GITHUB_STEP_SUMMARY"; fi
case $code in
  0) verdict=preserved ;;
  1) verdict=regressed ;;
  3) verdict=undecided ;;
  *) verdict=error ;;
esac
echo "verdict=$verdict" >> "$GITHUB_OUTPUT"
if [[ $code == 3 && $UNDECIDED == pass ]]; then code=0; fi
exit "$code"
