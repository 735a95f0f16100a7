import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ovstream.plan.debt import Debt


def enter(debt: Debt, patches: int, changed: list[int], strength: float = 1.0) -> None:
    mask = np.zeros(patches, np.bool_)
    mask[changed] = True
    debt.add(mask, np.full(patches, strength, np.float32))


def test_oldest_first_then_strongest() -> None:
    debt = Debt(10)
    enter(debt, 10, [7], 1)
    enter(debt, 10, [3, 7], 50)
    enter(debt, 10, [4], 90)
    assert debt.take(1).tolist() == [7]
    enter(debt, 10, [5], 99)
    assert debt.take(2).tolist() == [3, 4]
    assert debt.take(9).tolist() == [5]
    assert len(debt) == 0


def test_given_back_patches_keep_their_age() -> None:
    debt = Debt(4)
    enter(debt, 4, [2])
    taken = debt.take(1)
    enter(debt, 4, [0, 1, 2], 100)
    debt.give_back(taken)
    assert debt.take(1).tolist() == [2]


def test_an_earlier_debt_lends_its_age_and_strength_to_no_later_one() -> None:
    debt = Debt(4)
    enter(debt, 4, [2], 100)
    assert debt.take(1).tolist() == [2]  # paid for good
    enter(debt, 4, [0], 5)
    assert debt.take(1).tolist() == [0]
    enter(debt, 4, [1], 5)  # waits for its turn
    debt.give_back(np.array([2]))  # planned out of doubt alone, and not encoded
    assert debt.take(1).tolist() == [1]
    assert debt.take(1).tolist() == [2]


def test_patches_never_taken_may_be_given_back() -> None:
    debt = Debt(4)
    debt.give_back(np.arange(4))
    assert len(debt) == 4


@given(
    st.lists(st.lists(st.integers(0, 19), max_size=20), max_size=12),
    st.integers(1, 7),
)
def test_everything_is_paid_in_time(changes: list[list[int]], budget: int) -> None:
    debt = Debt(20)
    owed: set[int] = set()
    for changed in changes:
        enter(debt, 20, changed)
        owed |= set(changed)
        owed -= set(debt.take(budget).tolist())
        assert len(debt) == len(owed)
    for _ in range(math.ceil(len(owed) / budget)):
        taken = debt.take(budget)
        assert (np.diff(taken) > 0).all()
        owed -= set(taken.tolist())
    assert not owed
    assert not len(debt)
