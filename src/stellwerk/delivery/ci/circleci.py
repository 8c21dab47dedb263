"""CircleCI: one job that runs and proves, a step of approval, and a job that releases."""

from __future__ import annotations

from dataclasses import replace

from stellwerk.delivery.ci import lines
from stellwerk.delivery.ci.model import REPORTS, Order

PATH = ".circleci/config.yml"

_TOKEN = "$CIRCLE_OIDC_TOKEN_V2"  # noqa: S105 - the name of a variable


def render(order: Order) -> str:
    """The file as text."""
    parts = [_head(order), *([_run(order)] if order.waits else []), _prove(order)]
    if order.previews:
        parts.append(_preview(order))
    if order.release:
        parts.append(_release(order))
    parts.append(_workflow(order))
    return "\n".join(parts)


def _head(order: Order) -> str:
    workspace = f"\n      STELLWERK_ROOT: {order.workspace}" if order.workspace else ""
    runner = f"\n    resource_class: {lines.word(order.runner)}" if order.runner else ""
    return f"""\
version: 2.1

executors:
  python:
    docker:
      - image: {order.image or f"cimg/python:{order.python}"}{runner}
    environment:
      PIP_DISABLE_PIP_VERSION_CHECK: "1"{workspace}

jobs:"""


def _run(order: Order) -> str:
    """The job before somebody is asked."""
    steps = ["      - checkout\n", *_restored(order), _install(order)]
    steps.append(_step("Run the pipeline", [*lines.begin(order), lines.run(order)]))
    if order.keeps_red:
        steps.append(_step("Keep what a red run saw", [lines.keep()], when="on_fail"))
        steps.append(f"      - store_artifacts:\n          path: {REPORTS}\n")
    steps += [] if order.workspace else [_saved(), _HANDED]
    return f"  run:\n    executor: python\n    steps:\n{''.join(steps)}"


def _prove(order: Order) -> str:
    begun = _restored(order)
    if order.waits:
        begun = [] if order.workspace else [_TAKEN]
    steps = ["      - checkout\n", *begun, _install(order)]
    if order.waits:
        steps.append(_step("Go on", [lines.approve()]))
    else:
        steps.append(_step("Run the pipeline", [*lines.begin(order), lines.run(order)]))
    steps += [_step(f"Prove {name}", [lines.prove(name)]) for name in order.endpoints]
    steps.append(_step("Report", lines.report(order.branch), when="always"))
    if order.keeps_red:
        steps.append(_step("Keep what a red run saw", [lines.keep()], when="on_fail"))
    steps += [] if order.workspace else [_saved()]
    steps.append(f"      - store_test_results:\n          path: {REPORTS}\n")
    steps.append(f"      - store_artifacts:\n          path: {REPORTS}\n")
    steps += [_HANDED] if (order.release or order.previews) and not order.workspace else []
    return f"  prove:\n    executor: python\n    steps:\n{''.join(steps)}"


_HANDED = "      - persist_to_workspace:\n          root: .\n          paths: [.stellwerk]\n"
_TAKEN = "      - attach_workspace:\n          at: .\n"


def _preview(order: Order) -> str:
    told = [
        'number="${CIRCLE_PULL_REQUEST##*/}"',
        'if test -n "$number" && test -z "$CIRCLE_PR_REPONAME"; then # a fork is given no token',
        *(f"  {command}" for command in lines.preview(order, "$number")),
        'else echo "no preview: CircleCI names no pull request of this repository"; fi',
    ]
    steps = ["      - checkout\n", *([] if order.workspace else [_TAKEN]), _install(replace(order, role=""))]
    return f"""\
  # CircleCI starts nothing when a pull request is closed. Somebody has to take its preview away:
  # {lines.close(order, "NUMBER").replace('"', "")}
  preview:
    executor: python
    steps:
{"".join([*steps, _step("Preview", told)])}"""


def _release(order: Order) -> str:
    steps = ["      - checkout\n", *([] if order.workspace else [_TAKEN]), _install(order)]
    steps += [_step(f"Release {name}", [lines.release(name)]) for name in order.endpoints]
    steps += [] if order.workspace else [_saved()]
    return f"  release:\n    executor: python\n    steps:\n{''.join(steps)}"


def _workflow(order: Order) -> str:
    asked = """\
      - run
      - answer:
          type: approval # whoever presses the button answers what the pipeline asks
          requires: [run]
      - prove:
          requires: [answer]
"""
    released = f"""\
      - approve:
          type: approval # somebody presses the button
          requires: [prove]
          filters: &released
            branches: {{only: {lines.word(order.branch)}}}
      - release:
          requires: [approve]
          filters: *released
          serial-group: << pipeline.project.slug >>/{order.environment}
"""
    previewed = f"""\
      - preview:
          requires: [prove]
          filters:
            branches: {{ignore: {lines.word(order.branch)}}}
"""
    jobs = [asked if order.waits else "      - prove\n", previewed if order.previews else ""]
    return "".join(["workflows:\n  stellwerk:\n    jobs:\n", *jobs, released if order.release else ""])


def _install(order: Order) -> str:
    # What follows `BASH_ENV` is read by every later step of the job.
    told = [
        """echo 'export PATH="$PWD/.venv/bin:$PATH"' >> "$BASH_ENV\"""",
        """echo 'export STELLWERK_ACTOR="circleci-build-$CIRCLE_BUILD_NUM"' >> "$BASH_ENV\"""",
    ]
    if order.role:
        told += [
            "token=$(mktemp)",
            f'printf %s "{_TOKEN}" > "$token"',
            'echo "export AWS_WEB_IDENTITY_TOKEN_FILE=$token" >> "$BASH_ENV"',
            f'echo "export AWS_ROLE_ARN={order.role}" >> "$BASH_ENV"',
        ]
    return _step("Install from the lock", [*lines.install(order), *told])


def _restored(order: Order) -> list[str]:
    if order.workspace:
        return []
    keys = ["stellwerk-v1-{{ .Branch }}-", f"stellwerk-v1-{order.branch}-"]
    return [f"      - restore_cache:\n          keys:\n{lines.block([f'- {key}' for key in keys], 12)}\n"]


def _saved() -> str:
    return """\
      - save_cache:
          key: stellwerk-v1-{{ .Branch }}-{{ .Revision }}-{{ epoch }}
          paths: [.stellwerk]
          when: always
"""


def _step(name: str, commands: list[str], *, when: str = "") -> str:
    condition = f"          when: {when}\n" if when else ""
    if len(commands) == 1:
        return f"      - run:\n          name: {name}\n{condition}          command: {commands[0]}\n"
    text = lines.block(commands, 12)
    return f"      - run:\n          name: {name}\n{condition}          command: |\n{text}\n"
