"""What alembic runs: apply the changes on the connection, and in the transaction, that ``Database.migrate`` gives."""

from __future__ import annotations

from alembic import context

from gateway.storage.columns import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite's DDL is transactional once the driver is kept from committing by itself, as Database does.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
