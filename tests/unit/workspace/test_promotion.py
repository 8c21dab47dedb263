"""Promoting by commits, with real repositories: what is written, what is refused, what others did meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.core.names import new_id
from stellwerk.models.model import Signature
from stellwerk.releases import promotion as pointers
from stellwerk.releases.model import EndpointSpec, Goal, Verdict
from stellwerk.releases.shelves import VERDICTS
from stellwerk.testing.releases import a_plan
from stellwerk.workspace.adapters import git_remote
from stellwerk.workspace.adapters.git_remote import Author
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.promotion import Order
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

ANNA = Author(name="anna", address="anna@example.test")
PRODUCTION, STAGING = "environments/production/delay.toml", "environments/staging/delay.toml"
SIGNATURE = Signature(inputs=(), target="late", task="binary", classes=("false", "true"))


def git(folder: Path, *words: str, **options: Any) -> str:
    identity = ("-c", "user.name=ben", "-c", "user.email=ben@example.test")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True, **options
    )
    return done.stdout


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Git as on a machine on which nobody configured it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "environments.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(folder))
    return folder


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    """A workspace with the endpoint `delay` and two versions of its model; nothing is proven."""
    settings = Settings(actor="anna")
    folder = tmp_path / "project"
    folder.mkdir()
    found = Rooms(create(folder, settings), settings)
    found.interlocking.declare(
        EndpointSpec(name="delay", purpose="late?", owner="anna", goals=(Goal(metric="auroc", floor=0.6),))
    )
    for number in (1, 2):
        digest = found.blobs.put(f"model {number}".encode())
        found.registry.register("delay", digest, SIGNATURE, layout="stellwerk-tabular/1", run_id="")
    yield found
    found.close()


@pytest.fixture
def live(rooms: Rooms) -> Workspace:
    return Workspace(LocalCaller(rooms))


def digest(number: int) -> Digest:
    return of_bytes(f"model {number}".encode())


def proven(rooms: Rooms, number: int, outcome: Any = "clear", *, days: int = 30) -> Verdict:
    """A verdict under a plan that was frozen before its gate set was opened, kept in the book."""
    count = rooms.database.size()
    gate = rooms.gates.seal(
        name="delay", features=b"features %d" % count, labels=b"labels %d" % count, rows=8, target="late",
        task="binary", marks=b"".join(of_bytes(b"%d %d" % (count, case))[-16:].encode() for case in range(8)),
    )  # fmt: skip
    plan = rooms.gates.freeze(a_plan(gate=gate.name, gate_version=gate.version, model=digest(number)))
    opening, _ = rooms.gates.open(gate, plan)
    now = rooms.clock.now()
    verdict = Verdict(
        id=new_id(now), endpoint="delay", model=digest(number), plan=plan, attempt=opening.attempt, outcome=outcome,
        reasons=(), routed=(), n_needed=None, evidence=(), given_at=now, valid_until=now + timedelta(days=days),
    )  # fmt: skip
    with rooms.book.write() as tx:
        VERDICTS.insert(tx, verdict)
        tx.record("verdict.given", "endpoint:delay", {"verdict": verdict.id})
    return verdict


def released(rooms: Rooms, number: int) -> Any:
    verdict = proven(rooms, number)
    return rooms.interlocking.grant(verdict, rooms.registry.by_digest(digest(number)), labels_to_renew=200)


def shown(repository: Path, path: str, branch: str = "main") -> pointers.Pointer:
    return pointers.parse(git(repository, "show", f"{branch}:{path}").encode())


def commits(repository: Path, branch: str = "main") -> list[str]:
    return git(repository, "log", "--format=%s", branch).splitlines()


def order(repository: Path, **facts: Any) -> Order:
    return Order(repository=str(repository), endpoint="delay", **facts)


def kinds(rooms: Rooms) -> list[str]:
    return [entry.kind for entry in rooms.book.entries(kinds=["promotion."])]


def test_what_is_released_is_written_by_a_commit(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """Model, version, digest, verdict and release; by whoever acts, where git knows nobody."""
    release = released(rooms, 1)

    done = live.promote(order(repository))

    found = shown(repository, PRODUCTION)
    assert ("delay@1", digest(1), "released", release.id, release.verdict) == (
        found.named, found.digest, found.standing, found.release, found.verdict,
    )  # fmt: skip
    assert found == done.pointer
    assert done.commit == git(repository, "rev-parse", "main").strip()
    assert "anna <anna@stellwerk.invalid> Promote delay@1 to production\n" == git(
        repository, "log", "--format=%an <%ae> %s"
    )


def test_promoting_again_changes_nothing(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """No commit and no entry in the ledger."""
    released(rooms, 1)
    live.promote(order(repository))
    before = kinds(rooms)

    done = live.promote(order(repository))

    assert ("unchanged", "") == (done.what, done.commit)
    assert ["Promote delay@1 to production"] == commits(repository)
    assert before == kinds(rooms)


def test_other_files_stay(rooms: Rooms, live: Workspace, repository: Path, tmp_path: Path) -> None:
    """Whatever else lies in the repository, with its modes and links."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    (clone / "deploy.sh").write_text("#!/bin/sh\n", "utf-8")
    (clone / "deploy.sh").chmod(0o755)
    (clone / "link").symlink_to("deploy.sh")
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "Begin")
    git(clone, "push", "-q", "origin", "HEAD:main")
    before = git(repository, "ls-tree", "-r", "main").splitlines()
    released(rooms, 1)

    live.promote(order(repository))

    after = git(repository, "ls-tree", "-r", "main").splitlines()
    assert [PRODUCTION] == [line.split("\t")[1] for line in after if line not in before]
    assert set(before) <= set(after)


