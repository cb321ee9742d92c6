"""The evaluation report: content, escaping, self-containedness, missing values."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.reports import plots, poses
from diffpose.platform.reports.page import views
from diffpose.platform.reports.page.style import UNKNOWN
from diffpose.platform.reports.report import Case, Curve, MethodResult, Report, render_html

VOID = {"meta", "br", "link", "img", "hr"}
NAN = float("nan")
STANDING = np.array(
    [
        [0, 0, 0],
        [-130, 10, 0],
        [-150, 450, 20],
        [-160, 880, 60],
        [130, 10, 0],
        [150, 450, -10],
        [165, 890, 40],
        [0, -240, 10],
        [0, -480, 0],
        [0, -560, -60],
        [0, -670, -20],
        [150, -460, 0],
        [270, -220, 30],
        [260, 20, -60],
        [-150, -460, 0],
        [-330, -330, -60],
        [-330, -560, -160],
    ],
    dtype=np.float64,
)


class Checker(HTMLParser):
    """Collects tags, attributes and text, and complains about unbalanced tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def method(
    name: str,
    mpjpe_mm: float,
    p_mpjpe_mm: float,
    per_action: dict[str, float] | None = None,
    note: str = "",
) -> MethodResult:
    figures = {"mpjpe_mm": mpjpe_mm, "p_mpjpe_mm": p_mpjpe_mm}
    return MethodResult(name, figures, per_action or {}, note)


def make_case(seed: int = 0, n: int = 5, **changes: object) -> Case:
    rng = np.random.default_rng(seed)
    steps = (50, 25, 0)
    noise = rng.normal(0, 1, (n, 17, 3))
    trajectory = np.stack([STANDING + (5 + 3 * k) * noise for k in steps])
    case = Case(
        title="good",
        clip="S9/Walking 1",
        action="Walking",
        mpjpe_mm=12.3,
        keypoints_px=STANDING[:, :2] / 4 + 500,
        confidence=np.linspace(0, 1, 17),
        image_size_px=(1000, 1002),
        truth_mm=STANDING,
        context_mm=STANDING + 10,
        pose_mm=STANDING + 5,
        hypotheses_mm=trajectory[-1],
        steps=steps,
        trajectory_mm=trajectory,
    )
    return replace(case, **changes)  # type: ignore[arg-type]


