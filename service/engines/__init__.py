"""The two engines: how SQLite and PostgreSQL are opened, and what their failures are called here."""
