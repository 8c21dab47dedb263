"""The lines of shell that every CI file has: each calls the command line, and its exit code is the job's."""

from __future__ import annotations

from stellwerk.delivery.ci.model import REPORTS, Order

_TRUTHS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
ACTIVATE = ". .venv/bin/activate"


def install(order: Order) -> list[str]:
    """A virtual environment with exactly what the lock names."""
    if order.lock.rpartition("/")[2] == "uv.lock":
        return [
            "python3 -m venv .uv",
            ".uv/bin/python -m pip install --quiet uv",
            ".uv/bin/uv sync --locked",
        ]
    hashes = "--require-hashes " if order.hashes else ""
    return ["python3 -m venv .venv", f".venv/bin/python -m pip install --quiet {hashes}-r {order.lock}"]


def begin(order: Order) -> list[str]:
    """A workspace of the CI's own where the cache brought none; one at an address is there already."""
    return [] if order.workspace else [f"test -d .stellwerk || stellwerk init --name {order.name}"]


def run(order: Order) -> str:
    """Executing the pipeline; what is known is not executed again."""
    return f"stellwerk run {order.pipeline}".rstrip()


def approve() -> str:
    """What somebody approved in the CI decides the case that the run waits for, and the run goes on."""
    return "stellwerk ci approve"


def prove(endpoint: str) -> str:
    """The verdict: 0 clear, 1 stop, 3 unproven."""
    return f"stellwerk prove {endpoint}"


def release(endpoint: str) -> str:
    """The permission, for a limited time."""
    return f"stellwerk release {endpoint}"


def preview(order: Order, number: str) -> list[str]:
    """What a merge request makes of the endpoints, as a commit to the environment repository.

    Args:
        number: That of the merge request, as the shell reads it.
    """
    return [f'stellwerk promote {name} --git {order.previews} --preview "{number}"' for name in order.endpoints]


def close(order: Order, number: str) -> str:
    """Taking the preview away; where there is none, nothing is done."""
    return f'stellwerk promote --git {order.previews} --preview "{number}" --close'


def report(base: str, *, post: str = "--post", further: str = "") -> list[str]:
    """What changed against the target branch, as files for the system and as text for the merge request.

    Args:
        base: The target branch, as the shell reads it.
        post: What makes it a comment; a variable where that is decided by the system.
        further: Options for files that this system alone reads.
    """
    files = f"--junit {REPORTS}/junit.xml --sarif {REPORTS}/stellwerk.sarif --metrics {REPORTS}/metrics.txt"
    # The proof has decided before; whether it could decide is no business of the report.
    return [
        f'stellwerk ci report --base "{base}" --out {REPORTS}/report.md --images {REPORTS}/images {files} {further}'
        f"--fail-on stop {post}".rstrip()
    ]


def keep() -> str:
    """What a red run saw, without any private key: `stellwerk restore` and `step fetch` bring a step of it home."""
    return f"mkdir -p {REPORTS} && stellwerk backup {REPORTS}/workspace.tar"


def word(text: str) -> str:
    """A name as YAML: in quotes where it would be read as a number, a date or a truth, such as a branch `1.10`."""
    return f'"{text}"' if text[0].isdigit() or text.lower() in _TRUTHS else text


def block(lines: list[str], indent: int) -> str:
    """Lines, each indented, as one text."""
    return "\n".join(" " * indent + line if line else "" for line in lines)
