"""Realistic view values for the tests of the pages: three endpoints, a run, a trace of 25 things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stellwerk.core.digest import of_bytes
from stellwerk.governance.model import (
    Board,
    DriftLine,
    Edge,
    EndpointCard,
    EventLine,
    Graph,
    Node,
    Point,
    ReleaseLine,
    RiskLine,
    RunLine,
    RunPage,
    Series,
    Trace,
)

NOW = datetime(2013, 11, 4, 6, 0, tzinfo=UTC)
FIRST, SECOND = "01hv3k7q9m4t8x2c6b0ndwzrfa", "01hw9t2e5r7y1u3i8o6pasdfgh"


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2013, month, day, hour, tzinfo=UTC)


def digest(text: str) -> str:
    return of_bytes(text.encode())


def point(month: int, estimate: float, labelled: int, release: str, half: float = 0.012) -> Point:
    return Point(
        start=at(month),
        end=at(month + 1),
        estimate=estimate,
        lower=estimate - half,
        upper=estimate + half,
        labelled=labelled,
        predictions=27_400 + 311 * month,
        release=release,
    )


def release(identity: str, version: int, granted: datetime, expires: datetime, **rest: object) -> ReleaseLine:
    values: dict[str, object] = {
        "id": identity,
        "model": f"delay@{version}",
        "digest": digest(f"model {version}"),
        "status": "active",
        "granted_at": granted,
        "granted_by": "anna",
        "expires_at": expires,
        "ended_at": None,
        "ended_why": "",
        "verdict": "clear",
        "attempt": 1,
        "run": f"01hrun{version}00000000000000000",
    }
    return ReleaseLine(**(values | rest))  # type: ignore[arg-type]


def event(number: int, when: datetime, kind: str, text: str, tone: str = "neutral", actor: str = "anna") -> EventLine:
    return EventLine(sequence=number, at=when, actor=actor, kind=kind, subject="delay", text=text, tone=tone)  # type: ignore[arg-type]


def delay() -> EndpointCard:
    current = release(SECOND, 2, at(8, 20, 9), NOW + timedelta(days=4, hours=7), attempt=2)
    before = release(
        FIRST,
        1,
        at(4, 2, 10),
        at(9, 1),
        status="superseded",
        ended_at=at(8, 20, 9),
        ended_why="superseded by delay@2",
    )
    return EndpointCard(
        name="delay",
        purpose="Will this flight arrive more than 15 minutes late?",
        owner="anna",
        deputy="ben",
        risk_class="limited",
        environment="production",
        signal="caution",
        why="The last 20% of the lease has begun, and October's AUROC (0.643) is only 0.023 above the floor.",
        fallback="previous",
        release=current,
        history=(current, before),
        lease_left_days=4.29,
        lease_used=0.946,
        quality=Series(
            metric="AUROC",
            floor=0.62,
            points=(
                point(4, 0.709, 21_430, FIRST),
                point(5, 0.701, 22_010, FIRST),
                point(6, 0.668, 20_874, FIRST),
                point(7, 0.641, 21_950, FIRST),
                point(8, 0.612, 20_115, FIRST, 0.015),
                point(9, 0.684, 20_422, SECOND),
                point(10, 0.643, 11_207, SECOND, 0.018),
            ),
            at_release=(
                (FIRST, at(4, 2, 10), 0.712, 0.701, 0.723),
                (SECOND, at(8, 20, 9), 0.697, 0.685, 0.709),
            ),
        ),
        risk=RiskLine(
            loss="Brier", labels=31_629, estimate=0.1713, lower=0.1652, upper=0.1774, limit=0.181, alarm=False
        ),
        drift=(
            DriftLine(column="dep_hour", statistic=0.031, limit=0.052, effect=0.04, material=False),
            DriftLine(column="temperature", statistic=0.412, limit=0.118, effect=0.61, material=True),
            DriftLine(column="wind_gust", statistic=0.147, limit=0.121, effect=0.18, material=True),
            DriftLine(column="carrier", statistic=0.058, limit=0.049, effect=0.02, material=False),
            DriftLine(column="visibility", statistic=0.022, limit=0.06, effect=0.03, material=False),
            DriftLine(column="distance", statistic=0.008, limit=0.047, effect=0.01, material=False),
        ),
        predictions=61_744,
        label_coverage=0.512,
        audit_share=0.02,
        routed=("carrier=HA", "carrier=OO", "origin=LGA, dest=EYW"),
        open_cases=7,
        alarms=(
            event(
                1841, at(11, 3, 4), "drift", "temperature moved by 0.41, limit 0.12, with a material effect.", "warn"
            ),
            event(1836, at(11, 1, 4), "lease", "The lease ends in 7 days. At this pace renewal is unlikely.", "warn"),
        ),
        next_step="Train on the months until October and prove the result; "
        "the current model will probably not be renewed.",
        next_command="stellwerk run delay --first 5 --last 10 && stellwerk prove delay",
    )


def stopped() -> EndpointCard:
    ended = release(
        "01hx4f8g2h6j9k3l5z7xcvbnmq",
        4,
        at(6, 3, 8),
        at(9, 1),
        model="churn@4",
        status="stopped",
        ended_at=at(7, 28, 14),
        ended_why="risk tracker: harm is proven",
    )
    return EndpointCard(
        name="churn",
        purpose="Which customers should be called before their contract ends?",
        owner="carla",
        deputy="",
        risk_class="high",
        environment="production",
        signal="stop",
        why="Stopped on 28 July: the mean loss is above its limit (lower bound 0.214, limit 0.200).",
        fallback="human",
        release=ended,
        history=(ended,),
        lease_left_days=0.0,
        lease_used=1.0,
        quality=Series(
            metric="AUROC",
            floor=0.70,
            points=(
                Point(
                    start=at(6, 3),
                    end=at(7, 1),
                    estimate=0.731,
                    lower=0.702,
                    upper=0.760,
                    labelled=840,
                    predictions=2_130,
                    release=ended.id,
                ),
                Point(
                    start=at(7, 1),
                    end=at(7, 28),
                    estimate=0.668,
                    lower=0.639,
                    upper=0.697,
                    labelled=912,
                    predictions=2_044,
                    release=ended.id,
                ),
            ),
            at_release=((ended.id, at(6, 3, 8), 0.744, 0.722, 0.766),),
        ),
        risk=RiskLine(loss="0/1", labels=1_752, estimate=0.236, lower=0.214, upper=0.258, limit=0.2, alarm=True),
        drift=(DriftLine(column="tenure_months", statistic=0.19, limit=0.08, effect=0.31, material=True),),
        predictions=4_174,
        label_coverage=0.42,
        audit_share=0.1,
        routed=(),
        open_cases=41,
        alarms=(event(902, at(7, 28, 14), "alarm", "Harm is proven: the signal fell to stop.", "bad", "stellwerk"),),
        next_step="Find the cause, then prove a new version; the old release cannot be renewed.",
        next_command="stellwerk diagnose churn",
    )


def unproven() -> EndpointCard:
    return EndpointCard(
        name="rebooking",
        purpose="Offer this passenger a rebooking before the connection is missed?",
        owner="dmitri",
        deputy="anna",
        risk_class="limited",
        environment="staging",
        signal="stop",
        why="No release. The last verdict is unproven: about 412 more labelled gate cases are needed.",
        fallback="refuse",
        release=None,
        history=(),
        lease_left_days=None,
        lease_used=None,
        quality=None,
        risk=None,
        drift=(),
        predictions=0,
        label_coverage=None,
        audit_share=None,
        routed=(),
        open_cases=0,
        alarms=(),
        next_step="Label 412 more gate cases, then prove again.",
        next_command="stellwerk prove rebooking --model rebooking@1",
    )


def run_line(identity: str = "01hrun200000000000000000000", **rest: object) -> RunLine:
    values: dict[str, object] = {
        "id": identity,
        "name": "delay",
        "kind": "pipeline",
        "status": "finished",
        "started_at": at(8, 19, 22),
        "seconds": 131.4,
        "cached": False,
        "metrics": (("auroc", 0.69712), ("brier", 0.16834), ("n_train", 128_411.0)),
    }
    return RunLine(**(values | rest))  # type: ignore[arg-type]


def steps() -> tuple[RunLine, ...]:
    return (
        run_line("01hstep1", name="months", kind="data", seconds=2.31, cached=True, metrics=(("rows", 159_280.0),)),
        run_line("01hstep2", name="contract flights", kind="data", seconds=0.42, metrics=(("violations", 0.0),)),
        run_line(
            "01hstep3", name="train", kind="train", seconds=118.0, metrics=(("auroc", 0.697), ("seed_sd", 0.0021))
        ),
        run_line("01hstep4", name="evaluate", kind="evaluate", seconds=9.7),
    )


def board() -> Board:
    return Board(
        workspace="airport-operations",
        actor="anna",
        now=NOW,
        simulated=True,
        endpoints=(delay(), stopped(), unproven()),
        runs=(
            run_line("01hrun3", started_at=at(11, 3, 21), status="running", seconds=44.0, metrics=()),
            run_line(),
            *steps(),
            run_line(
                "01hrun9", name="churn nightly", status="failed", seconds=3.2, started_at=at(8, 2, 3), metrics=()
            ),
            run_line(
                "01hrun8", name="rebooking", status="interrupted", seconds=7805.0, metrics=(("loss", float("nan")),)
            ),
        ),
        events=(
            event(
                1841, at(11, 3, 4), "alarm", "temperature moved by 0.41, limit 0.12, with a material effect.", "warn"
            ),
            event(1840, at(11, 3, 2), "labels", "4,118 outcomes recorded", actor="stellwerk"),
            event(1836, at(11, 1, 4), "lease", "the lease ends in 7 days", "warn", "stellwerk"),
            event(1702, at(8, 20, 9), "release", "delay@2 released until 8 November", "good"),
            event(1699, at(8, 20, 8), "verdict", "verdict clear (attempt 2)", "good", "stellwerk"),
            event(1698, at(8, 20, 8), "gate", "gate set opened, attempt 2", actor="ben"),
            event(902, at(7, 28, 14), "stop", "churn@4 stopped: harm is proven", "bad", "stellwerk"),
        ),
        entries=1841,
    )


def run_page() -> RunPage:
    graph = Graph(
        nodes=(
            Node(id="in", kind="dataset", title="flights@3", digest=digest("flights"), link="/trace/x"),
            Node(id="lock", kind="environment", title="uv.lock", digest=digest("lock")),
            *(Node(id=s.id, kind="step", title=s.name, detail=s.status, link=f"/runs/{s.id}") for s in steps()),
            Node(id="model", kind="model", title="delay@2", digest=digest("model 2")),
        ),
        edges=(
            Edge(source="in", target="01hstep1"),
            Edge(source="01hstep1", target="01hstep2", label="table"),
            Edge(source="01hstep2", target="01hstep3"),
            Edge(source="01hstep3", target="model"),
            Edge(source="model", target="01hstep4"),
            Edge(source="01hstep2", target="01hstep4", label="table"),
            *(Edge(source="lock", target=s.id, label="environment") for s in steps()),
        ),
    )
    return RunPage(
        run=run_line(),
        experiment="delay",
        started_by="anna",
        ended_at=at(8, 19, 22) + timedelta(seconds=131),
        error="",
        parent=None,
        params=(("first", "1"), ("last", "7"), ("depth", "6"), ("learning_rate", "0.08")),
        tags=(("ci", "main"), ("note", "second attempt after the summer drift")),
        inputs=(("flights", digest("flights")), ("weather", digest("weather"))),
        outputs=(("model", digest("model 2")), ("table", digest("table")), ("report", digest("report"))),
        code=digest("code"),
        environment=digest("lock"),
        step_key=digest("key"),
        cpu_seconds=402.7,
        peak_memory_bytes=1_412_300_800,
        log="22:00:01 plan: 4 steps, 1 from cache\n22:00:03 months: 159,280 rows <cached>\n"
        "22:00:04 contract flights: holds\n22:02:02 train: auroc 0.697 \u00b1 0.002 (5 seeds)\n"
        "22:02:11 evaluate: done\n",
        children=steps(),
        graph=graph,
    )


def failed_run() -> RunPage:
    page = run_page()
    line = run_line("01hrun9", name="churn nightly", status="failed", seconds=3.2, metrics=())
    return RunPage(
        **{name: getattr(page, name) for name in RunPage.__slots__}
        | {
            "run": line,
            "error": "Invalid: column 'tenure' has 214 negative values (expected at least 0)\n  in step contract",
            "parent": run_line(),
            "outputs": (),
            "children": (),
            "graph": Graph(nodes=(), edges=()),
            "log": "",
        }
    )


_KINDS = (
    ("jan", "file", "flights-2013-01.parquet"),
    ("feb", "file", "flights-2013-02.parquet"),
    ("mar", "file", "flights-2013-03.parquet"),
    ("weather", "file", "weather.csv"),
    ("planes", "file", "planes.csv"),
    ("code", "code", "delay/pipeline.py"),
    ("lock", "environment", "uv.lock"),
    ("flights", "dataset", "flights@3"),
    ("s-months", "step", "months"),
    ("joined", "dataset", "flights joined with weather"),
    ("s-contract", "step", "contract flights"),
    ("table", "dataset", "training table"),
    ("s-train", "step", "train"),
    ("model", "model", "delay@2"),
    ("gateset", "dataset", "flights-gate (sealed)"),
    ("plan", "plan", "plan of delay, attempt 2"),
    ("gate", "gate", "gate opening 2"),
    ("e-quality", "evidence", "quality"),
    ("e-scan", "evidence", "file-scan"),
    ("e-latency", "evidence", "latency"),
    ("e-contract", "evidence", "contract"),
    ("verdict", "verdict", "clear"),
    ("release", "release", "delay@2 until 8 November"),
    ("segment", "segment", "predictions 3 Nov, 14:00"),
    ("01hz7r5m2k9w4n8p3d6t1x0qva", "prediction", "UA1545 on 3 Nov: late"),
)
_LINKS = (
    "jan>flights feb>flights mar>flights flights>s-months weather>s-months planes>s-months code>s-months "
    "lock>s-months s-months>joined joined>s-contract code>s-contract lock>s-contract s-contract>table table>s-train "
    "code>s-train lock>s-train s-train>model model>e-quality model>e-scan model>e-latency gateset>gate plan>gate "
    "gate>e-quality table>e-contract e-quality>verdict e-scan>verdict e-latency>verdict e-contract>verdict "
    "plan>verdict verdict>release model>release release>segment segment>01hz7r5m2k9w4n8p3d6t1x0qva"
)


def trace_graph() -> Graph:
    states = {"planes": "unproven", "e-latency": "unproven"}
    plain = {"step", "prediction", "gate"}
    return Graph(
        nodes=tuple(
            Node(
                id=identity,
                kind=kind,
                title=title,
                digest="" if kind in plain else digest(identity),
                state=states.get(identity, "plain" if kind in plain else "verified"),  # type: ignore[arg-type]
                detail={
                    "planes": "The file was deleted on 2 June under the retention rule; its digest remains.",
                    "e-latency": "Measured on another machine class than production.",
                }.get(identity, ""),
                link=f"/trace/{identity}",
            )
            for identity, kind, title in _KINDS
        ),
        edges=tuple(Edge(source=a, target=b) for a, b in (pair.split(">") for pair in _LINKS.split())),
    )


def trace() -> Trace:
    return Trace(
        subject="01hz7r5m2k9w4n8p3d6t1x0qva",
        direction="up",
        graph=trace_graph(),
        verified=18,
        failed=(),
        unproven=(
            "The bytes of planes.csv could not be re-read: the file was deleted on 2 June under the retention rule.",
            "The latency evidence was measured on another machine class than the one that answered.",
        ),
        facts=(
            ("asked", "UA1545, EWR to IAH, 3 November, 05:15"),
            ("answered", "late (0.71)"),
            ("when", "3 Nov 2013, 14:03:22 UTC"),
            ("by", "delay@2, clear"),
            ("label", "not yet known"),
        ),
    )


def failed_trace() -> Trace:
    whole = trace()
    return Trace(
        subject="model",
        direction="down",
        graph=Graph(
            nodes=tuple(
                Node(
                    id=n.id,
                    kind=n.kind,
                    title=n.title,
                    digest=n.digest,
                    detail=n.detail,
                    state="failed" if n.id == "model" else n.state,
                    link=n.link,
                )
                for n in whole.graph.nodes
            ),
            edges=whole.graph.edges,
        ),
        verified=17,
        failed=("The stored bytes of delay@2 do not match their digest; two other copies do.",),
        unproven=(),
    )