def make_report(**changes: object) -> Report:
    rng = np.random.default_rng(1)
    std = rng.gamma(4, 10, 300)
    report = Report(
        title="Evaluation",
        run="run-7",
        created="2026-07-02 14:30",
        protocol="Human3.6M, S9 and S11",
        command="diffpose evaluate --run runs/7 && echo <done>",
        n_poses=1234567,
        poses_per_action={"Walking": 1000, "Eating": 500},
        methods=[
            method("Context encoder", 50.0, 40.0, {"Walking": 45.0, "Eating": 55.0}),
            method("This run", 45.0, 41.0, {"Walking": 46.0, "Eating": 44.0}, "K = 50"),
        ],
        cases=[make_case(), make_case(1, title="bad")],
        curves=[
            Curve("Encoder", [1, 2, 3], [1.0, 0.5, 0.01], [60.0, NAN, 51.0]),
            Curve("Denoiser", [1, 2], [1.0, 0.5], [58.0, 52.0]),
        ],
        per_joint_mpjpe_mm=np.linspace(0, 80, 17),
        predicted_std_mm=std,
        actual_error_mm=std * np.abs(rng.normal(0, 1, 300)),
        config_yaml="seed: 7\nname: <b>",
        versions={"numpy": "2.4.0"},
    )
    return replace(report, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page() -> str:
    return render_html(make_report())


def test_page_is_balanced_and_has_every_section(page: str) -> None:
    checker = parse(page)
    text = "".join(checker.text)
    for heading in (
        "Results",
        "Per action",
        "Cases",
        "The reverse process",
        "Training",
        "Joints and uncertainty",
        "How this was made",
    ):
        assert heading in text
    for value in ("run-7", "2026-07-02 14:30", "Human3.6M, S9 and S11", "numpy 2.4.0", "k = 25"):
        assert value in text
    assert "1\u202f234\u202f567" in text
    assert all(name in text for name in ("Context encoder", "This run", "Encoder", "Denoiser"))
    assert all(name in text for name in JOINT_NAMES)
    n_figures = 2 * 4 + 2 * 3 + 2 * 2 + 2
    assert checker.tags.count("svg") == checker.tags.count("figure") == n_figures


def test_only_the_required_parts() -> None:
    page = render_html(Report("T", "r", "today", "p", command="", n_poses=0))
    checker = parse(page)
    assert checker.tags.count("svg") == 0
    assert checker.tags.count("section") == 0
    assert UNKNOWN in "".join(checker.text)


@pytest.mark.parametrize(
    "missing",
    [
        {"methods": []},
        {"methods": [method("Only", 50.0, 40.0)]},
        {"cases": []},
        {"cases": [make_case(steps=(), trajectory_mm=np.zeros((0, 0, 17, 3)))]},
        {"curves": []},
        {"per_joint_mpjpe_mm": None},
        {"predicted_std_mm": None, "actual_error_mm": None},
        {"versions": {}, "config_yaml": ""},
    ],
)
def test_parts_may_be_missing(missing: dict[str, object]) -> None:
    parse(render_html(make_report(**missing)))


def test_every_string_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"&$\\frac$"
    page = render_html(
        make_report(
            title=evil,
            run=evil,
            created=evil,
            protocol=evil,
            command=evil,
            config_yaml=evil,
            versions={evil: evil},
            poses_per_action={evil: 3},
            methods=[
                method(evil, 5.0, 4.0, {evil: 1.0}, evil),
                method("b", 5.0, 4.0, {evil: 1.0}),
            ],
            cases=[make_case(title=evil, clip=evil, action=evil)],
            curves=[Curve(evil, [1], [1.0], [1.0])],
        )
    )
    checker = parse(page)
    assert "script" not in checker.tags
    assert "<script" not in page
    assert "".join(checker.text).count(evil) >= 16


def test_nothing_is_loaded_from_outside(page: str) -> None:
    assert not re.search(r"(https?:)?//[a-z]", page)
    assert "@import" not in page
    for _, name, value in parse(page).attributes:
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:"))


def test_svgs_are_well_formed_and_their_references_resolve(page: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    seen: set[str] = set()
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox")
        assert root.findall(".//path")
        ids = re.findall(r' id="([^"]+)"', svg)
        references = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
        assert references == set(ids)
        assert not seen & set(ids)
        seen |= set(ids)
        assert not re.search(r"#0\d0\d0\d", svg), "a stand-in colour was not replaced"
        colours = set(re.findall(r"var\(--[a-z-]+\)", svg))
        assert all(f"{colour[4:-1]}:" in page for colour in colours)


def test_same_report_gives_the_same_bytes(page: str) -> None:
    before = dict(matplotlib.rcParams)
    assert render_html(make_report()) == page
    assert dict(matplotlib.rcParams) == before


def test_best_value_is_bold_and_ties_share(page: str) -> None:
    results = page[page.index("Results") : page.index("Per action")]
    assert re.findall(r"<strong>(.*?)</strong>", results) == ["40.0", "45.0", "0.900"]
    tied = make_report(methods=[method("a", 50.01, NAN), method("b", 50.02, NAN)])
    assert render_html(tied).count("<strong>50.0</strong>") == 2


def test_mean_over_actions_is_unweighted(page: str) -> None:
    row = re.search(r"Mean over actions</th>(.*?)</tr>", page)
    assert row is not None
    cells = re.findall(r"<td>(?:<strong>)?([^<]*)", row[1])
    assert cells == ["1\u202f500", "50.0", "45.0"]


def test_unknown_values_print_as_a_dash() -> None:
    joints = np.full(17, NAN)
    joints[3] = 20.0
    unknown = method("c", NAN, float("inf"), {"Walking": NAN})
    page = render_html(
        make_report(
            methods=[unknown, unknown],
            per_joint_mpjpe_mm=joints,
            predicted_std_mm=np.full(4, NAN),
            actual_error_mm=np.full(4, NAN),
            cases=[
                make_case(
                    mpjpe_mm=NAN,
                    pose_mm=np.full((17, 3), NAN),
                    context_mm=np.full((17, 3), NAN),
                    keypoints_px=np.full((17, 2), NAN),
                    confidence=np.full(17, NAN),
                    hypotheses_mm=np.zeros((0, 17, 3)),
                    trajectory_mm=np.full((3, 2, 17, 3), NAN),
                ),
                make_case(
                    truth_mm=np.full((17, 3), NAN),
                    context_mm=np.full((17, 3), NAN),
                    pose_mm=np.full((17, 3), NAN),
                    trajectory_mm=np.zeros((3, 0, 17, 3)),
                ),
            ],
            curves=[Curve("none", [], [], []), Curve("unknown", [1], [NAN], [NAN])],
        )
    )
    text = "".join(parse(page).text)
    assert not re.search(r"\b(nan|inf)\b", text)
    assert "no values" in text
    assert UNKNOWN in text


def test_a_page_of_six_cases_with_many_hypotheses_is_small() -> None:
    page = render_html(make_report(cases=[make_case(i, n=100) for i in range(6)]))
    assert len(page.encode()) < 3_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"keypoints_px": np.zeros((16, 2))},
        {"hypotheses_mm": np.zeros((17, 3))},
        {"steps": (50, 0)},
    ],
)
def test_wrong_shapes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must have shape"):
        make_case(**changes)


