import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffpose.model.networks.windows import cut_windows, dilation_of
from diffpose.model.observations.timing import frame_steps_s


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


@pytest.mark.parametrize(
    ("fps", "dilation"),
    [(10, 1), (24, 2), (25, 3), (30, 3), (50, 5), (59.94, 6), (60, 6), (5, 1), (120, 12)],
)
def test_films_of_any_rate_get_windows_of_the_training_s_time_step(
    fps: float, dilation: int
) -> None:
    times = 17.0 + np.arange(50) / fps
    (step,) = frame_steps_s(times, None)
    assert dilation_of(step, 0.1) == dilation
    assert dilation_of(step, None) == dilation_of(np.nan, 0.1) == 1


def test_a_gap_does_not_change_the_time_step_and_unknown_times_give_none() -> None:
    times = np.array([0, 0.04, 0.08, 5.0, 5.04, 5.08, 1.0, 1.5, 2.0, np.nan, np.nan, 7.0])
    steps = frame_steps_s(times, [6, 3, 2, 1])
    np.testing.assert_allclose(steps, [0.04, 0.5, np.nan, np.nan])
    assert frame_steps_s(None, [6]) is None


@pytest.mark.parametrize("dilation", [1, 2, 3, 7])
@pytest.mark.parametrize("lengths", [[23], [5, 40, 1]])
def test_phases_cover_each_frame_once_and_never_mix(lengths: list[int], dilation: int) -> None:
    cut = cut_windows(lengths, 4, dilations=[dilation] * len(lengths))
    np.testing.assert_array_equal(cut.frames[cut.window, cut.place], np.arange(sum(lengths)))
    apart = np.diff(cut.frames, axis=1)
    assert set(np.unique(apart)) <= {0, dilation}  # 0: a phase shorter than a window
    ends = np.cumsum(lengths)
    of = np.searchsorted(ends, cut.frames, side="right")
    np.testing.assert_array_equal(of, np.repeat(cut.sequence[:, None], 4, axis=1))


def test_each_phase_is_cut_as_a_sequence_of_its_own_rate_is() -> None:
    whole, apart = cut_windows([30], 5, dilations=[3]), cut_windows([10, 10, 10], 5)
    rows = np.arange(30).reshape(10, 3).T.ravel()  # phase by phase
    np.testing.assert_array_equal(whole.frames, rows[apart.frames])
    np.testing.assert_array_equal(whole.place[rows], apart.place)


def test_a_dilation_below_1_or_of_another_number_of_sequences_is_refused() -> None:
    for dilations in ([0], [1, 1]):
        with pytest.raises(ValueError, match="dilation"):
            cut_windows([9], 4, dilations=dilations)
