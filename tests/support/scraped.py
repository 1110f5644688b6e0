"""What Prometheus would be told, asked for over a real port."""

import re

import httpx

from app.metrics.serving import serve_metrics
from app.settings import Settings
from workbench.children import free_port

Scrape = dict[str, float]
"""Each sample, by its name and labels as they are written."""

_SAMPLE = re.compile(r"(?P<sample>[a-z_]+(?:\{.*\})?) (?P<value>\S+)")


async def scraped(settings: Settings) -> str:
    """Return what this very process and the settings' database tell."""
    port = free_port()
    server = serve_metrics("127.0.0.1", port, settings)
    assert server is not None
    try:
        return await told_at(port)
    finally:
        server.shutdown()
        server.server_close()


async def told_at(port: int) -> str:
    """Return what is told at a port, in the words of Prometheus."""
    async with httpx.AsyncClient(trust_env=False) as scraper:
        answer = await scraper.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    return answer.text


def samples(told: str) -> Scrape:
    """Return every sample of what was told."""
    found = (_SAMPLE.fullmatch(line) for line in told.splitlines() if not line.startswith("#"))
    return {each["sample"]: float(each["value"]) for each in found if each}


def names(told: str) -> set[str]:
    """Return under which names samples can be asked for, those of a histogram as they are written."""
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", told, re.MULTILINE)
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + part for name, kind in kinds for part in parts.get(kind, ("",))}
