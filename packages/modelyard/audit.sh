# Audits every pin: exit 1 for a known vulnerability, 2 where pins could not be audited, which proves nothing.
failed=0
for name in dev scan uv; do
  file=requirements/$name.txt
  found=$(.scan/bin/pip-audit --disable-pip --require-hashes --progress-spinner off "$@" -r $file 2>.scan/audit.log)
  status=$?
  if [ $status != 0 ] && [ -z "$found" ]; then
    echo "error: $file was not audited: no advisory server answered, or the file is unreadable: $(tail -n 1 .scan/audit.log | cut -c1-200)" >&2
    exit 2
  fi
  cat .scan/audit.log >&2
  [ -z "$found" ] || echo "$found"
  skipped=$(echo "$found" | awk '/ Skip Reason *$/ {table = 1; next} table && NF && !/^-/ {n++} END {print n + 0}')
  if [ $status != 0 ]; then
    echo "error: $file pins a library with a known vulnerability; \`make lock\` takes newer versions" >&2
    failed=1
  fi
  if [ "$skipped" != 0 ]; then
    echo "error: $skipped of $(grep -c '^[A-Za-z0-9].*==' $file) pins in $file could not be audited" >&2
    [ $failed = 1 ] || failed=2
  fi
done
exit $failed
