"""Answering callers: the token is judged, the model asked, the record made durable, and only then is there an answer.

Nothing here asks the control plane while a token is valid. Reading the log back is in `segments`.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, Refused, StellwerkError, Unavailable
from stellwerk.core.names import new_id
from stellwerk.ledger.ports import Verifier
from stellwerk.models.model import Signature
from stellwerk.releases import signals
from stellwerk.releases.model import LeaseToken, SignalState
from stellwerk.serving import inputs, rules
from stellwerk.serving.model import BatchAnswer, PredictionBatch, Steer
from stellwerk.serving.ports import Loaded, Log, Models, Tokens

KEPT_MODELS = 2
"""The model that answers, and the one before it, for requests that are still under way."""

NO_MODEL = Digest("")
_RANDOM = secrets.SystemRandom()


class EndpointServer:
    """One endpoint in one serving process. Safe for many threads.

    Args:
        keys: The public keys whose lease tokens count at this moment.
        fallback: What the owner declared for times without a release; `human` steers every row to people,
            everything else refuses. A previous release, if it holds, comes as an ordinary token.
        context: Columns that callers may send beside the model's inputs, such as those that slices are cut by.
        draw: Uniform random numbers in [0, 1) for the audit.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        environment: str,
        workspace: str,
        tokens: Tokens,
        models: Models,
        log: Log,
        clock: Clock,
        verifier: Verifier,
        keys: Callable[[], Sequence[bytes]],
        fallback: str = "refuse",
        queue: str = "review",
        context: Collection[str] = (),
        draw: Callable[[], float] = _RANDOM.random,
    ) -> None:
        self.endpoint, self.environment, self.workspace = endpoint, environment, workspace
        self._tokens, self._models, self._log = tokens, models, log
        self._clock, self._verifier, self._keys = clock, verifier, keys
        self._fallback, self._queue, self._context, self._draw = fallback, queue, frozenset(context), draw
        self._token: Mapping[str, Any] | None = None
        self._judged: tuple[str, LeaseToken] | None = None
        self._loaded: OrderedDict[Digest, Loaded] = OrderedDict()
        self._loading = threading.Lock()

    def state(self) -> SignalState:
        """The signal at this moment, and why. Whatever cannot be known is stop (law 1)."""
        try:
            self._token = envelope = self._tokens.current(self.endpoint)
        except Unavailable:
            envelope = self._token
        except StellwerkError as cause:
            return SignalState(signal="stop", why=f"the lease token cannot be read: {cause}")
        now = self._clock.now()
        known, text = self._judged, repr(envelope)
        # The signature of an unchanged token is not checked again; its time always is.
        if known and known[0] == text and known[1].not_before <= now < known[1].not_after:
            return SignalState(signal=known[1].mode, why=known[1].why or "released", token=known[1])
        try:
            keys = self._keys()
        except StellwerkError as cause:
            return SignalState(signal="stop", why=f"the keys of lease tokens cannot be read: {cause}")
        state = rules.permitted(
            signals.judge(
                envelope,
                workspace=self.workspace,
                endpoint=self.endpoint,
                environment=self.environment,
                now=now,
                keys=keys,
                verifier=self._verifier,
            )
        )
        if state.token is not None:
            self._judged = (text, state.token)
        return state

    def ready(self) -> SignalState:
        """The signal, after the model of a release that holds was loaded and verified. Raises what loading raises."""
        state, _ = self._state_and_model()
        return state

    def signature(self) -> Signature | None:
        """What the released model asks for; without a release, what the last one asked for, or None."""
        state = self.state()
        if state.token is not None:
            return self._model(state.token.model).signature
        with self._loading:
            return next((model.signature for model in reversed(self._loaded.values())), None)

    def check_log(self) -> None:
        """Raise `Unavailable` if no prediction could be logged at present."""
        self._log.check()

    def predict(self, columns: Mapping[str, Sequence[Any]], keys: Sequence[str | None] | None = None) -> BatchAnswer:
        """Answer rows given as columns.

        Args:
            keys: The caller's own reference of each row, kept in the log.

        Raises:
            Refused: `signal-stop`, with the reason.
            Invalid: The rows are not what the model asks for.
            Unavailable: The log cannot keep the prediction, so there is none.
        """
        count = inputs.shape(columns, keys)
        state, model = self._state_and_model()
        if state.token is None or model is None:
            return self._without_release(state, columns, count, keys)
        token = state.token
        allowed = self._context | {column for column, _ in token.routed}
        given = inputs.coerce(columns, model.signature, allowed)
        said = rules.answer_for(model.predict(given), model.signature, count)
        steered = rules.steer(given, count, token, self._draw)
        steered |= {row: rules.UNUSABLE for row, answer in enumerate(said.answers) if answer is None}
        withheld = {row for row, steer in steered.items() if steer.withheld}
        answers = tuple(None if row in withheld else answer for row, answer in enumerate(said.answers))
        batch = self._batch(
            state.signal, given, count, keys, release=token.release, model=model.digest,
            audit_share=token.audit_share, scores=said.scores, answers=answers, steered=steered,
        )  # fmt: skip
        self._log.append(batch)
        return BatchAnswer(
            id=batch.id,
            model=model.digest,
            release=token.release,
            signal=state.signal,
            why=state.why,
            task=model.signature.task,
            classes=model.signature.classes,
            predictions=answers,
            scores=tuple(None if row in withheld else values for row, values in enumerate(said.numbers)),
            steered=steered,
            queue=str(token.steering.get("queue") or self._queue),
        )

    def _without_release(
        self, state: SignalState, columns: Mapping[str, Sequence[Any]], count: int, keys: Sequence[str | None] | None
    ) -> BatchAnswer:
        """No release: people decide every row, or nobody does. No model is asked."""
        if self._fallback != "human":
            raise Refused(
                f"endpoint {self.endpoint!r} is at stop: {state.why}",
                code="signal-stop",
                hint="do not retry; its owner must release a model first",
            )
        steer = Steer(kind="stop", reason=f"stop: {state.why}", probability=1.0)
        nothing = (None,) * count
        batch = self._batch(
            "stop", inputs.loose(columns), count, keys, release="", model=NO_MODEL,
            audit_share=1.0, scores=nothing, answers=nothing, steered=dict.fromkeys(range(count), steer),
        )  # fmt: skip
        self._log.append(batch)
        return BatchAnswer(
            id=batch.id,
            model=NO_MODEL,
            release="",
            signal="stop",
            why=state.why,
            task=None,
            classes=(),
            predictions=nothing,
            scores=nothing,
            steered=batch.steered,
            queue=self._queue,
        )

    def _batch(
        self,
        signal: Literal["clear", "caution", "stop"],
        columns: inputs.Columns,
        count: int,
        keys: Sequence[str | None] | None,
        **facts: Any,
    ) -> PredictionBatch:
        now = self._clock.now()
        return PredictionBatch(
            id=new_id(now),
            at=now,
            workspace=self.workspace,
            endpoint=self.endpoint,
            signal=signal,
            count=count,
            columns=columns,
            keys=tuple(keys or ()),
            **facts,
        )

    def _state_and_model(self) -> tuple[SignalState, Loaded | None]:
        """A signal, and the model it permits, without time passing in between: after loading it is judged anew."""
        while True:
            state = self.state()
            if state.token is None:
                return state, None
            model = self._loaded.get(state.token.model)
            if model is not None:
                return state, model
            self._model(state.token.model)

    def _model(self, digest: Digest) -> Loaded:
        with self._loading:
            model = self._loaded.get(digest)
            if model is None:
                model = self._models.load(digest)
                if model.digest != digest:
                    raise Corrupt(f"the release is for model {digest}, loaded was {model.digest}", code="wrong-model")
                # The old model goes only now, when the new one can answer.
                self._loaded[digest] = model
                while len(self._loaded) > KEPT_MODELS:
                    self._loaded.popitem(last=False)
            return model
