"""CI files that are there, read as steps of a pipeline. What is read is data: nothing of it is executed."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.delivery.ci.taking import github, gitlab, groovy, jenkins, yaml
from stellwerk.delivery.ci.taking.model import Taken

SYSTEMS = ("github", "gitlab", "jenkins")


def take(data: bytes, source: str, *, system: str = "") -> Taken:
    """What a CI file does, as steps.

    Args:
        source: The file's name, for messages.
        system: Whose file it is; found from its name and content where nobody says.

    Raises:
        Invalid: It cannot be read, or nothing of it can be taken over.
    """
    system = system or _recognised(data, source)
    if system == "jenkins":
        taken = jenkins.take(groovy.read(data, source), source)
    else:
        documents = yaml.read(data, source)
        if not documents or not isinstance(documents[-1], yaml.Table):
            raise Invalid(f"{source} cannot be read: it holds no mapping", code="invalid-ci-file")
        taken = (github if system == "github" else gitlab).take(documents, source)
    return taken


def _recognised(data: bytes, source: str) -> str:
    name = source.rpartition("/")[2].lower()
    if name.startswith("jenkinsfile") or name.endswith((".jenkinsfile", ".groovy")):
        return "jenkins"
    if name.endswith((".yml", ".yaml")):
        documents = yaml.read(data, source)
        last = documents[-1] if documents else None
        if isinstance(last, yaml.Table) and {"on", "jobs"} <= set(last.entries):
            return "github"
        return "gitlab"
    raise Invalid(
        f"{source} is no CI file that is known by its name", code="unknown-ci-file",
        hint=f"say whose it is: --as {' | '.join(SYSTEMS)}",
    )  # fmt: skip
