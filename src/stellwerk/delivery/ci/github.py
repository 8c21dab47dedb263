"""GitHub Actions: one workflow, every action pinned to a commit, no permission that a job does not use."""

from __future__ import annotations

from dataclasses import replace

from stellwerk.delivery.ci import lines
from stellwerk.delivery.ci.model import REPORTS, Order

PATH = ".github/workflows/stellwerk.yml"

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
PYTHON = "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0"
RESTORE = "actions/cache/restore@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5"
SAVE = "actions/cache/save@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5"
UPLOAD = "actions/upload-artifact@bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0"
SARIF = "github/codeql-action/upload-sarif@5d4e8d1aca955e8d8589aabd499c5cae939e33c7 # v4.31.9"

_KEY = "stellwerk-${{ github.ref_name }}-${{ github.run_id }}-${{ github.run_attempt }}"
_RAN = "${{ !cancelled() && steps.run.outcome != 'skipped' }}"
_SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"
"""A fork is given no secret, and a token that cannot write."""


def render(order: Order) -> str:
    """The workflow as text."""
    parts = [_head(order), *([_run(order)] if order.waits else []), _prove(order)]
    if order.previews:
        parts += [_preview(order), _close(order)]
    if order.release:
        parts.append(_release(order))
    return "\n".join(parts)


def _head(order: Order) -> str:
    workspace = f"\n  STELLWERK_ROOT: {order.workspace}" if order.workspace else ""
    types = "\n    types: [opened, synchronize, reopened, closed]" if order.previews else ""
    alone = _ONE_OF_A_REQUEST if order.previews else ""
    return f"""\
name: stellwerk

on:
  push:
    branches: [{lines.word(order.branch)}]
  pull_request:{types}

permissions: {{}} # each job asks for what it needs
{alone}
env:
  STELLWERK_ACTOR: github-run-${{{{ github.run_id }}}}{workspace}

jobs:"""


_ONE_OF_A_REQUEST = """
concurrency: # what a new commit or closing ends, so that no preview comes after it was taken away
  group: stellwerk-request-${{ github.event.pull_request.number || github.run_id }}
  cancel-in-progress: true
"""


def _open(order: Order) -> str:
    """Of the first job: a pull request that is closed begins nothing."""
    return "    if: github.event.action != 'closed'\n" if order.previews else ""


def _run(order: Order) -> str:
    """The job before somebody is asked."""
    ran = _step("Run the pipeline", lines.run(order), first=lines.begin(order), id_="run")
    kept = [] if order.workspace else [_saved(_KEY, _RAN)]
    uploaded = [*_red(order), _artifact("stellwerk-run")] if order.keeps_red else []
    return f"""\
  run:
    name: Run
{_open(order)}    runs-on: {lines.word(order.runner or "ubuntu-24.04")}{_container(order)}
    timeout-minutes: 60
{_alone()}    permissions:
      contents: read{_token(order)}
    steps:
{"".join([_setup(order), *_restored(order), ran, *kept, *uploaded])}"""


def _prove(order: Order) -> str:
    if order.waits:
        asked = (
            "    needs: run\n    environment: approval # its required reviewers are asked what the pipeline asks\n"
        )
        begun = [*_restored(order, exactly=True), _step("Go on", lines.approve(), id_="run")]
    else:
        asked = _open(order)
        begun = [*_restored(order), _step("Run the pipeline", lines.run(order), first=lines.begin(order), id_="run")]
    steps = [_setup(order, history=True), *begun]
    steps += [_step(f"Prove {name}", lines.prove(name)) for name in order.endpoints]
    steps.append(_report(order))
    steps += [] if order.workspace else [_saved(_proven(order), _RAN)]
    steps += [*_red(order), _uploaded()]
    return f"""\
  prove:
    name: {"Prove" if order.waits else "Run and prove"}
{asked}    runs-on: {lines.word(order.runner or "ubuntu-24.04")}{_container(order)}
    timeout-minutes: 60
{"" if order.waits else _alone()}    permissions:
      contents: read
      pull-requests: write # the report, updated in place
      security-events: write # SARIF{_token(order)}
    steps:
{"".join(steps)}"""


def _proven(order: Order) -> str:
    """The key of the cache when everything is proven."""
    return _KEY + ("-approved" if order.waits else "")


def _token(order: Order) -> str:
    return "\n      id-token: write # instead of a stored secret" if order.role else ""


def _alone() -> str:
    return """\
    concurrency:
      group: stellwerk-${{ github.ref }}
      cancel-in-progress: ${{ github.event_name == 'pull_request' }}
"""


def _red(order: Order) -> list[str]:
    condition = "${{ failure() && steps.run.outcome != 'skipped' }}"
    return [_step("Keep what a red run saw", lines.keep(), when=condition)] if order.keeps_red else []


def _preview(order: Order) -> str:
    made = zip(order.endpoints, lines.preview(order, "$NUMBER"), strict=True)
    steps = [_step(f"Preview {name}", command, env=_request(order)) for name, command in made]
    restored = _restored(order, exactly=True, key=_proven(order))
    return f"""\
  preview:
    name: Preview
    needs: prove
    if: {_SAME_REPOSITORY} && github.event_name == 'pull_request'
{_short(order)}{"".join([*restored, *steps])}"""


def _close(order: Order) -> str:
    step = _step(
        "Take the preview away", lines.close(order, "$NUMBER"), first=lines.begin(order), env=_request(order)
    )
    return f"""\
  close:
    name: Close the preview
    if: {_SAME_REPOSITORY} && github.event.action == 'closed'
{_short(order)}{step}"""


