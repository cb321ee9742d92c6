import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffpose.model.networks.windows import cut_windows


@given(st.lists(st.integers(1, 70), min_size=1, max_size=5), st.integers(1, 30), st.integers(1, 30))
def test_every_frame_is_answered_by_a_window_of_its_own_sequence(
    lengths: list[int], size: int, hop: int
) -> None:
    cut = cut_windows(lengths, size, min(hop, size))
    n = sum(lengths)
    assert cut.frames.shape[1] == size
    np.testing.assert_array_equal(cut.frames[cut.window, cut.place], np.arange(n))
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    assert (sequence[cut.frames] == sequence[cut.frames[:, :1]]).all()


def test_a_frame_is_answered_where_it_is_most_central() -> None:
    cut = cut_windows([8], 4, 2)  # windows 0..3, 2..5, 4..7
    np.testing.assert_array_equal(cut.window, [0, 0, 0, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(cut.place, [0, 1, 2, 1, 2, 1, 2, 3])


def test_the_last_frame_of_a_short_sequence_is_repeated() -> None:
    cut = cut_windows([2, 3], 4)
    np.testing.assert_array_equal(cut.frames, [[0, 1, 1, 1], [2, 3, 4, 4]])


@pytest.mark.parametrize(("lengths", "hop"), [([], 1), ([3, 0], 1), ([3], 0), ([3], 5)])
def test_refuses_empty_sequences_and_gaps(lengths: list[int], hop: int) -> None:
    with pytest.raises(ValueError):
        cut_windows(lengths, 4, hop)
