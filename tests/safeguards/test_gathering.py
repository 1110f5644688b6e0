"""Questions put together: everybody gets his own answer, nobody one that was found before he asked."""

import asyncio
from collections.abc import Sequence

from app import measures
from app.gathering import Gathering
from app.observability import begin_errand, current_errand
from app.problems import TemporarilyUnavailable

NEVER = 60.0  # seconds


class Desk:
    """Answers questions by their doubles, round by round, when a test says so."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.may_go = asyncio.Event()
        self.error: Exception | None = None

    async def ask(self, questions: list[int]) -> Sequence[int]:
        self.rounds.append(list(questions))
        await self.may_go.wait()
        if self.error:
            raise self.error
        return [2 * each for each in questions]


def failures() -> float:
    """Return how often the database could not be used, as the metrics tell it."""
    counted: float = measures.ALL.standing()["partner_database_failures_total"][()]
    return counted


async def quiet() -> None:
    """Let everything happen that can happen without anybody else."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_whoever_comes_while_a_round_is_under_way_is_in_the_next_one_and_all_get_their_own() -> None:
    desk = Desk()
    gathering = Gathering(desk.ask, most=100, patience=NEVER)
    first = asyncio.create_task(gathering.put(1))
    await quiet()
    others = [asyncio.create_task(gathering.put(each)) for each in (2, 3, 2)]
    await quiet()
    assert desk.rounds == [[1]]
    desk.may_go.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 4]
    assert desk.rounds == [[1], [2, 3, 2]]


async def test_a_round_holds_no_more_than_it_may() -> None:
    desk = Desk()
    gathering = Gathering(desk.ask, most=2, patience=NEVER)
    asked = [asyncio.create_task(gathering.put(each)) for each in range(5)]
    await quiet()
    desk.may_go.set()
    assert await asyncio.gather(*asked) == [0, 2, 4, 6, 8]
    assert [len(each) for each in desk.rounds] == [1, 2, 2]


async def test_who_leaves_takes_nobody_elses_answer_with_him() -> None:
    desk = Desk()
    gathering = Gathering(desk.ask, most=100, patience=NEVER)
    leaving, staying = asyncio.create_task(gathering.put(1)), asyncio.create_task(gathering.put(2))
    await quiet()
    leaving.cancel()
    await quiet()
    desk.may_go.set()
    assert await staying == 4
    assert leaving.cancelled()


async def test_who_has_left_is_not_asked_for() -> None:
    desk = Desk()
    gathering = Gathering(desk.ask, most=100, patience=NEVER)
    asked = [asyncio.create_task(gathering.put(each)) for each in (1, 2, 3)]
    await quiet()
    asked[1].cancel()
    await quiet()
    desk.may_go.set()
    assert [await asked[0], await asked[2]] == [2, 6]
    assert desk.rounds == [[1], [3]]


async def test_a_failure_is_told_to_all_of_its_round_and_to_nobody_else() -> None:
    rounds: list[Sequence[int]] = []
    may_go = asyncio.Event()

    async def ask(questions: list[int]) -> Sequence[int]:
        rounds.append(questions)
        await may_go.wait()
        return [1 // (each - 2) for each in questions]  # there is no answer to 2

    gathering = Gathering(ask, most=2, patience=NEVER)
    asked = [asyncio.create_task(gathering.put(each)) for each in (3, 2, 4, 3)]
    await quiet()
    may_go.set()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in told] == [int, ZeroDivisionError, ZeroDivisionError, int]
    assert rounds == [[3], [2, 4], [3]]


async def test_nobody_waits_longer_than_his_patience_however_long_the_rounds_before_him() -> None:
    desk = Desk()
    before = failures()
    gathering = Gathering(desk.ask, most=1, patience=0.2)
    first, *waiting = (asyncio.create_task(gathering.put(each)) for each in (1, 2, 3))
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [TemporarilyUnavailable] * 2
    assert failures() - before == 2, "as of a database that is away"
    assert not first.done()  # whoever asks keeps the time of his own question
    desk.may_go.set()
    assert await first == 2
    assert await gathering.put(4) == 8
    assert desk.rounds == [[1], [4]]  # who was told so is not asked for


async def test_too_few_answers_are_told_to_all_and_the_next_ones_are_asked_for() -> None:
    may_go = asyncio.Event()

    async def ask(questions: list[int]) -> Sequence[int]:
        await may_go.wait()
        return questions[:1]

    gathering = Gathering(ask, most=2, patience=NEVER)
    asked = [asyncio.create_task(gathering.put(each)) for each in (1, 2, 3, 4)]
    await quiet()
    may_go.set()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in told] == [int, ValueError, ValueError, int]


async def test_a_round_for_many_is_nobodys_errand() -> None:
    errands: list[str | None] = []
    may_go = asyncio.Event()

    async def ask(questions: list[int]) -> Sequence[int]:
        errand = current_errand()
        errands.append(errand.id if errand else None)
        await may_go.wait()
        return questions

    async def put(number: int) -> int:
        begin_errand(f"request-{number}")
        return await gathering.put(number)

    gathering = Gathering(ask, most=9, patience=NEVER)
    asked = [asyncio.create_task(put(each)) for each in (1, 2, 3)]
    await quiet()
    may_go.set()
    assert await asyncio.gather(*asked) == [1, 2, 3]
    assert errands == ["request-1", None]
