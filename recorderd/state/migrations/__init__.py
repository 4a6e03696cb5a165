"""Migrations of the state database: data for alembic, run at each start by `state.migrate`."""
