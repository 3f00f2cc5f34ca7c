"""How the places that messages are sent from are shared by tenants and by receivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from serving.store.webhooks import Full, Message


class Shares:
    """Who holds which of ``places``.

    Nobody may hold more of them than are left free (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions
    on Networking 6(2), 1998): alone one has half, n who take what they can get have 1/(n+1) each, and as much is free
    for the next.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._tenants: Counter[str] = Counter()
        self._receivers: Counter[str] = Counter()

    @contextmanager
    def held(self, message: Message) -> Iterator[None]:
        """While this lasts, a place is the message's."""
        kept = ((self._tenants, message.tenant), (self._receivers, message.receiver))
        for counter, name in kept:
            counter[name] += 1
        try:
            yield
        finally:
            for counter, name in kept:
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]

    @property
    def full(self) -> Full:
        """Those that may have no further place now."""
        free = self._places - self._tenants.total()
        return Full(_at_least(free, self._tenants), _at_least(free, self._receivers))


def _at_least(number: int, counter: Counter[str]) -> frozenset[str]:
    return frozenset(name for name, held in counter.items() if held >= number)
