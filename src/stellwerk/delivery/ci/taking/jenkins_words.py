"""What becomes of the words of Jenkins that need no closer look."""

from __future__ import annotations

from stellwerk.delivery.ci.taking.notes import Advice

LEFT_POST = ("left", "nothing runs after a stage besides what waits for it", "a step of its own, or a webhook")
TOP: dict[str, Advice] = {
    "options": ("taken", "", ""),
    "triggers": ("left", "what starts a run is said elsewhere", "`stellwerk ci init jenkins`; for a time, a trigger"),
    "tools": ("left", "tools of Jenkins are not installed", "have them where the steps run"),
    "libraries": ("left", "a shared library is code of Jenkins", "the commands that it runs"),
}
OPTIONS: dict[str, Advice] = {
    "disableConcurrentBuilds": ("changed", "processes of one workspace take turns where they must", ""),
    "buildDiscarder": ("changed", "what is kept is for `stellwerk gc` to say", ""),
    "timestamps": ("taken", "", ""),
    "skipDefaultCheckout": ("changed", "the project's folder has the sources already", ""),
    "parallelsAlwaysFailFast": ("changed", "what fails stops only what waits for it", ""),
    "preserveStashes": ("changed", "results are kept by step key", ""),
    "ansiColor": ("taken", "", ""),
}
STEPS: dict[str, Advice] = {
    "checkout": ("changed", "the project's folder has the sources already", ""),
    "git": ("changed", "the project's folder has the sources already", ""),
    "cleanWs": ("changed", "every step begins in a folder of its own", ""),
    "deleteDir": ("changed", "every step begins in a folder of its own", ""),
    "junit": ("changed", "the step's log, metrics and files are kept with its run", "`stellwerk ci report`"),
    "recordIssues": ("left", "a report of Jenkins", "`stellwerk ci report --sarif`"),
    "publishHTML": ("left", "a report of Jenkins", "`stellwerk ci report --out`"),
    "archiveArtifacts": ("changed", "the files are passed on with the folder", "name them among the outputs"),
    "stash": ("changed", "the files are passed on with the folder", "name them among the outputs"),
    "unstash": ("changed", "the files come with the folder", ""),
    "script": ("left", "code of Groovy is not run", "the commands that it runs, as `sh` steps"),
    "input": ("left", "a person is asked between stages only", "`input` of a stage of its own"),
    "build": ("left", "no other job is started", "call it as a sub-pipeline"),
    "bat": ("left", "it needs Windows", ""),
    "powershell": ("left", "it needs PowerShell", 'a step of its own: `sw.command(…, "pwsh", "-c", …)`'),
    "pwsh": ("left", "it needs PowerShell", 'a step of its own: `sw.command(…, "pwsh", "-c", …)`'),
    "catchError": ("left", "a failed step fails what waits for it", "end the script with `|| true`"),
    "mail": ("left", "no mail is sent", "a webhook: `stellwerk webhooks`"),
    "emailext": ("left", "no mail is sent", "a webhook: `stellwerk webhooks`"),
    "slackSend": ("left", "no message is sent", "a webhook: `stellwerk webhooks`"),
    "sleep": ("left", "no step waits for a time", "`sw.wait_until`"),
    "error": ("left", "it stops the build", "`exit 1` in a script"),
}
AROUND = frozenset({"ansiColor", "timestamps", "node", "lock", "milestone", "wrap", "sshagent", "container"})
"""Blocks around steps of which only the steps are taken over."""
"""Blocks around steps of which only the steps are taken over."""
