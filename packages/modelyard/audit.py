"""Audits every pin: exit 1 for a known vulnerability, 2 where pins could not be audited, which proves nothing.

`make scan` runs it by the Python of `.scan`, which has pip-audit and not this library.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

OPTIONS = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
FILES = ("dev", "scan", "uv")


class NoAnswerError(Exception):
    """pip-audit did not say what it audited."""


def run_pip_audit(file: Path, options: list[str]) -> list[dict[str, Any]]:
    """Return what pip-audit says of each pin of a file: with `vulns` where it was audited, else why it was not."""
    command = [".scan/bin/pip-audit", *OPTIONS, *options, "-r", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        pins: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise NoAnswerError(last[:200]) from None
    print(done.stderr, end="", file=sys.stderr)
    return pins


def audit_file(file: Path, options: list[str]) -> int:
    """Print what is wrong with the pins of a file, and return the exit code."""
    pins = run_pip_audit(file, options)
    # Whatever has no list of vulnerabilities counts as not audited, so that another format cannot look clean.
    unaudited = [pin for pin in pins if not isinstance(pin.get("vulns"), list)]
    vulnerable = [pin for pin in pins if pin.get("vulns")]
    for pin in unaudited:
        print(f"{pin.get('name')}: {pin.get('skip_reason')}")
    for pin in vulnerable:
        for found in pin["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{pin['name']} {pin['version']}: {found['id']}, fixed in {fixed}")
    if unaudited or not pins:
        print(f"error: {len(unaudited)} of {len(pins)} pins in {file} could not be audited", file=sys.stderr)
    if vulnerable:
        print(f"error: {file} pins a library with a known vulnerability; `make lock` takes newer", file=sys.stderr)
        return 1
    return 2 if unaudited or not pins else 0


def main(options: list[str]) -> int:
    """Audit all files; a known vulnerability matters more than pins that could not be audited."""
    codes = set[int]()
    for name in FILES:
        file = Path("requirements", f"{name}.txt")
        try:
            codes.add(audit_file(file, options))
        except NoAnswerError as problem:
            reason = "no advisory server answered, or the file is unreadable"
            print(f"error: {file} was not audited: {reason}: {problem}", file=sys.stderr)
            return 2
    return 1 if 1 in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
