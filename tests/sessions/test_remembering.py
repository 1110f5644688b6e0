"""What a process remembers of sessions: for a second from the look, and nothing that has changed since."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.sessions.remembering import Remembered
from app.sessions.store import Freshness, Session

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
ASHA = Session(
    id=UUID(int=1), user_id="AB1234", user_name="Asha", exchanges=(), products=(), created_at=NOW, last_seen_at=NOW,
    expires_at=NOW + timedelta(hours=1), ended_reason=None, is_user_blocked=False, broker=None,
    freshness=Freshness(0, None, has_unknown=False, last_event=0),
)  # fmt: skip
RAVI = replace(ASHA, id=UUID(int=2), user_id="FO5678")


class Watch:
    """A clock in a test's hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def known(watch: Watch) -> Remembered:
    """Return a memory that holds one session of each."""
    memory = Remembered(now=watch)
    memory.keep(b"a", ASHA, memory.begin_look())
    memory.keep(b"r", RAVI, memory.begin_look())
    return memory


def test_a_session_is_believed_for_a_second_from_the_beginning_of_its_look() -> None:
    watch = Watch()
    memory = Remembered(now=watch)
    look = memory.begin_look()
    watch.time += 0.6
    memory.keep(b"a", ASHA, look)
    watch.time += 0.39
    assert memory.recall(b"a") is ASHA
    watch.time += 0.02
    assert memory.recall(b"a") is None


def test_a_change_forgets_one_user_or_everybody() -> None:
    memory = known(Watch())
    memory.forget("AB1234")
    assert (memory.recall(b"a"), memory.recall(b"r")) == (None, RAVI)
    memory.forget("NOBODY")
    assert memory.recall(b"r") is RAVI
    memory.forget(None)
    assert memory.recall(b"r") is None


def test_a_look_that_began_before_a_change_is_not_kept() -> None:
    memory = Remembered(now=Watch())
    look = memory.begin_look()
    memory.forget("AB1234")
    memory.keep(b"a", ASHA, look)
    assert memory.recall(b"a") is None


def test_what_is_old_makes_room() -> None:
    watch = Watch()
    memory = known(watch)
    watch.time += 2
    memory.keep(b"b", ASHA, memory.begin_look())
    assert list(memory._sessions) == [b"b"]  # noqa: SLF001  # nothing else shows that memory is bounded
    assert dict(memory._of_user) == {"AB1234": {b"b"}}  # noqa: SLF001  # the same
