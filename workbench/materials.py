"""The bill of materials: what the service is made of, from the lock file alone, as CycloneDX.

Neither the network nor what is installed has a say in it, and the same lock gives the same bill, save its date.
"""

import re
import tomllib
import uuid
from pathlib import Path

from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
BILL = ROOT / "dist" / "sbom.cdx.json"

_PINNED = re.compile(r"^([a-z0-9][a-z0-9.-]*)(?:\[[^]]*\])?==([^\s;]+)(\s*;[^\\\n]*)?", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill_of(lock: str) -> str:
    """Return the bill of everything that a lock file pins, each with the digests of its published files."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bill = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, lock))
    bill.metadata.tools.components.add(this_component())
    bill.metadata.component = Component(
        name=described["name"], version=described["version"], type=ComponentType.APPLICATION, bom_ref="the-service"
    )
    pins = list(_PINNED.finditer(lock))
    ends = [*(each.start() for each in pins[1:]), len(lock)]
    for pin, end in zip(pins, ends, strict=True):
        bill.components.add(_component(pin, _HASH.findall(lock, pin.end(), end)))
    bill.register_dependency(bill.metadata.component, bill.components)
    return JsonV1Dot6(bill).output_as_string(indent=2) + "\n"


def _component(pin: re.Match[str], digests: list[str]) -> Component:
    name, version, condition = pin.groups()
    address = PackageURL("pypi", name=name, version=version)
    return Component(
        name=name,
        version=version,
        purl=address,
        bom_ref=str(address),
        scope=ComponentScope.OPTIONAL if condition else ComponentScope.REQUIRED,  # of some platforms only
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests],
    )


def main() -> None:
    """Write the bill to where git does not look."""
    bill = bill_of(LOCK.read_text("utf-8"))
    BILL.parent.mkdir(exist_ok=True)
    BILL.write_text(bill, "utf-8")
    print(f"The bill of materials is in {BILL.relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
