"""The book on a PostgreSQL server: one writer at a time by an advisory lock, and no commit whose outcome is unknown."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Bug, Corrupt, Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.ledger.dialects.port import Session
from stellwerk.ledger.failures import busy, full, unusable
from stellwerk.ledger.roster import APPEND_ONLY
from stellwerk.ledger.tables import whole

LOCK_MILLISECONDS = 15_000
IDLE_MILLISECONDS = 120_000
STATEMENT_MILLISECONDS = 600_000
RECOVERY_SECONDS = 30.0
"""How long a server that went away is waited for."""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('stellwerk ' || current_schema(), 0))"
_TOKENS = (
    "CREATE TABLE IF NOT EXISTS ledger_commits "
    '(token text COLLATE "C" PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())'
)
_FORGET_TOKENS = "DELETE FROM ledger_commits WHERE at < now() - interval '1 hour'"
_COMMITS_BETWEEN_FORGETTING = 1000

_FUNCTIONS = {
    "ledger_append_only": "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END",
    "ledger_in_sequence": "BEGIN "
    "IF NEW.sequence IS DISTINCT FROM (SELECT COALESCE(MAX(sequence) + 1, 0) FROM ledger_entries) THEN "
    "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF; RETURN NEW; END",
}
_GUARDS = (
    {
        f"{table}_no_change": f"BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION ledger_append_only()"
        for table in APPEND_ONLY
    }
    | {
        f"{table}_no_truncate": f"BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
        for table in APPEND_ONLY
    }
    | {
        "ledger_entries_in_sequence": "BEFORE INSERT ON ledger_entries "
        "FOR EACH ROW EXECUTE FUNCTION ledger_in_sequence()"
    }
)


class _Session:
    """A connection out of SQLAlchemy's pool, whose driver is asked where each microsecond counts."""

    misfit: type[Exception] = psycopg.IntegrityError

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.raw: Any = connection.connection.dbapi_connection
        self.token = ""
        self._spelled: dict[str, str] = {}

    def run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.raw.execute(self._spell(statement), values) if values else self.raw.execute(statement)

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self.raw.cursor().executemany(self._spell(statement), rows)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        return self.run(statement, values).fetchone()

    def stream(self, statement: str) -> Any:
        return self.raw.cursor(f"stream_{secrets.token_hex(8)}").execute(statement)

    def release(self) -> None:
        self.connection.close()

    def close(self) -> None:
        with suppress(Exception):
            self.connection.invalidate()
        with suppress(Exception):
            self.connection.close()

    def _spell(self, statement: str) -> str:
        spelled = self._spelled.get(statement)
        if spelled is None:
            spelled = self._spelled[statement] = statement.replace("%", "%%").replace("?", "%s")
        return spelled


