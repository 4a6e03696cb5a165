"""What can be wrong with the state database."""

from __future__ import annotations

from recorderd.core.errors import RecorderdError


class StateDamaged(RecorderdError):
    """The file is no usable SQLite database; recording does not depend on it, so the daemon moves it aside."""

    code = "state-damaged"


class StateTooNew(RecorderdError):
    """A newer version wrote it: update this program, or give it another data_dir."""

    code = "state-too-new"


class StateUnusable(RecorderdError):
    """The folder cannot be written."""

    code = "state-unusable"
