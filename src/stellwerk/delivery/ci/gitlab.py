"""GitLab CI: one job that runs and proves, and one that somebody starts to release."""

from __future__ import annotations

from dataclasses import replace

from stellwerk.delivery.ci import lines
from stellwerk.delivery.ci.model import REPORTS, Order

PATH = ".gitlab-ci.yml"


def render(order: Order) -> str:
    """The file as text."""
    parts = [_head(order), *([_run(order)] if order.waits else []), _prove(order)]
    if order.previews:
        parts += [_preview(order), _close(order)]
    if order.release:
        parts.append(_release(order))
    return "\n".join(parts)


def _head(order: Order) -> str:
    wanted = {"run": order.waits, "prove": True, "preview": order.previews, "release": order.release}
    stages = f"[{', '.join(stage for stage, there in wanted.items() if there)}]"
    workspace = f"\n  STELLWERK_ROOT: {order.workspace}" if order.workspace else ""
    runner = f"\n  tags: [{lines.word(order.runner)}]" if order.runner else ""
    return f"""\
stages: {stages}

workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == "{order.branch}"

variables:
  STELLWERK_ACTOR: gitlab-job-$CI_JOB_ID{workspace}
  GIT_DEPTH: "0" # the report compares with the target branch

default:
  image: {order.image or f"python:{order.python}"}{runner}
  timeout: 1 hour
"""


def _run(order: Order) -> str:
    """The job before somebody is asked."""
    kept = f"""\
  after_script:
{_listed([lines.ACTIVATE, _red()])}
  artifacts:
    when: on_failure
    expire_in: 30 days
    paths: [{REPORTS}/]
"""
    return f"""\
run:
  stage: run
  interruptible: true
{_token(order)}{_cache(order)}  before_script:
{_listed(_setup(order))}
  script: # the first command that does not end with 0 ends the job with its exit code
{_listed([*lines.begin(order), lines.run(order)])}
{kept if order.keeps_red else ""}"""


def _red() -> str:
    return f'test "$CI_JOB_STATUS" = success || {{ {lines.keep()}; }}'


def _prove(order: Order) -> str:
    begun = [lines.approve()] if order.waits else [*lines.begin(order), lines.run(order)]
    asked = """\
  when: manual # whoever starts it answers what the pipeline asks
  allow_failure: false
"""
    base = f"${{CI_MERGE_REQUEST_TARGET_BRANCH_NAME:-{order.branch}}}"
    kept = [_red()] if order.keeps_red else []
    after = [lines.ACTIVATE, *kept, *lines.report(base, further=f"--codequality {REPORTS}/codequality.json ")]
    return f"""\
prove:
  stage: prove
{asked if order.waits else ""}  interruptible: true
{_token(order)}{_cache(order)}  before_script:
{_listed(_setup(order))}
  script: # the first command that does not end with 0 ends the job with its exit code
{_listed([*begun, *map(lines.prove, order.endpoints)])}
  after_script:
{_listed(after)}
  artifacts:
    when: always
    expire_in: 30 days
    paths: [{REPORTS}/]
    reports:
      junit: {REPORTS}/junit.xml
      codequality: {REPORTS}/codequality.json
      metrics: {REPORTS}/metrics.txt
"""


_REQUEST = "$CI_MERGE_REQUEST_IID"
_OURS = f"{_REQUEST} && $CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_MERGE_REQUEST_PROJECT_ID"
"""A fork is given no secret."""


def _preview(order: Order) -> str:
    cache = _cache(order).replace("when: always", "policy: pull")
    return f"""\
preview:
  stage: preview
  rules:
    - if: {_OURS}
  environment:
    name: preview/{_REQUEST}
    on_stop: close-preview # GitLab starts it when the merge request is merged or closed
    auto_stop_in: 30 days
  resource_group: preview-{_REQUEST} # making and taking away never at the same time
{cache}  before_script:
{_listed(_setup(replace(order, role="")))}
  script:
{_listed(lines.preview(order, _REQUEST))}
"""


def _close(order: Order) -> str:
    return f"""\
close-preview:
  stage: preview
  rules:
    - if: {_OURS}
      when: manual
      allow_failure: true # nobody has to start it for the pipeline to be green
  environment:
    name: preview/{_REQUEST}
    action: stop
  resource_group: preview-{_REQUEST}
  before_script:
{_listed(_setup(replace(order, role="")))}
  script:
{_listed([*lines.begin(order), lines.close(order, _REQUEST)])}
"""


def _release(order: Order) -> str:
    return f"""\
release:
  stage: release
  rules:
    - if: $CI_COMMIT_BRANCH == "{order.branch}"
      when: manual # whoever may deploy to the environment approves by starting it
  allow_failure: false
  environment: {lines.word(order.environment)}
  resource_group: {lines.word(order.environment)} # one at a time
{_token(order)}{_cache(order)}  before_script:
{_listed(_setup(order))}
  script:
{_listed(list(map(lines.release, order.endpoints)))}
"""


def _setup(order: Order) -> list[str]:
    role = (
        [
            "export AWS_WEB_IDENTITY_TOKEN_FILE=$(mktemp)",
            'printf %s "$AWS_ID_TOKEN" > "$AWS_WEB_IDENTITY_TOKEN_FILE"',
            f"export AWS_ROLE_ARN={order.role}",
        ]
        if order.role
        else []
    )
    return [*lines.install(order), lines.ACTIVATE, *role]


def _token(order: Order) -> str:
    if not order.role:
        return ""
    return """\
  id_tokens: # instead of a stored secret
    AWS_ID_TOKEN:
      aud: sts.amazonaws.com
"""


def _cache(order: Order) -> str:
    if order.workspace:
        return ""
    return f"""\
  cache:
    key: stellwerk-$CI_COMMIT_REF_SLUG
    fallback_keys: [stellwerk-{slug(order.branch)}]
    paths: [.stellwerk/]
    when: always
"""


def slug(branch: str) -> str:
    """The name of a branch as GitLab's `CI_COMMIT_REF_SLUG` has it."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in branch.lower())
    return plain[:63].strip("-")


def _listed(commands: list[str]) -> str:
    return lines.block([f"- {_scalar(command)}" for command in commands], 4)


def _scalar(command: str) -> str:
    """A line of shell as a YAML scalar: as it is where YAML reads nothing into it."""
    if ": " in command or " #" in command or command[0] in "\"'[]{}>|*&!%#`@,?:-":
        return "'" + command.replace("'", "''") + "'"
    return command