def test_the_ledger_holds_cause_and_effect(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """The release that caused it, the commit that it became, and which entry belongs to which."""
    release = released(rooms, 1)
    done = live.promote(order(repository))

    begun, committed = rooms.book.entries(kinds=["promotion."])

    assert ("promotion.begun", "promotion.committed") == (begun.kind, committed.kind)
    assert {f"promotion:{done.promotion}"} == {begun.subject, committed.subject}
    assert (f"release:{release.id}", "production", PRODUCTION) == (
        begun.body["cause"], begun.body["environment"], begun.body["path"],
    )  # fmt: skip
    assert (f"entry:{begun.sequence}", done.commit) == (committed.body["cause"], committed.body["commit"])
    assert f"Promotion: {done.promotion}" in git(repository, "log", "-1", "--format=%b")


def test_the_own_environment_demands_a_release(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """A clear verdict is not enough there, whatever the repository says; neither is one that was stopped."""
    proven(rooms, 1)
    write(repository, "environments/production/environment.toml", DEMANDS.format("nothing"))
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            live.promote(order(repository))
        assert "not-promotable" == caught.value.code
        if rooms.interlocking.active("delay") is None:
            released(rooms, 2)
            rooms.interlocking.stop("delay", "wrong feed")

    assert ["Begin"] == commits(repository)
    assert [] == kinds(rooms)


DEMANDS = 'format = "stellwerk-environment/1"\ndemands = "{}"\n'


def write(repository: Path, path: str, text: str | None, branch: str = "main", message: str = "Begin") -> None:
    """A commit by somebody else."""
    with git_remote.looked_at(str(repository), "") as remote:
        made = remote.commit({path: text.encode() if text is not None else None}, by=ANNA, message=message)
        remote.push(made, to=branch)


@pytest.mark.parametrize(
    ("demand", "outcome", "allowed"),
    [
        (None, "clear", True), (None, "unproven", False), (None, "stop", False), (None, None, False),
        ("verdict", "clear", True), ("verdict", "unproven", False), ("release", "clear", False),
        ("nothing", "stop", True), ("nothing", None, True),
    ],
)  # fmt: skip
def test_other_environments_demand_what_they_say(
    demand: str | None, outcome: Any, allowed: bool, rooms: Rooms, live: Workspace, repository: Path
) -> None:
    """A clear verdict where they say nothing. What is written says how the model stands."""
    if demand:
        write(repository, "environments/staging/environment.toml", DEMANDS.format(demand))
    if outcome:
        proven(rooms, 2, outcome)
    if allowed:
        live.promote(order(repository, environment="staging"))
        assert (outcome or "unproven") == shown(repository, STAGING).standing
    else:
        with pytest.raises(Refused) as caught:
            live.promote(order(repository, environment="staging"))
        assert "not-promotable" == caught.value.code
        assert [] == kinds(rooms)


def test_evidence_that_expired_is_none(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """A clear verdict holds until its first evidence expires."""
    proven(rooms, 2, days=-1)

    with pytest.raises(Refused) as caught:
        live.promote(order(repository, environment="staging"))

    assert "unproven" in caught.value.message


def test_what_is_released_cannot_be_exchanged(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """Another model than the released one is refused by name."""
    released(rooms, 1)

    with pytest.raises(Refused) as caught:
        live.promote(order(repository, model="delay@2"))

    assert "delay@2 is not what is released" in caught.value.message


def test_a_preview_comes_and_goes(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """Unproven and marked so; taken away on close, once, with nothing else."""
    released(rooms, 1)
    live.promote(order(repository))

    live.promote(order(repository, preview=12))
    preview = shown(repository, "previews/pr-12/delay.toml")
    closed = live.close_preview(str(repository), preview=12)
    again = live.close_preview(str(repository), preview=12)

    assert ("pr-12", "delay@2", "unproven", "") == (
        preview.environment, preview.named, preview.standing, preview.release,
    )  # fmt: skip
    assert (("closed", ("previews/pr-12/delay.toml",)), "unchanged") == ((closed.what, closed.paths), again.what)
    assert [PRODUCTION] == git(repository, "ls-tree", "-r", "--name-only", "main").splitlines()
    assert "promotion.closed" == kinds(rooms)[-1]


def test_a_request_is_a_branch_of_its_own(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """The main branch stays; asking again makes no second one."""
    write(repository, "README.md", "hello\n")
    released(rooms, 1)

    done = live.promote(order(repository, request=True))
    again = live.promote(order(repository, request=True))

    assert ("promoted", "unchanged") == (done.what, again.what)
    assert done.branch == again.branch
    assert done.branch.startswith("stellwerk/production/delay-1-")
    assert ["Begin"] == commits(repository)
    assert "delay@1" == shown(repository, PRODUCTION, done.branch).named


def test_a_server_that_opens_merge_requests_is_asked_to(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """By push options, as GitLab takes them; one that takes none gets the branch alone."""
    write(repository, "README.md", "hello\n")
    git(repository, "config", "receive.advertisePushOptions", "true")
    hook = repository / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1 $GIT_PUSH_OPTION_2" > options\n', "utf-8")
    hook.chmod(0o755)
    released(rooms, 1)

    live.promote(order(repository, request=True))

    assert "merge_request.create merge_request.target=main merge_request.title=Promote delay@1 to production\n" == (
        repository / "options"
    ).read_text("utf-8")


def test_promotions_at_once_all_arrive(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """Where another commit comes first, it is tried again on top of it."""
    write(repository, "README.md", "hello\n")
    problems: list[StellwerkError] = []

    def work(number: int) -> None:
        try:
            live.promote(order(repository, preview=number))
        except StellwerkError as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == problems
    assert 5 == len(commits(repository))
    assert 4 == kinds(rooms).count("promotion.committed")
    begun = kinds(rooms).count("promotion.begun")
    assert begun == 4 + kinds(rooms).count("promotion.failed")


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Let somebody do something between our look at the repository and our push, once."""

    def arrange(what: Callable[[], None]) -> None:
        pushed = git_remote.GitRemote.push
        left = [what]

        def push(self: git_remote.GitRemote, *arguments: Any, **options: Any) -> None:
            if left:
                left.pop()()
            pushed(self, *arguments, **options)

        monkeypatch.setattr(git_remote.GitRemote, "push", push)

    return arrange


def test_somebody_elses_commit_is_no_conflict(
    rooms: Rooms, live: Workspace, repository: Path, between: Callable[[Callable[[], None]], None]
) -> None:
    """As long as it is about something else: both are there."""
    released(rooms, 1)
    write(repository, "README.md", "hello\n")
    between(lambda: write(repository, "other.txt", "new\n", message="Other"))

    live.promote(order(repository))

    assert ["Promote delay@1 to production", "Other", "Begin"] == commits(repository)
    assert ["promotion.begun", "promotion.failed", "promotion.begun", "promotion.committed"] == kinds(rooms)


def test_somebody_elses_promotion_is_a_conflict(
    rooms: Rooms, live: Workspace, repository: Path, between: Callable[[Callable[[], None]], None]
) -> None:
    """What they promoted stays, and the error says so."""
    released(rooms, 1)
    write(repository, "README.md", "hello\n")
    theirs = pointers.Pointer(
        environment="production", endpoint="delay", workspace="x", model="other", version=7, digest=digest(7),
        standing="released",
    )  # fmt: skip
    between(lambda: write(repository, PRODUCTION, pointers.text(theirs), message="Theirs"))

    with pytest.raises(Conflict) as caught:
        live.promote(order(repository))

    assert "promotion-conflict" == caught.value.code
    assert theirs == shown(repository, PRODUCTION)
    assert ["promotion.begun", "promotion.failed"] == kinds(rooms)


@pytest.mark.parametrize("request_", [False, True])
def test_who_dies_after_the_push_is_ended_by_the_next(
    request_: bool, rooms: Rooms, live: Workspace, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One commit, one beginning and one end, whenever somebody looks again; before that only a beginning."""
    released(rooms, 1)
    write(repository, "README.md", "hello\n")
    pushed = git_remote.GitRemote.push

    def push(self: git_remote.GitRemote, *arguments: Any, **options: Any) -> None:
        pushed(self, *arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(git_remote.GitRemote, "push", push)
        with pytest.raises(KeyboardInterrupt):
            live.promote(order(repository, request=request_))
    assert ["promotion.begun"] == kinds(rooms)

    done = [live.promote(order(repository, request=request_)).what for _ in range(2)]

    assert ["unchanged", "unchanged"] == done
    begun, committed = rooms.book.entries(kinds=["promotion."])
    assert (begun.subject, "promotion.committed") == (committed.subject, committed.kind)
    assert committed.body["commit"] in git(repository, "rev-list", "--all")


def test_a_guarded_branch_refuses(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """With the server's own words, and what to do; the ledger holds that it failed."""
    hook = repository / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n", "utf-8")
    hook.chmod(0o755)
    released(rooms, 1)

    with pytest.raises(Refused) as caught:
        live.promote(order(repository))

    assert "push-refused" == caught.value.code
    assert "main is protected" in caught.value.message
    assert "--request" in caught.value.hint
    assert "promotion.failed" == kinds(rooms)[-1]


@pytest.mark.parametrize("text", ["hello\n", "format = 1\n", "<<<<<<< HEAD\n", 'format = "stellwerk-promotion/2"\n'])
def test_another_file_is_not_written_over(text: str, rooms: Rooms, live: Workspace, repository: Path) -> None:
    """What stands at the place must be a promotion; what says what is demanded must be readable."""
    write(repository, PRODUCTION, text)
    write(repository, "environments/staging/environment.toml", text)
    released(rooms, 1)

    for environment in ("", "staging"):
        with pytest.raises(Invalid) as caught:
            live.promote(order(repository, environment=environment))
        assert "invalid-promotion" == caught.value.code
    assert ["Begin", "Begin"] == commits(repository)


def test_a_link_at_the_place_is_refused(rooms: Rooms, live: Workspace, repository: Path, tmp_path: Path) -> None:
    """Nothing is ever written through one."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    (clone / "environments" / "production").mkdir(parents=True)
    (clone / PRODUCTION).symlink_to("/etc/passwd")
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "Link")
    git(clone, "push", "-q", "origin", "HEAD:main")
    released(rooms, 1)

    with pytest.raises(Invalid) as caught:
        live.promote(order(repository))

    assert "invalid-promotion" == caught.value.code


@pytest.mark.parametrize(
    "path",
    [
        "../x.toml", "/etc/x.toml", ".git/x.toml", "a/.GIT/x.toml", "a//b.toml", "a/\nb.toml", "x.yaml", "a/../b.toml",
        "git~1/x.toml",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str, repository: Path) -> None:
    """Before anything is looked at."""
    with pytest.raises(Invalid):
        order(repository, path=path)


@pytest.mark.parametrize("name", ["Prod", "a/b", "-x", "..", "x" * 64, "a b", ""])
def test_an_environment_has_a_plain_name(name: str, repository: Path) -> None:
    """It becomes a folder and a part of branches."""
    with pytest.raises(Invalid):
        pointers.environment_name(name)


@pytest.mark.parametrize("url", ["ext::sh -c id", "--upload-pack=id", "fd::17", "", "a\nb"])
def test_an_address_runs_nothing(url: str, rooms: Rooms, live: Workspace) -> None:
    """Helpers that git would start, and options, are no addresses."""
    with pytest.raises(Invalid) as caught:
        live.promote(Order(repository=url, endpoint="delay", preview=1))

    assert "invalid-repository" == caught.value.code


def test_a_repository_that_is_not_there(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """And a branch that is not; without a word about who logs in."""
    released(rooms, 1)
    with pytest.raises(Unavailable) as caught:
        live.promote(Order(repository="https://anna:secret@127.0.0.1:9/x.git", endpoint="delay"))
    live.promote(order(repository))
    with pytest.raises(NotFound) as missing:
        live.promote(order(repository, branch="nowhere"))

    assert "repository-unreachable" == caught.value.code
    assert "secret" not in caught.value.message
    assert "no-such-branch" == missing.value.code


def test_secrets_in_an_address_are_not_kept(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """Neither in the ledger nor in what is answered."""
    assert "https://git.example/x.git" == git_remote.without_secrets("https://anna:secret@git.example/x.git")
    assert "git@git.example:x.git" == git_remote.without_secrets("git@git.example:x.git")


def test_a_token_is_told_to_one_host_alone(tmp_path: Path) -> None:
    """By https; no helper of the machine is asked, and none keeps it."""
    config = Path(os.environ["GIT_CONFIG_GLOBAL"])
    config.write_text('[credential]\n\thelper = "!echo password=kept; echo $1 >> asked; :"\n', "utf-8")

    def asked(host: str, url: str, what: str = "fill") -> dict[str, str]:
        words = git_remote.login(url, "secret")
        environment = {**os.environ, "STELLWERK_GIT_TOKEN": "secret", "GIT_TERMINAL_PROMPT": "0"}
        given = f"protocol=https\nhost={host}\n" + ("" if what == "fill" else "username=a\npassword=secret\n")
        said = subprocess.run(
            ["git", *words, "credential", what],
            cwd=tmp_path, env=environment, input=f"{given}\n", capture_output=True, text=True, check=False,
        )  # fmt: skip
        return dict(line.split("=", 1) for line in said.stdout.splitlines())

    found = asked("git.example:8443", "https://ben@git.example:8443/anna/x.git")
    asked("git.example:8443", "https://git.example:8443/x.git", "approve")
    quiet = not (tmp_path / "asked").exists()

    assert ("x-access-token", "secret") == (found["username"], found["password"])
    assert quiet
    assert "secret" not in asked("other.example", "https://git.example/x.git").values()
    assert () == git_remote.login("http://git.example/x.git", "secret") == git_remote.login("https://git.example", "")
    assert "secret" not in " ".join(git_remote.login("https://git.example/x.git", "secret"))


def test_the_author_is_who_git_says(rooms: Rooms, live: Workspace, repository: Path, tmp_path: Path) -> None:
    """Of the project's configuration; the settings come first."""
    folder = tmp_path / "code"
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "config", "user.name", "Anna B")
    git(folder, "config", "user.email", "anna@example.test")

    known = git_remote.author(folder, "", "anna")
    said = git_remote.author(folder, "CI <ci@example.test>", "anna")

    assert ("Anna B", "anna@example.test", False) == (known.name, known.address, known.signs)
    assert ("CI", "ci@example.test") == (said.name, said.address)
    with pytest.raises(Invalid):
        git_remote.author(folder, "no address", "anna")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_commits_are_signed_where_git_is_told_to(
    rooms: Rooms, live: Workspace, repository: Path, tmp_path: Path
) -> None:
    """With the key that it is told of; where that is missing nothing is committed."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config = Path(os.environ["GIT_CONFIG_GLOBAL"])
    config.write_text(f"[commit]\n\tgpgsign = true\n[gpg]\n\tformat = ssh\n[user]\n\tsigningkey = {key}\n", "utf-8")
    released(rooms, 1)

    live.promote(order(repository))
    signed = git(repository, "cat-file", "commit", "main")
    key.unlink()
    with pytest.raises(Unavailable) as caught:
        live.promote(order(repository, preview=1))

    assert "-----BEGIN SSH SIGNATURE-----" in signed
    assert "cannot-sign" == caught.value.code
    assert 1 == len(commits(repository))


def test_a_promotion_ends_once(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """And only one that was begun."""
    from stellwerk.workspace import operations as ops

    released(rooms, 1)
    done = live.promote(order(repository))
    caller = LocalCaller(rooms)

    with pytest.raises(Conflict):
        caller.call(ops.end_promotion, {"promotion": done.promotion, "why": "changed my mind"})
    with pytest.raises(NotFound):
        caller.call(ops.end_promotion, {"promotion": "01kc4v3n0w5x8y2z6q7r9s1t3v", "commit": "0" * 40})


def test_what_was_not_proposed_is_not_begun(rooms: Rooms, live: Workspace, repository: Path) -> None:
    """A caller cannot write down another model than the one that may be promoted."""
    from stellwerk.workspace import operations as ops

    released(rooms, 1)
    done = live.promote(order(repository))
    assert done.pointer is not None
    from dataclasses import replace

    false = replace(done.pointer, digest=digest(2))
    asked = {"pointer": false, "repository": "x", "branch": "main", "path": PRODUCTION}
    with pytest.raises(StellwerkError) as caught:
        LocalCaller(rooms).call(ops.begin_promotion, asked)

    assert "promotion-conflict" == caught.value.code


def test_a_pointer_is_written_as_its_page_says() -> None:
    """Byte for byte: others read it too."""
    page = Path(__file__).parents[3] / "docs" / "formats" / "promotion.md"
    written = page.read_text("utf-8").split("```text\n")[1].partition("```")[0].encode()

    assert written == pointers.text(pointers.parse(written)).encode()
    assert "verdict" == pointers.parse_demand(page.read_bytes().split(b"```text\n")[2].partition(b"```")[0])


def test_a_pointer_comes_back() -> None:
    """From its text, byte for byte; anything else is refused."""
    one = pointers.Pointer(
        environment="production", endpoint="delay", workspace="default", model='a "b" \\ \x7f é\n', version=3,
        digest=digest(3), standing="released", verdict="v", release="r",
    )  # fmt: skip
    text = pointers.text(one).encode()

    assert one == pointers.parse(text)
    for wrong in (
        text + b"# more\n",
        text.replace(b"version = 3", b'version = "3"'),
        text[:-9],
        b"\xff",
        b"x" * 9000,
    ):
        with pytest.raises(Invalid):
            pointers.parse(wrong)


def test_it_is_the_same_at_a_url(rooms: Rooms, repository: Path) -> None:
    """Git runs where the command is typed; what may be promoted is decided where the workspace is."""
    from stellwerk.testing import worlds
    from stellwerk.workspace.facade import connect

    release = released(rooms, 1)
    with worlds.served(rooms) as url, connect(url) as far:
        done = far.promote(order(repository))
        preview = far.promote(order(repository, preview=4))
        closed = far.close_preview(str(repository), preview=4)
        with pytest.raises(Refused) as caught:
            far.promote(order(repository, environment="staging", model="delay@2"))

    assert ("promoted", release.id) == (done.what, shown(repository, PRODUCTION).release)
    assert ("promoted", "closed") == (preview.what, closed.what)
    assert "not-promotable" == caught.value.code
    assert ["promotion.begun", "promotion.committed"] == kinds(rooms)[:2]
