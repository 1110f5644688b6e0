"""Commands typed within the test's own process: the same command line, without two seconds of imports for each."""

import asyncio

from typer.testing import CliRunner, Result

from app.cli import cli
from app.observability import configure_logging


async def typed(*arguments: str, given: dict[str, str]) -> Result:
    """Run one command to its end in a thread, since it brings a loop of its own."""
    configure_logging(level="DEBUG", log_format="json")  # to the test's output, not to the command's
    return await asyncio.to_thread(lambda: CliRunner().invoke(cli, list(arguments), env=given))


async def said(*arguments: str, given: dict[str, str]) -> str:
    """Return what a command that does not fail says."""
    done = await typed(*arguments, given=given)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return done.stdout.strip()


async def refused(*arguments: str, given: dict[str, str]) -> str:
    """Return what a command that fails says."""
    done = await typed(*arguments, given=given)
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    assert isinstance(done.exception, SystemExit), done.exception
    return done.stderr.strip()
