"""Jenkins: a declarative Jenkinsfile. The workspace stays in the job's folder, one per branch."""

from __future__ import annotations

from stellwerk.delivery.ci import lines
from stellwerk.delivery.ci.model import REPORTS, Order

PATH = "Jenkinsfile"


def render(order: Order) -> str:
    """The file as text."""
    return f"""\
pipeline {{
    agent {_agent(order)}
    options {{
        timeout(time: 1, unit: 'HOURS')
        disableConcurrentBuilds()
        buildDiscarder(logRotator(numToKeepStr: '30'))
    }}
    environment {{
{lines.block(_environment(order), 8)}
    }}
    stages {{
{_stages(order)}
    }}
    post {{
        always {{
            // The build has failed already where the report ends with 1.
            sh returnStatus: true, script: '''
{lines.block(_report(order), 16)}
            '''
            junit testResults: '{REPORTS}/junit.xml', allowEmptyResults: true
            archiveArtifacts artifacts: '{REPORTS}/**', allowEmptyArchive: true, fingerprint: true
        }}
{_kept(order)}    }}
}}
"""


def _agent(order: Order) -> str:
    label = f"label '{order.runner}'" if order.runner else ""
    if order.image:
        return "{ docker { " + "; ".join(part for part in (f"image '{order.image}'", label) if part) + " } }"
    return f"{{ {label} }}" if label else "any"


def _environment(order: Order) -> list[str]:
    told = ['STELLWERK_ACTOR = "jenkins-build-${BUILD_NUMBER}"']
    if order.workspace:
        told.append(f"STELLWERK_ROOT = '{order.workspace}'")
    if order.role:
        # A credential of the kind "OpenID Connect id token" is made for each build; a file does where that plugin is not.
        told += ["AWS_WEB_IDENTITY_TOKEN_FILE = credentials('aws-id-token')", f"AWS_ROLE_ARN = '{order.role}'"]
    return told


def _stages(order: Order) -> str:
    stages = [
        _stage("Install", lines.install(order)),
        _stage("Run", _active([*lines.begin(order), lines.run(order)])),
    ]
    if order.waits:
        asked = """\
            input {
                message 'Approve what the pipeline asks?'
                ok 'Approve'
            }
"""
        stages.append(_stage("Go on", _active([lines.approve()]), before=asked))
    if order.endpoints:
        stages.append(_stage("Prove", _active([lines.prove(name) for name in order.endpoints])))
    if order.previews:
        stages.append(_preview(order))
    if order.release:
        asked = f"""\
            when {{
                beforeInput true
                branch '{order.branch}'
            }}
            input {{
                message 'Release to {order.environment}?'
                ok 'Release'
            }}
"""
        stages.append(_stage("Release", _active([lines.release(name) for name in order.endpoints]), before=asked))
    return "\n".join(stages)


def _preview(order: Order) -> str:
    condition = """\
            when {
                changeRequest()
                expression { !env.CHANGE_FORK } // code of a fork is given no token
            }
"""
    variables = """\
            environment {
                STELLWERK_GIT_TOKEN = credentials('stellwerk-git-token')
            }
"""
    before = condition + (variables if order.logs_in else "")
    stage = _stage("Preview", _active(lines.preview(order, "$CHANGE_ID")), before=before)
    return f"""\
        // Jenkins starts nothing when a pull request is closed. A job that a webhook starts, or somebody, has to call
        // {lines.close(order, "NUMBER").replace('"', "")}
{stage}"""


def _stage(name: str, commands: list[str], *, before: str = "") -> str:
    return f"""\
        stage('{name}') {{
{before}            steps {{
{lines.block([f"sh '{command}'" for command in commands], 16)}
            }}
        }}"""


def _kept(order: Order) -> str:
    if not order.keeps_red:
        return ""
    return f"""\
        failure {{
            sh '{lines.ACTIVATE} && {lines.keep()}'
            archiveArtifacts artifacts: '{REPORTS}/workspace.tar', allowEmptyArchive: true
        }}
"""


def _active(commands: list[str]) -> list[str]:
    """Commands in the virtual environment; the `PATH` of a Jenkinsfile is that of the agent, not of its container."""
    return [f"{lines.ACTIVATE} && " + (f"{{ {command}; }}" if "||" in command else command) for command in commands]


def _report(order: Order) -> list[str]:
    return [lines.ACTIVATE, *lines.report(f"${{CHANGE_TARGET:-{order.branch}}}")]
