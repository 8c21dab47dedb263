"""The table of commands: what each is called, where it is, and a line about it. Nothing is imported until it is used.

A test holds these lines and the commands' own help in step.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One command: `module:attribute`, and its short help."""

    target: str
    short: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Begin": {
        "ship": Entry("stellwerk.cli.shipping:ship", "data file to governed endpoint in one command"),
        "init": Entry("stellwerk.cli.beginning:init", "make a workspace in a folder"),
        "backup": Entry("stellwerk.cli.backing:backup", "write the whole workspace into one tar file"),
        "restore": Entry("stellwerk.cli.backing:restore", "make the workspace of a backup in a new folder"),
        "migrate": Entry(
            "stellwerk.cli.migrating:migrate", "bring the database up to date after an upgrade of Stellwerk"
        ),
        "up": Entry("stellwerk.cli.serving:up", "serve the board, the API and all endpoints"),
        "next": Entry("stellwerk.cli.viewing:next_step", "show the one sensible next step"),
    },
    "Data and models": {
        "data": Entry(
            "stellwerk.cli.data:data", "datasets: tables with their contracts, and files with their versions"
        ),
        "sync": Entry("stellwerk.cli.remotes:sync", "copy the bytes that a place lacks"),
        "remote": Entry("stellwerk.cli.remotes:remote", "names for other places that keep blobs"),
        "run": Entry("stellwerk.cli.executing:run", "execute a pipeline"),
        "resume": Entry(
            "stellwerk.cli.executing:resume",
            "go on with an execution that waited, was paused, failed, or lost its engine",
        ),
        "worker": Entry("stellwerk.cli.working:worker", "run steps that executions elsewhere offer"),
        "pause": Entry(
            "stellwerk.cli.executing:pause", "let an execution start no further step; what runs is finished"
        ),
        "cancel": Entry(
            "stellwerk.cli.executing:cancel", "end an execution: what runs is stopped, what waits is given up"
        ),
        "step": Entry(
            "stellwerk.cli.steps:step",
            "one step of a pipeline: execute it in a pod or a job, or find out why it failed",
        ),
        "kubeflow": Entry("stellwerk.cli.kubeflow:kubeflow", "write a pipeline as a file for Kubeflow Pipelines"),
        "runs": Entry("stellwerk.cli.running:runs", "list what was executed, newest first, or show one run"),
        "triggers": Entry(
            "stellwerk.cli.triggers:triggers", "what begins runs by itself: clocks, data, events, webhooks"
        ),
        "experiments": Entry("stellwerk.cli.running:experiments", "list experiments, the latest first"),
        "models": Entry("stellwerk.cli.models:models", "list registered model versions, or show one model"),
        "alias": Entry("stellwerk.cli.models:alias", "point an alias at a model version, or take it away"),
        "grants": Entry("stellwerk.cli.grants:grants", "who elsewhere may read results of steps by their keys"),
        "mlflow": Entry(
            "stellwerk.cli.mlflow:mlflow",
            "take over what MLflow keeps, and give it back: experiments, runs, models and their files",
        ),
        "wandb": Entry(
            "stellwerk.cli.wandb:wandb", "take over runs that clients of Weights & Biases wrote on this machine"
        ),
        "webhooks": Entry(
            "stellwerk.cli.webhooks:webhooks", "addresses elsewhere that are told what happens to models"
        ),
        "ci": Entry("stellwerk.cli.ci:ci", "work with GitHub, GitLab, CircleCI and Jenkins"),
        "rebuild": Entry(
            "stellwerk.cli.rebuilding:rebuild", "make a model again from the ledger, and say how much came out again"
        ),
        "compare": Entry(
            "stellwerk.cli.comparing:compare", "show where runs or two model versions differ, and what they share"
        ),
    },
    "From proof to signal": {
        "prove": Entry("stellwerk.cli.releasing:prove", "compute whether a model may run: clear, stop or unproven"),
        "release": Entry("stellwerk.cli.releasing:release", "let what is proven answer callers, for a limited time"),
        "promote": Entry(
            "stellwerk.cli.promoting:promote", "promote a model by a commit to an environment repository"
        ),
        "serve": Entry("stellwerk.cli.serving:serve", "answer callers of one endpoint, without the control plane"),
        "renew": Entry("stellwerk.cli.releasing:renew", "extend a lease if labels prove fitness"),
        "stop": Entry("stellwerk.cli.releasing:stop", "end an endpoint's release now"),
    },
    "Watch": {
        "board": Entry("stellwerk.cli.viewing:board", "show every endpoint with its signal, lease and quality"),
        "inbox": Entry("stellwerk.cli.reviewing:inbox", "cases that wait for a person"),
        "assess": Entry("stellwerk.cli.releasing:assess", "judge production by its log and its labels"),
    },
    "Account": {
        "trace": Entry(
            "stellwerk.cli.tracing:trace", "go from anything back to its causes, re-verifying every digest"
        ),
        "dossier": Entry("stellwerk.cli.tracing:dossier", "write everything behind a release, as a document"),
        "verify": Entry("stellwerk.cli.checking:verify", "check the ledger by independent code"),
        "erase": Entry("stellwerk.cli.erasing:erase", "erase a person's data by destroying their key"),
        "ledger": Entry("stellwerk.cli.ledger:ledger", "the ledger as one file"),
        "keys": Entry("stellwerk.cli.keys:keys", "the keys that sign the ledger, evidence and releases"),
        "environments": Entry(
            "stellwerk.cli.environments:environments",
            "list the virtual environments that steps and rebuilds have left on this machine, or remove unused ones",
        ),
        "gc": Entry("stellwerk.cli.collecting:gc", "remove bytes that nothing refers to"),
        "scrub": Entry("stellwerk.cli.scrubbing:scrub", "read stored bytes again and compare them with their names"),
        "fsck": Entry("stellwerk.cli.checking:fsck", "check every stored byte by independent code"),
        "repair": Entry("stellwerk.cli.remotes:repair", "fetch what is damaged or missing from another place"),
    },
}

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
