"""The bill of materials: everything that the lock pins, with its digests, and nothing that depends on this machine."""

import json
import re
from typing import Any

from workbench.materials import BILL, LOCK, ROOT, bill_of


def test_everything_that_is_locked_stands_in_the_bill_with_its_digests() -> None:
    lock = LOCK.read_text("utf-8")
    pinned = re.findall(r"^(\S+?)(?:\[.*\])?==(\S+)", lock, re.MULTILINE)
    bill: dict[str, Any] = json.loads(bill_of(lock))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "gopocket-partner"
    assert sorted((each["name"], each["version"]) for each in bill["components"]) == sorted(pinned)
    assert len(pinned) > 40
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in bill["components"])
    digests = [digest["content"] for each in bill["components"] for digest in each["hashes"]]
    assert sorted(digests) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))


def test_the_same_lock_gives_the_same_bill_save_its_date() -> None:
    lock = LOCK.read_text("utf-8")
    first, again = json.loads(bill_of(lock)), json.loads(bill_of(lock))
    assert first["metadata"].pop("timestamp")
    assert again["metadata"].pop("timestamp")
    assert first == again


def test_git_does_not_look_where_the_bill_is_written() -> None:
    assert f"{BILL.relative_to(ROOT).parts[0]}/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
