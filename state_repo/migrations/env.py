"""Alembic's entry: runs the status tables' migrations on the URL it is given."""

from alembic import context

from state_repo.database import engine_for
from state_repo.status import Table

config = context.config
engine = engine_for(config.attributes["url"])
with engine.connect() as connection:
    if engine.dialect.name == "sqlite":
        # A table that is made anew is dropped first: whatever hangs on its rows would go with it.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.commit()
    context.configure(connection=connection, target_metadata=Table.metadata,
                      version_table=config.attributes["version_table"], render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