def _short(order: Order) -> str:
    """Machine, rights and packages of a job that only commits elsewhere."""
    plain = replace(order, role="")
    return f"""\
    runs-on: {lines.word(order.runner or "ubuntu-24.04")}{_container(order)}
    timeout-minutes: 15
    permissions:
      contents: read
    steps:
{_setup(plain)}"""


def _request(order: Order) -> list[str]:
    """The variables of a step that writes to the environment repository, and of no other."""
    token = ["STELLWERK_GIT_TOKEN: ${{ secrets.STELLWERK_GIT_TOKEN }}"] if order.logs_in else []
    return ["NUMBER: ${{ github.event.pull_request.number }}", *token]


def _release(order: Order) -> str:
    commands = "".join(_step(f"Release {name}", lines.release(name)) for name in order.endpoints)
    kept = "" if order.workspace else _saved(_KEY + "-released", "success()")
    return f"""\
  release:
    name: Release
    needs: prove
    if: github.event_name == 'push' && github.ref == 'refs/heads/{order.branch}'
    environment: {lines.word(order.environment)} # its required reviewers approve
    runs-on: {lines.word(order.runner or "ubuntu-24.04")}{_container(order)}
    timeout-minutes: 15
    concurrency:
      group: stellwerk-release-{order.environment}
      cancel-in-progress: false
    permissions:
      contents: read{_token(order)}
    steps:
{_setup(order)}{"".join(_restored(order, exactly=True, key=_proven(order)))}{commands}{kept}"""


def _container(order: Order) -> str:
    return f"\n    container: {order.image}" if order.image else ""


def _setup(order: Order, *, history: bool = False) -> str:
    depth = "          fetch-depth: 0 # the report compares with the target branch\n" if history else ""
    # A container brings the Python that it is used for.
    python = f"""\
      - uses: {PYTHON}
        with:
          python-version: "{order.python}"
"""
    added = 'echo "$PWD/.venv/bin" >> "$GITHUB_PATH"'
    return f"""\
      - uses: {CHECKOUT}
        with:
{depth}          persist-credentials: false
{"" if order.image else python}\
{_step("Install from the lock", added, first=lines.install(order))}{_role(order)}"""


def _role(order: Order) -> str:
    if not order.role:
        return ""
    return f"""\
      - name: Take the role {order.role.rpartition("/")[2]}
        run: |
          curl -sSf -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \\
            "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com" |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["value"], end="")' > "$RUNNER_TEMP/id-token"
          echo "AWS_WEB_IDENTITY_TOKEN_FILE=$RUNNER_TEMP/id-token" >> "$GITHUB_ENV"
          echo "AWS_ROLE_ARN={order.role}" >> "$GITHUB_ENV"
"""


def _restored(order: Order, *, exactly: bool = False, key: str = _KEY) -> list[str]:
    if order.workspace:
        return []
    otherwise = (
        "          fail-on-cache-miss: true\n"
        if exactly
        else f"""\
          restore-keys: |
            stellwerk-${{{{ github.ref_name }}}}-
            stellwerk-{order.branch}-
"""
    )
    return [
        f"""\
      - name: Restore the step cache
        uses: {RESTORE}
        with:
          path: .stellwerk
          key: {key}
{otherwise}"""
    ]


def _saved(key: str, condition: str) -> str:
    return f"""\
      - name: Keep the step cache
        if: {condition}
        uses: {SAVE}
        with:
          path: .stellwerk
          key: {key}
"""


def _report(order: Order) -> str:
    commands = lines.report(f"${{GITHUB_BASE_REF:-{order.branch}}}", post="$POST")
    return f"""\
      - name: Report
        if: {_RAN}
        env:
          GITHUB_TOKEN: ${{{{ github.token }}}}
          POST: ${{{{ {_SAME_REPOSITORY} && '--post' || '' }}}}
        run: |
{lines.block(commands, 10)}
{_step("Show the report", _SUMMARY, when=_there("report.md"))}"""


_SUMMARY = f'cat {REPORTS}/report.md >> "$GITHUB_STEP_SUMMARY"'


def _there(name: str) -> str:
    """The condition of a step that is about a file: the report leaves one also where it ends with 1."""
    return f"${{{{ !cancelled() && hashFiles('{REPORTS}/{name}') != '' }}}}"


def _uploaded() -> str:
    return f"""\
      - uses: {SARIF}
        if: {_there("stellwerk.sarif")}
        with:
          sarif_file: {REPORTS}/stellwerk.sarif
          category: stellwerk
{_artifact("stellwerk-reports")}"""


def _artifact(name: str) -> str:
    return f"""\
      - uses: {UPLOAD}
        if: ${{{{ !cancelled() }}}}
        with:
          name: {name}
          path: {REPORTS}
          if-no-files-found: ignore
"""


def _step(
    name: str, command: str, *, first: list[str] | None = None, id_: str = "", when: str = "",
    env: list[str] | None = None,
) -> str:  # fmt: skip
    head = f"      - name: {name}\n"
    head += f"        id: {id_}\n" if id_ else ""
    head += f"        if: {when}\n" if when else ""
    head += f"        env:\n{lines.block(env, 10)}\n" if env else ""
    if not first:
        return f"{head}        run: {command}\n"
    return f"{head}        run: |\n{lines.block([*first, command], 10)}\n"
