"""What every workspace must do through the Python facade, wherever it is: in a folder, or at the other end of a URL.

Subclass `WorkspaceContract` in a test module and give it class-scoped fixtures: `place`, a new folder with the
project of `worlds`; `workspace`, a `Workspace` on it; `ask`, callers of its endpoint. The tests of a class live one
life together, in the order in which they stand here.
"""

from __future__ import annotations

from stellwerk.testing.workspaces.book import Book

__all__ = ["WorkspaceContract"]


class WorkspaceContract(Book):
    """One life of a small workspace, and everything that can be seen of it.

    Its chapters stand one upon the other, `data`, `runs`, `releases`, `views`, `mistakes`, `book`, because tests run in
    the order of inheritance.
    """