class PostgreSQL:
    """One schema of one database. Many processes on many machines use it; writers take turns.

    Args:
        url: `postgresql://user:password@host/database`. It is told to nobody.
    """

    name = "postgresql"

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(
            _parse(url),
            isolation_level="AUTOCOMMIT",  # transactions are begun and ended here, by their names
            pool_size=8,
            max_overflow=24,
            connect_args={
                "connect_timeout": 10,
                "options": " ".join(
                    f"-c {name}={value}"
                    for name, value in {
                        "lock_timeout": LOCK_MILLISECONDS,
                        "statement_timeout": STATEMENT_MILLISECONDS,
                        "idle_in_transaction_session_timeout": IDLE_MILLISECONDS,
                        "synchronous_commit": "on",
                        "default_transaction_isolation": "read\\ committed",
                        "timezone": "UTC",
                    }.items()
                ),
            },
        )
        sa.event.listen(self.engine, "connect", _check_server)
        self._commits = 0

    def check_present(self) -> None:
        session = self.reader()
        try:
            if "meta" not in self.present(session):
                raise NotFound("there is no book in this database", hint="`stellwerk init` begins one")
        finally:
            session.release()

    def reader(self) -> Session:
        return self._patiently(lambda: self._open("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))

    def writer(self) -> Session:
        return self._patiently(lambda: self._open("SELECT 1"))  # the pool may hold one that died

    def begin_writing(self, session: Session) -> None:
        session.token = secrets.token_hex(16)
        session.run(f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LOCK}")

    def in_transaction(self, session: Session) -> bool:
        return session.raw.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def commit(self, session: Session) -> None:
        if session.raw.info.transaction_status != TransactionStatus.INTRANS:
            raise unusable("the transaction was lost")  # COMMIT would answer ROLLBACK, and raise nothing
        self._commits += 1
        forget = _FORGET_TOKENS + "; " if self._commits % _COMMITS_BETWEEN_FORGETTING == 1 else ""
        try:
            cursor = session.run(
                f"{forget}INSERT INTO ledger_commits (token) VALUES ('{session.token}') "  # noqa: S608 - hex of our own
                "ON CONFLICT DO NOTHING; COMMIT"
            )
            while cursor.nextset():
                pass
        except psycopg.Error as cause:
            # The server, or the way to it, went away between the question and the answer.
            if not self.is_lost(cause) or not self._kept(session.token):
                raise
            return
        if cursor.statusmessage != "COMMIT":
            raise unusable("the transaction was lost")

    def committed(self, session: Session) -> bool:
        status = session.raw.info.transaction_status
        return status == TransactionStatus.IDLE or (status == TransactionStatus.UNKNOWN and self._kept(session.token))

    def scrub(self) -> bool:
        return False  # dead rows are overwritten when the server vacuums, and stay in its write-ahead archives

    def present(self, session: Session) -> set[str]:
        found = session.run(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "
            "UNION SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE NOT tgisinternal AND tgenabled <> 'D' AND relnamespace = current_schema()::regnamespace"
        )
        return {str(name) for (name,) in found.fetchall()}

    def prepare(self) -> None:
        whole()

    def complete(self, session: Session) -> None:
        tables = whole()
        for index in (index for table in tables.tables.values() for index in table.indexes if "where" in index.info):
            index.dialect_options["postgresql"]["where"] = index.info["where"]
        tables.create_all(session.connection)
        session.run(_TOKENS)
        for name, body in _FUNCTIONS.items():
            session.run(
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $stellwerk${body}$stellwerk$"
            )
        present = self.present(session)
        for name, body in _GUARDS.items():
            if name not in present:
                table = body.split(" ON ")[1].split(" ")[0]
                session.run(f"DROP TRIGGER IF EXISTS {name} ON {table}")
                session.run(f"CREATE TRIGGER {name} {body}")

    def safeguard(self, session: Session, schema: str) -> str:
        (current,) = session.one("SELECT current_schema()")
        place = f"{current}_schema_{schema}"
        quote = self.engine.dialect.identifier_preparer.quote
        session.run(f"DROP SCHEMA IF EXISTS {quote(place)} CASCADE")
        session.run(f"CREATE SCHEMA {quote(place)}")
        tables = session.run(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        ).fetchall()
        for (table,) in tables:
            session.run(f"CREATE TABLE {quote(place)}.{quote(table)} AS TABLE {quote(current)}.{quote(table)}")
        return place

    def guards(self) -> set[str]:
        return {*_GUARDS, "ledger_commits"}

    def is_lost(self, cause: BaseException) -> bool:
        cause = getattr(cause, "orig", None) or cause
        if not isinstance(cause, psycopg.OperationalError):
            return False
        state = cause.sqlstate
        return state is None or state.startswith("08") or state in ("57P01", "57P02", "57P03")

    def explain(self, cause: Exception) -> StellwerkError | None:
        if isinstance(cause, PoolTimeout):
            return Unavailable(
                "too many transactions are open at once", code="database-busy", hint="wait and try again"
            )
        cause = getattr(cause, "orig", None) or cause
        if not isinstance(cause, psycopg.Error):
            return None
        # What comes before says where the server is: of no use to who may not know, and known to the others.
        state, reason = cause.sqlstate or "", str(cause).split("\n", 1)[0].rsplit("failed: ", 1)[-1]
        if state == "53100":
            return full()
        if state in ("55P03", "40001", "40P01", "57014"):
            return busy()
        if state in ("XX001", "XX002"):
            return Corrupt("the database is damaged", code="corrupt-database", hint="restore it from a backup")
        if isinstance(cause, psycopg.OperationalError) or state in ("25006", "25P03", "42501"):
            return unusable(reason)
        return Bug(f"the database refused a statement: {reason}")

    def close(self) -> None:
        self.engine.dispose()

    def _open(self, begin: str | None = None) -> Session:
        connection = self.engine.connect()
        session = _Session(connection)
        try:
            if begin is not None:
                session.run(begin)
        except BaseException:
            session.close()
            raise
        return session

    def _patiently(self, act: Callable[[], Session]) -> Session:
        """Try again while the server is away: nothing has begun yet that could be done twice."""
        deadline = monotonic() + RECOVERY_SECONDS
        while True:
            try:
                return act()
            except Exception as cause:
                if not self.is_lost(cause) or _is_refusal(cause) or monotonic() > deadline:
                    raise
                time.sleep(0.05)  # a server that restarts tells nobody when it is back

    def _kept(self, token: str) -> bool:
        """Whether a transaction whose COMMIT got no answer was kept."""
        try:
            session = self._patiently(lambda: self._open(f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LOCK}"))
            try:
                # Behind the lock: a server process that still works on that COMMIT has ended when we get here.
                return session.one("SELECT 1 FROM ledger_commits WHERE token = ?", (token,)) is not None
            finally:
                session.close()
        except Exception as cause:
            raise Unavailable(
                "the connection was lost while committing, and the server cannot be asked what it kept",
                code="commit-unknown",
                hint="when the server is back, look whether the change is there before making it again",
            ) from cause


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        # The text may hold a password: it is not repeated.
        raise Invalid("expected an address such as postgresql://user@host/database", code="invalid-database")
    return parsed.set(drivername="postgresql+psycopg")


def _is_refusal(cause: BaseException) -> bool:
    """Whether the server is there and does not let us in: waiting does not help."""
    words = str(getattr(cause, "orig", None) or cause)
    return any(
        text in words for text in ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password")
    )


def _check_server(connection: Any, _record: Any) -> None:
    """Refuse a server that may lose what it acknowledged, or keeps other text than was given to it."""
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "server_encoding": "UTF8"}
    for name, expected in wanted.items():
        (found,) = connection.execute(f"SHOW {name}").fetchone()
        if found != expected:
            raise unusable(f"PostgreSQL runs with {name}={found} (expected {expected})")
