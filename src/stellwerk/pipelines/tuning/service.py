"""The loop of tuning: ask for parameters, claim a number, run, commit the ending, tell; until the budget is spent.

The trials that are kept are the truth; the advisor is made from them. Whoever dies leaves trials without a holder, which
whoever comes next begins again with the same number and the same parameters, so none is lost and none counts twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Conflict, Invalid, StellwerkError
from stellwerk.pipelines.tuning import rules
from stellwerk.pipelines.tuning.model import Budget, Ending, Setup, Trial
from stellwerk.pipelines.tuning.ports import Advisor, Run, Trials

LOOK_SECONDS = 0.2
"""Between looks at trials that others hold."""
Advise = Callable[[Sequence[Trial]], Advisor]
Told = Callable[[Trial], None]


def search(
    setup: Setup,
    budget: Budget,
    *,
    trials: Trials,
    advise: Advise,
    run: Run,
    workers: int = 1,
    tell: Told = lambda trial: None,
    pause: Callable[[float], None] = time.sleep,
) -> list[Trial]:
    """Run trials until the budget is spent; returns all trials there are then.

    Args:
        advise: Makes an advisor who knows some trials.
        run: Called by `workers` threads at once; by the caller's own where there is one worker.
        tell: Hears of each trial that ended here.

    Raises:
        Invalid: `all-trials-failed`: the first ones all failed, with what the last one said.
    """
    loop = _Loop(setup, budget, trials, advise, run, workers, tell, pause)
    try:
        if workers == 1:
            loop.work()
        else:
            loop.work_together(workers)
    finally:
        trials.release()
    if loop.problem is not None:
        raise loop.problem
    return trials.known()


class _Loop:
    """What the workers of one call share."""

    def __init__(
        self,
        setup: Setup,
        budget: Budget,
        trials: Trials,
        advise: Advise,
        run: Run,
        workers: int,
        tell: Told,
        pause: Callable[[float], None],
    ) -> None:
        self._setup, self._budget, self._trials, self._run = setup, budget, trials, run
        self._advise, self._tell, self._pause = advise, tell, pause
        self._workers = workers
        self._turn = threading.RLock()
        self._stopped = threading.Event()
        self.problem: BaseException | None = None
        self._known: dict[int, Trial] = {}
        self._ours: dict[int, list[tuple[int, float]]] = {}
        """The trials that run here, with what they reported so far."""
        self._refresh()
        self._begun, self._before = monotonic(), rules.spent(list(self._known.values()), workers)

    def work_together(self, workers: int) -> None:
        """Several threads; an interrupt of the caller ends them after what they are at."""
        threads = [threading.Thread(target=self.work, name=f"tune {n}", daemon=True) for n in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(LOOK_SECONDS)
                    with self._turn:
                        self._trials.renew()
        except BaseException:
            self._stopped.set()
            raise

    def work(self) -> None:
        """Run one trial after the other."""
        try:
            while not self._stopped.is_set():
                trial = self._next()
                if trial is None:
                    if not self._awaited():
                        return
                    self._pause(LOOK_SECONDS)
                    self._refresh()
                    continue
                self._end(trial, self._run(trial, lambda step, value, n=trial.number: self._report(n, step, value)))  # type: ignore[misc]
        except StellwerkError as problem:
            self._fail(problem)
        except BaseException as problem:
            self._fail(problem)
            if self._workers == 1:
                raise

    def _fail(self, problem: BaseException) -> None:
        with self._turn:
            self.problem = self.problem or problem
        self._stopped.set()

    def _next(self) -> Trial | None:
        """A trial that somebody lost, or a new one, or none for now."""
        with self._turn:
            for trial in list(self._known.values()):
                if trial.state == "running" and trial.number not in self._ours and not trial.held:
                    again = self._trials.retake(trial)
                    if again is not None:
                        self._known[again.number] = again
                        self._ours[again.number] = []
                        return again
                    self._refresh()
            while self._may_begin():
                number = len(self._known)
                params = self._advisor.ask(number)
                if params is None:
                    return None
                try:
                    trial = self._trials.claim(number, params)
                except Conflict:  # somebody else is at the same study
                    self._refresh()
                    continue
                self._known[number] = trial
                self._ours[number] = []
                return trial
            return None

    def _may_begin(self) -> bool:
        if self._stopped.is_set():
            return False
        if self._budget.trials is not None and len(self._known) >= self._budget.trials:
            return False
        seconds = self._budget.seconds
        return seconds is None or self._before + monotonic() - self._begun < seconds

    def _awaited(self) -> bool:
        """Whether others are at trials that we wait for, to take them over if they are lost."""
        with self._turn:
            return any(trial.state == "running" and trial.number not in self._ours for trial in self._known.values())

    def _report(self, number: int, step: int, value: float) -> bool:
        with self._turn:
            self._trials.renew()
            if number in self._ours:
                self._ours[number].append((step, value))
            return self._advisor.report(number, step, value)

    def _end(self, trial: Trial, ending: Ending) -> None:
        with self._turn:
            ending = replace(ending, reports=tuple(self._ours.get(trial.number, ())))
        ours = self._trials.finish(trial, ending)
        with self._turn:
            self._ours.pop(trial.number, None)
            if not ours:
                self._refresh()
                return
            ended = replace(
                trial, state=ending.state, values=ending.values, reports=ending.reports, seconds=ending.seconds,
                cached=ending.cached, error=ending.error, held=False,
            )  # fmt: skip
            self._known[trial.number] = ended
            self._advisor.tell(trial.number, ending.state, ending.values)
            lost = rules.hopeless([self._known[number] for number in sorted(self._known)])
        self._tell(ended)
        if lost is not None:
            raise Invalid(
                f"every trial failed, the last one so: {lost.error}",
                code="all-trials-failed",
                hint=f"`stellwerk runs {lost.run}` shows its log",
            )

    def _refresh(self) -> None:
        """Read the trials again, and make an advisor who knows them."""
        with self._turn:
            found = {trial.number: trial for trial in self._trials.known()}
            # Of what runs here we know more than is kept.
            ours = {
                number: replace(self._known[number], reports=tuple(reports)) for number, reports in self._ours.items()
            }
            self._known = {**found, **ours}
            self._advisor = self._advise([self._known[number] for number in sorted(self._known)])
