"""Run by Alembic, with the connection that :meth:`service.db.Database.migrate` hands over inside its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    render_as_batch=True,  # SQLite alters a table by replacing it
)
context.run_migrations()
