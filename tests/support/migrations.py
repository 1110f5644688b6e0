"""What a revision does to a schema, as SQL, and whether the release before could still work on what it leaves."""

import re
from io import StringIO

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script

_BREAKING = (
    (r"DROP TABLE (?P<table>\S+)", "drops a table"),
    (r"ALTER TABLE (?P<table>\S+) DROP COLUMN", "drops a column"),
    (r"ALTER TABLE (?P<table>\S+) RENAME", "renames"),
    (r"ALTER TABLE (?P<table>\S+) ALTER COLUMN \S+ (SET DATA )?TYPE", "changes a type"),
    (r"ALTER TABLE (?P<table>\S+) ALTER COLUMN \S+ SET NOT NULL", "wants a value that was not wanted"),
    (r"ALTER TABLE (?P<table>\S+) ALTER COLUMN \S+ DROP DEFAULT", "takes a default away"),
    (r"ALTER TABLE (?P<table>\S+) ADD COLUMN (?!.*\bDEFAULT\b).*\bNOT NULL\b", "adds a column that has to be given"),
    (r"ALTER TABLE (?P<table>\S+) (ADD|DROP) CONSTRAINT", "changes a constraint"),
    (r"CREATE UNIQUE INDEX .* ON (?P<table>\S+)", "forbids what was allowed"),
    (r"DROP (FUNCTION|TRIGGER|TYPE|SEQUENCE|VIEW|INDEX) (?P<table>\S+)", "drops what may be in use"),
    (r"REVOKE .* ON (?P<table>\S+)", "takes a right away"),
)


def statements_of(revision: Script) -> list[str]:
    """Return the SQL of a revision's upgrade, each statement in one line."""
    written = StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written, "literal_binds": True}
    )
    with Operations.context(context):
        revision.module.upgrade()
    return [" ".join(each.split()) for each in re.split(r";\s*\n", written.getvalue()) if each.strip()]


def breaking(statements: list[str]) -> list[str]:
    """Return what the release before would stumble over; on a table that is new anything goes."""
    new = {found[1] for each in statements if (found := re.match(r"CREATE TABLE (\S+)", each))}
    told = []
    for statement in statements:
        for pattern, what in _BREAKING:
            found = re.match(pattern, statement, re.IGNORECASE)
            if found and found["table"] not in new:
                told.append(f"{what}: {statement}")
    return told
