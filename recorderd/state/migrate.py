"""Bring the state database to the newest shape with alembic, at each start.

Law: steps are shipped inside the package and run on the caller's connection; nothing is configured by files.
Forward only: a database of a newer version is refused by name, never touched.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from recorderd.state.errors import StateTooNew

_FOLDER = Path(__file__).parent / "migrations"


def newest() -> str:
    """The revision that this version of the program works with."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def upgrade(connection: sa.Connection) -> None:
    """Run what is missing; raises StateTooNew for a revision this version does not know."""
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {step.revision for step in scripts.walk_revisions()}:
        raise StateTooNew(
            f"the state database has revision {found}, newer than this version knows ({scripts.get_current_head()}): "
            "update recorderd, or give it another data_dir",
            revision=found,
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config