def test_calibration_arrays_belong_together() -> None:
    with pytest.raises(ValueError, match="belong together"):
        make_report(predicted_std_mm=None)
    with pytest.raises(ValueError, match="belong together"):
        make_report(predicted_std_mm=np.zeros(3))
    with pytest.raises(ValueError, match="per_joint_mpjpe_mm"):
        make_report(per_joint_mpjpe_mm=np.zeros(3))


def test_projection_keeps_people_upright() -> None:
    camera = views.ViewDirection(azimuth=0.0, elevation=0.0)
    seen = views.project(STANDING, camera)
    np.testing.assert_allclose(seen, np.stack([STANDING[:, 0], -STANDING[:, 1]], axis=-1))
    side = views.project(STANDING, views.ViewDirection(azimuth=90.0, elevation=0.0))
    np.testing.assert_allclose(side[:, 0], STANDING[:, 2], atol=1e-9)
    raised = views.project(np.array([[0.0, 0.0, 100.0]]), views.ViewDirection(0.0, 30.0))
    assert raised[0, 1] == pytest.approx(50.0)  # seen from above, what is further away is higher


def test_one_scale_for_all_views_holds_every_point() -> None:
    frames = views.frame_around([STANDING], (views.FRONT, views.SIDE))
    assert len({frame.half_height for frame in frames.values()}) == 1
    for view, frame in frames.items():
        offset = np.abs(views.project(STANDING, view) - np.array(frame.centre))
        assert (offset[:, 1] < frame.half_height).all()
        assert (offset[:, 0] < frame.half_height / views.PANEL_ASPECT).all()


def test_calibration_bins_of_equal_count() -> None:
    std = np.arange(1.0, 101.0)
    spread, error, ranges = plots.calibration_bins(std, 2 * np.ones(100))
    np.testing.assert_allclose(spread, np.arange(5.5, 100, 10))
    np.testing.assert_allclose(error, 2.0)
    np.testing.assert_allclose(ranges, 2.0)
    few, _, _ = plots.calibration_bins(np.array([1.0, NAN, 3.0]), np.array([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(few, [1.0, 3.0])


def test_drawn_hypotheses_are_limited() -> None:
    many = np.zeros((500, 17, 3))
    assert len(poses.drawn(many)) == poses.MAX_HYPOTHESES_DRAWN
    assert len(poses.drawn(many[:7])) == 7
