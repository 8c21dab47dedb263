"""The composition root: the one place where ports meet adapters.

A room is built when somebody first asks for it, and only then is its code loaded: whoever lists runs loads no models.
"""

from stellwerk.workspace.rooms.called import Called

__all__ = ["Rooms"]


class Rooms(Called):
    """All rooms of one workspace, furnished for one actor.

    Each module furnishes some, on those of the one below: `ground`, `tracked`, `made`, `judged`, `called`.
    """
