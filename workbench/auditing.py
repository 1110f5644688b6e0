"""The dependency audit: what is known against the packages that the lock file pins.

It needs the OSV database. Where that is out of reach, as on a machine that sees a package index alone, the audit says
so in capitals and stops nobody; what it finds does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"

ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not concern us, by their ids, each with the reason."""

_PATIENCE = 30.0  # seconds for all of it
_LONGEST_REASON = 300


class CannotAudit(Exception):
    """Why nobody knows, in a few words."""


def audit(lock: Path, *options: str, patience: float = _PATIENCE) -> list[str]:
    """Return what is known against the packages of a lock file, a line each; raises `CannotAudit`."""
    found = _asked(lock, [*options, *(f"--ignore-vuln={name}" for name in ACCEPTED)], patience)
    lines = [
        f"{package['name']} {package['version']}: {each['id']}, mended in {', '.join(each['fix_versions']) or 'none'}"
        for package in found
        for each in package.get("vulns", [])
    ]
    passed_over = [package["name"] for package in found if "skip_reason" in package]
    if not lines and (passed_over or not found):
        raise CannotAudit(f"{len(passed_over)} of {len(found)} packages were passed over")
    return lines


def _asked(lock: Path, options: list[str], patience: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="audit-") as cache:
        asking = [
            sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip",
            "--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off", "--timeout", "5",
            "--cache-dir", cache, *options,
        ]  # fmt: skip
        try:
            done = subprocess.run(asking, capture_output=True, text=True, check=False, timeout=patience)
        except subprocess.TimeoutExpired as error:
            raise CannotAudit(f"it was not done after {patience:g} seconds") from error
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError as error:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise CannotAudit((lines or ["no reason was given"])[-1][:_LONGEST_REASON]) from error
    return packages


def main() -> int:
    """Audit and tell; the exit code is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m workbench.auditing", description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--osv-url", help="another OSV service than the public one")
    parser.add_argument("--patience", type=float, default=_PATIENCE, metavar="SECONDS")
    given = parser.parse_args()
    service = ["--osv-url", given.osv_url] if given.osv_url else []
    try:
        known = audit(given.lock, *service, patience=given.patience)
    except CannotAudit as error:
        print(f"THE DEPENDENCY AUDIT COULD NOT BE MADE: {error}", file=sys.stderr)
        return 0
    for line in known:
        print(f"VULNERABLE: {line}", file=sys.stderr)
    if not known:
        print("Nothing is known against any locked package.")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
