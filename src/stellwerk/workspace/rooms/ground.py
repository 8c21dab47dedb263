"""Store and ledger of a workspace, and who works in it: what all rooms stand on."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from stellwerk.access.model import Grant
from stellwerk.access.shelves import GRANTS
from stellwerk.core.errors import Corrupt, NotFound, StellwerkError
from stellwerk.core.files import append_line, replace_text
from stellwerk.core.names import name as checked_name
from stellwerk.ledger import proofs, rules
from stellwerk.ledger.adapters.ed25519 import CurrentSigner, Ed25519Verifier
from stellwerk.ledger.database import WorkspaceBook
from stellwerk.ledger.keys import KeyRing, trusted
from stellwerk.ledger.model import Head
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.workspace import layout as folders
from stellwerk.workspace.books import open_database
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.rooms.built import built
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.stores import open_store

if TYPE_CHECKING:
    from stellwerk.ledger.vault import Vault
    from stellwerk.releases.ports import Progress

LOGGER = logging.getLogger("stellwerk.workspace")


def silent(text: str) -> None:
    """Say nothing."""


class Ground:
    """The ground of one workspace, opened for one actor."""

    def __init__(self, layout: Layout, settings: Settings, say: Progress = silent) -> None:
        self.layout, self.settings, self.say = layout, settings, say
        self.building = RLock()
        self._furniture = ExitStack()
        self.presence = self._furniture.enter_context(folders.presence(layout))
        self.clock = layout.make_clock()
        self.database = open_database(layout, settings, self.clock)
        if self.database.open() != layout.identity:
            raise Corrupt(
                "the database belongs to another workspace than the folder says",
                code="corrupt-workspace",
                hint="restore both from the same backup",
            )
        self.actor = checked_name(settings.actor, what="actor")
        self.book = WorkspaceBook(self.database, layout.workspace, self.actor, settings.cause)
        self.blobs = open_store(layout, settings)
        if isinstance(self.blobs, LocalFolder):
            self.blobs.sweep()
        self.verifier = Ed25519Verifier()
        self.ring = KeyRing(self.book, layout.identity, self.verifier)
        self._signed = self.database.size()
        self._known = True
        self.signing = RLock()
        """Held while a checkpoint is signed and while the key changes: both may be units of one transaction, and
        which key signs is asked of what was committed before."""
        self.grant = self._admit()

    @built
    def signer(self) -> CurrentSigner:
        return CurrentSigner(self.layout.signing_key, self.ring.current)

    @built
    def vault(self) -> Vault:
        from stellwerk.ledger.adapters.vault_key import FileKeyCipher
        from stellwerk.ledger.vault import Vault

        return Vault(self.book, self.clock, lambda fresh: FileKeyCipher(self.layout.vault_key, fresh=fresh))

    def token_keys(self) -> tuple[bytes, ...]:
        """The public keys whose lease tokens count at this moment."""
        return trusted(self.ring.links(), self.clock.now()) or (self.signer.public_key,)

    def checkpoint(self) -> str:
        """Sign the ledger's present state and copy the note outside the database."""
        with self.signing:
            note = self.database.checkpoint(self.layout.identity, self.signer).note
        latest = self.layout.checkpoints / "latest.txt"
        if not latest.is_file() or latest.read_bytes() != note.encode():
            append_line(self.layout.checkpoints / "log.jsonl", json.dumps(note, ensure_ascii=False))
            replace_text(latest, note)
        return note

    def sign_off(self) -> None:
        """Sign what was written since these rooms last did, if anything. A failure is logged: the work itself is done."""
        try:
            size = self.database.size()
            if size > self._signed:
                self.checkpoint()
                self._signed = size
        except StellwerkError as problem:
            LOGGER.warning("no checkpoint was signed: %s (%s)", problem, problem.code)

    def recognise(self) -> None:
        """Compare the book with what this machine remembers of it. Raises `Corrupt` where it is another."""
        if not self.settings.state:
            return
        self._known = False
        from stellwerk.workspace.remembering import Memory

        Memory(Path(self.settings.state)).greet(str(self.layout.folder), self.head, origin=self.layout.identity)
        self._known = True

    def head(self, since: int = 0) -> Head:
        """What the book says of itself to somebody who remembers `since` entries. Raises `NotFound`."""
        with self.book.read() as reader:
            note = proofs.newest(reader)
        if note is None:
            raise NotFound("nothing of this book was signed yet", code="no-checkpoint", hint="`stellwerk verify`")
        size = rules.read_checkpoint(note).size
        proof = proofs.consistency(self.database, since, size) if 0 < since < size else ()
        return Head(note=note, keys=self.ring.links(), consistency=proof)

    def close(self) -> None:
        """Sign what was written, remember it, and release the database."""
        try:
            if self._known:  # else nothing was done here
                self.sign_off()
                self.recognise()
        except StellwerkError as problem:
            LOGGER.warning("%s (%s)", problem, problem.code)
        finally:
            self.database.close()
            self.blobs.close()
            self._furniture.close()

    def _admit(self) -> Grant:
        """Whoever can open the folder is an owner, and the ledger says so."""
        with self.book.read() as reader:
            known = GRANTS.find(reader, self.actor)
        if known is not None:
            return known
        grant = Grant(actor=self.actor, role="owner", granted_at=self.clock.now(), granted_by="file-system")
        with self.book.write() as tx:
            GRANTS.put(tx, grant)
            tx.record("access.granted", f"actor:{self.actor}", {"role": "owner", "by": "file-system"})
        return grant
