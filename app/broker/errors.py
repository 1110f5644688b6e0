"""What the broker can answer instead of what was asked; what a caller sees of it is a `Problem`."""


class BrokerSessionDead(Exception):
    """The broker does not know the very token that was sent (docs/broker.md, "Dead session").

    Where that is doubtful, as with a 403 or with words among others, the token may be good for other calls.
    """

    def __init__(self, *, is_doubtful: bool = False) -> None:
        super().__init__()
        self.is_doubtful = is_doubtful


class BrokerRefused(Exception):
    """The broker understood the question and said no; `words` are its own, cleaned and cut."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class WrongPath(Exception):
    """There is no such call at this path (404 or 405)."""


class NotSent(Exception):
    """No byte of an order call left: there was no connection, or not before its time was over.

    `is_brokers` says that the broker took no connection or ended it; else it was our own limits or lateness.
    """

    def __init__(self, *, is_brokers: bool = False) -> None:
        super().__init__()
        self.is_brokers = is_brokers
