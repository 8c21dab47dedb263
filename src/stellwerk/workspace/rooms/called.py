"""What is called when something happens: webhooks and triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stellwerk.workspace.rooms.built import built
from stellwerk.workspace.rooms.judged import Judged

if TYPE_CHECKING:
    from stellwerk.delivery.courier import Courier
    from stellwerk.delivery.ports import Sender
    from stellwerk.delivery.service import Webhooks
    from stellwerk.triggers.hooks import Hooks
    from stellwerk.triggers.lookout import Lookout
    from stellwerk.triggers.ports import Calendar
    from stellwerk.triggers.queue import Queue
    from stellwerk.triggers.service import Triggers


class Called(Judged):
    """The rooms from which others are called."""

    @built
    def sender(self) -> Sender:
        from stellwerk.core.outbound import Allowance
        from stellwerk.delivery.adapters.http import HttpSender

        return HttpSender(Allowance.of(self.settings.webhook_hosts))

    @built
    def webhooks(self) -> Webhooks:
        from stellwerk.delivery.service import Webhooks
        from stellwerk.evidence.adapters.sealing import FileSealer

        return Webhooks(self.book, self.clock, self.sender, FileSealer(self.layout.sealing_key))

    @built
    def courier(self) -> Courier:
        from stellwerk.delivery.adapters.registry import RegistryNow
        from stellwerk.delivery.courier import Courier

        return Courier(self.book, self.clock, self.webhooks, self.sender, RegistryNow(self.book))

    @built
    def calendar(self) -> Calendar:
        from stellwerk.triggers.adapters.cron import CronCalendar

        return CronCalendar()

    @built
    def triggers(self) -> Triggers:
        from stellwerk.evidence.adapters.sealing import FileSealer
        from stellwerk.triggers.service import Triggers

        return Triggers(self.book, self.clock, self.calendar, FileSealer(self.layout.sealing_key))

    @built
    def lookout(self) -> Lookout:
        from stellwerk.triggers.lookout import Lookout

        return Lookout(self.book, self.clock, self.calendar)

    @built
    def queue(self) -> Queue:
        from stellwerk.triggers.queue import Queue

        return Queue(self.book, self.clock, self.settings.trigger_budget)

    @built
    def hooks(self) -> Hooks:
        from stellwerk.triggers.hooks import Hooks

        return Hooks(self.book, self.clock, self.calendar, self.triggers)
