"""Append-only: tables whose rows the database itself keeps as they were written."""

from __future__ import annotations

from alembic import op


def refuse_changes(table: str) -> None:
    """From now on a row of ``table`` can neither be changed nor deleted."""
    if op.get_bind().dialect.name == "sqlite":
        _refuse_changes_sqlite(table)
    else:
        _refuse_changes_postgresql(table)


def _refuse_changes_sqlite(table: str) -> None:
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _refuse_changes_postgresql(table: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"EXECUTE FUNCTION {table}_append_only()"
    )
