"""Will this flight arrive more than 15 minutes late? Asked with what is known at scheduled departure, no later."""

import polars as pl

import stellwerk as sw

FLOWN = [
    "dep_time",
    "dep_delay",
    "arr_time",
    "arr_delay",
    "air_time",
    "tailnum",
]  # empty where a flight was cancelled
CONTRACT = {"origin": {"vocabulary": ["EWR", "JFK", "LGA"]}, "hour": {"minimum": 0, "maximum": 23},
            **{name: {"min_fraction": 0.8} for name in FLOWN}}  # fmt: skip


def features(
    flights: pl.DataFrame, weather: pl.DataFrame, planes: pl.DataFrame, airports: pl.DataFrame
) -> pl.DataFrame:
    """One row per flight. The weather is that of the last full hour before departure: nothing from the future."""
    departure = pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes=pl.col("minute"))
    rows = flights.with_columns(departure.alias("departure"), weekday=pl.date("year", "month", "day").dt.weekday())
    known = weather.with_columns(pl.col("time_hour").str.to_datetime(time_zone="UTC").alias("observed"))
    sky = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    rows = sw.asof(rows, known.select("origin", "observed", *sky), on="departure", by=["origin"], right_on="observed",
                   tolerance="6h", strictly_before=True)  # fmt: skip
    rows = rows.join(planes.select("tailnum", "seats", built="year"), on="tailnum", how="left", maintain_order="left")
    rows = rows.join(airports.select("lat", "lon", dest="faa"), on="dest", how="left", maintain_order="left")
    asked = ["carrier", "origin", "dest", "hour", "minute", "weekday", "distance", "sched_arr_time", "seats", "built"]
    return rows.select("departure", *asked, "lat", "lon", *sky, late=pl.col("arr_delay") > 15)


@sw.step(kind="features", outputs=("train", "select", "gate"))
def prepare(flights: pl.DataFrame, weather: pl.DataFrame, planes: pl.DataFrame, airports: pl.DataFrame,
            train_until: str, gate_from: str, gate_until: str) -> dict[str, pl.DataFrame]:  # fmt: skip
    """Cut by time: the gate set is the future of the training set; the last tenth of training selects the seed."""
    rows = features(flights, weather, planes, airports).drop_nulls("late").sort("departure")
    end, first, last = (pl.lit(d).str.to_datetime(time_zone="UTC") for d in (train_until, gate_from, gate_until))
    past, gate = rows.filter(pl.col("departure") < end), rows.filter(pl.col("departure").is_between(first, last))
    cut = int(past.height * 0.9)
    return {"train": past[:cut], "select": past[cut:], "gate": gate}


@sw.step(kind="train", seeds=3)
def train(table: pl.DataFrame, seed: int, depth: int = 6) -> sw.Model:
    """Gradient boosting; each seed draws its own columns and rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(max_depth=depth, max_iter=150, learning_rate=0.08, max_features=0.8,
                                           early_stopping=False, random_state=seed)  # fmt: skip
    return sw.fit(trees, table, target="late", exclude=["departure"])


@sw.pipeline
def delay(train_until: str = "2013-03-01", gate_from: str = "2013-03-01", gate_until: str = "2013-04-01"):
    """Contract, features, training, evaluation, and a sealed gate set."""
    flights = sw.contract("flights", changes=CONTRACT)(sw.dataset("flights"))
    others = [sw.dataset(name) for name in ("weather", "planes", "airports")]
    tables = prepare(flights, *others, train_until, gate_from, gate_until)
    sw.gate(tables["gate"], name="delay", target="late")
    return sw.evaluate(train(tables["train"]), tables["select"])
