"""The evaluation report: what it contains and the HTML page that shows it.

The page is one file without references to anything outside it: the style sheet is inline and the
figures (`diffpose.platform.report_plots`) are inline SVG. It is deterministic: the same report
gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

from diffpose.model.skeleton import N_JOINTS
from diffpose.platform import report_plots as plots

Array = NDArray[np.float64]
UNKNOWN = plots.UNKNOWN


@dataclass(frozen=True)
class MethodResult:
    """Scores of one method on the evaluated poses; NaN stands for a score that is not known."""

    name: str
    mpjpe_mm: float
    p_mpjpe_mm: float
    per_action_mpjpe_mm: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """One evaluated pose in detail. Poses are root-relative, in mm: x right, y down, z forward.

    Attributes:
        title: Why it is shown, such as "good", "median" or "bad".
        clip: Where it comes from.
        action: What the person does.
        mpjpe_mm: Error of `pose_mm`.
        keypoints_px: The 2D detection (17, 2), y down.
        confidence: Its confidence per joint (17,), 0 to 1.
        image_size_px: Width and height of the image.
        truth_mm: The true pose (17, 3).
        context_mm: The context encoder's pose (17, 3).
        pose_mm: The run's pose (17, 3).
        hypotheses_mm: The run's hypotheses (N, 17, 3).
        steps: Diffusion steps of `trajectory_mm`, from K down to 0; may be empty.
        trajectory_mm: The hypotheses at these steps (len(steps), N, 17, 3).
    """

    title: str
    clip: str
    action: str
    mpjpe_mm: float
    keypoints_px: Array
    confidence: Array
    image_size_px: tuple[int, int]
    truth_mm: Array
    context_mm: Array
    pose_mm: Array
    hypotheses_mm: Array
    steps: tuple[int, ...] = ()
    trajectory_mm: Array = field(default_factory=lambda: np.zeros((0, 0, N_JOINTS, 3)))

    def __post_init__(self) -> None:
        """Check the shapes, so that a mistake shows here and not as a strange figure."""
        wanted: dict[str, tuple[int | None, ...]] = {
            "keypoints_px": (N_JOINTS, 2),
            "confidence": (N_JOINTS,),
            "truth_mm": (N_JOINTS, 3),
            "context_mm": (N_JOINTS, 3),
            "pose_mm": (N_JOINTS, 3),
            "hypotheses_mm": (None, N_JOINTS, 3),
            "trajectory_mm": (len(self.steps), None, N_JOINTS, 3),
        }
        for name, shape in wanted.items():
            _check_shape(name, getattr(self, name), shape)


@dataclass(frozen=True)
class Curve:
    """Course of one training; an epoch without validation has NaN there."""

    name: str
    epochs: Sequence[int]
    loss: Sequence[float]
    validation_mpjpe_mm: Sequence[float]


@dataclass(frozen=True, eq=False)
class Report:
    """Everything the page shows.

    Attributes:
        title: Heading of the page.
        run: Name of the run.
        created: Date as text.
        protocol: One line: data set, split, detections, alignment.
        command: The command that made the report.
        n_poses: Number of evaluated poses.
        poses_per_action: Number of poses per action, in the order to show.
        methods: Scores; the first is the context encoder, the second this run.
        cases: Poses to show in detail.
        curves: Trainings to show.
        per_joint_mpjpe_mm: The run's error per joint (17,), if known.
        predicted_std_mm: Predicted standard deviation per joint of some poses (n,), if known: the
            root of the summed variances in x, y and z.
        actual_error_mm: The Euclidean errors of the same joints (n,), if known.
        config_yaml: The resolved configuration.
        versions: Versions of the packages used.
    """

    title: str
    run: str
    created: str
    protocol: str
    command: str
    n_poses: int
    poses_per_action: Mapping[str, int] = field(default_factory=dict)
    methods: Sequence[MethodResult] = ()
    cases: Sequence[Case] = ()
    curves: Sequence[Curve] = ()
    per_joint_mpjpe_mm: Array | None = None
    predicted_std_mm: Array | None = None
    actual_error_mm: Array | None = None
    config_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shapes of the arrays."""
        if self.per_joint_mpjpe_mm is not None:
            _check_shape("per_joint_mpjpe_mm", self.per_joint_mpjpe_mm, (N_JOINTS,))
        given = [a for a in (self.predicted_std_mm, self.actual_error_mm) if a is not None]
        if len(given) == 1 or (given and np.shape(given[0]) != np.shape(given[1])):
            raise ValueError(
                "predicted_std_mm and actual_error_mm belong together and have one shape, "
                f"received {[np.shape(a) for a in given]}"
            )


def _check_shape(name: str, value: Array, shape: tuple[int | None, ...]) -> None:
    actual = np.shape(value)
    fits = len(actual) == len(shape) and all(
        want in (None, got) for want, got in zip(shape, actual, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {shape} (None: any), received {actual}")


def render_html(report: Report) -> str:
    """Return the report as one HTML page without outside references."""
    sections = [
        _header(report),
        _tiles(report),
        _results(report),
        _actions(report),
        _cases(report.cases),
        _reverse(report.cases),
        _curves(report.curves),
        _joints(report),
        _details(report),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{escape(report.title)} · {escape(report.run)}</title>\n"
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


# --- Numbers -------------------------------------------------------------------------------------


def _number(value: float | None, digits: int = 1) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.{digits}f}"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}".replace(",", "\u202f")


def _millimetres(value: float | None) -> str:
    text = _number(value)
    return text if text == UNKNOWN else f"{text} mm"


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else math.nan


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _mpjpe(poses: Array, truth: Array) -> float:
    """Return the mean joint error of poses (..., 17, 3), or NaN where there is none."""
    if not poses.size:
        return math.nan
    return float(np.linalg.norm(poses - truth, axis=-1).mean())


def _bold_best(values: Sequence[float], digits: int) -> list[str]:
    """Return the values as text, the lowest one in bold if there are others to compare."""
    texts = [_number(value, digits) for value in values]
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return texts
    best = _number(min(known), digits)
    return [f"<strong>{text}</strong>" if text == best else text for text in texts]


# --- Sections ------------------------------------------------------------------------------------


def _section(heading: str, content: str, hint: str = "") -> str:
    lead = f'<p class="hint">{hint}</p>\n' if hint else ""
    return f"<section>\n<h2>{heading}</h2>\n{lead}{content}\n</section>"


def _header(report: Report) -> str:
    return (
        f"<header>\n<h1>{escape(report.title)}</h1>\n"
        f'<p class="run"><span class="mono">{escape(report.run)}</span> · '
        f"{escape(report.created)}</p>\n<p>{escape(report.protocol)}</p>\n</header>"
    )


def _tiles(report: Report) -> str:
    context = report.methods[0] if report.methods else None
    run = report.methods[1] if len(report.methods) > 1 else None
    ratio = _ratio(run.mpjpe_mm, context.mpjpe_mm) if run and context else math.nan
    tiles = [
        ("MPJPE", _number(run.mpjpe_mm if run else None), "mm"),
        ("P-MPJPE", _number(run.p_mpjpe_mm if run else None), "mm"),
        ("Context encoder's MPJPE", _number(context.mpjpe_mm if context else None), "mm"),
        ("Ratio to context encoder", _number(ratio, 3), ""),
        ("Poses", _count(report.n_poses), ""),
    ]
    items = "\n".join(
        f"<div><dt>{name}</dt><dd>{value}"
        + (f" <small>{unit}</small>" if unit and value != UNKNOWN else "")
        + "</dd></div>"
        for name, value, unit in tiles
    )
    return f'<dl class="tiles">\n{items}\n</dl>'


def _table(css: str, head: Sequence[str], rows: Sequence[str], foot: str = "") -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    tail = f"<tfoot>{foot}</tfoot>" if foot else ""
    lines = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="{css}">\n<thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody>{tail}\n</table></div>"
    )


def _row(name: str, cells: Iterable[str], last: str = "", css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr{kind}><th scope="row">{name}</th>{body}{last}</tr>'


def _results(report: Report) -> str:
    if not report.methods:
        return ""
    methods = report.methods
    reference = methods[0].mpjpe_mm
    columns = [
        _bold_best([m.mpjpe_mm for m in methods], 1),
        _bold_best([m.p_mpjpe_mm for m in methods], 1),
        _bold_best([_ratio(m.mpjpe_mm, reference) for m in methods], 3),
    ]
    rows = [
        _row(
            escape(method.name),
            [column[i] for column in columns],
            f'<td class="note">{escape(method.note)}</td>',
            "this" if i == 1 else "",
        )
        for i, method in enumerate(methods)
    ]
    head = ("Method", "MPJPE mm", "P-MPJPE mm", "Ratio", "Note")
    hint = "Lower is better; the ratio is the MPJPE over the context encoder's. Best in bold."
    return _section("Results", _table("results", head, rows), hint)


def _actions(report: Report) -> str:
    methods = report.methods
    listed = [*report.poses_per_action, *(a for m in methods for a in m.per_action_mpjpe_mm)]
    actions = list(dict.fromkeys(listed))
    if not actions:
        return ""
    rows = []
    for action in actions:
        scores = [m.per_action_mpjpe_mm.get(action, math.nan) for m in methods]
        count = _count(report.poses_per_action.get(action))
        rows.append(_row(escape(action), [count, *_bold_best(scores, 1)]))
    means = [_mean(m.per_action_mpjpe_mm.values()) for m in methods]
    counts = report.poses_per_action.values()
    total = _count(sum(counts)) if counts else UNKNOWN
    foot = _row("Mean over actions", [total, *_bold_best(means, 1)])
    head = ["Action", "Poses", *(escape(m.name) for m in methods)]
    hint = "MPJPE in mm. The mean gives every action the same weight."
    return _section("Per action", _table("actions", head, rows, foot), hint)


def _figure(svg: str, caption: str, css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    return f"<figure{kind}>{svg}<figcaption>{caption}</figcaption></figure>"


def _legend(*more: tuple[str, str]) -> str:
    """Return the colour key; further entries are (CSS class, text)."""
    entries = (("right", "right limbs"), ("left", "left limbs"), ("trunk", "trunk"), *more)
    items = "".join(f'<li><i class="{css}"></i>{text}</li>' for css, text in entries)
    return f'<ul class="legend">{items}</ul>'


def _case_title(case: Case) -> str:
    return (
        f"<h3>{escape(case.title)} <span>{_millimetres(case.mpjpe_mm)} · {escape(case.action)} · "
        f'<span class="mono">{escape(case.clip)}</span></span></h3>'
    )


def _case(case: Case, key: str) -> str:
    front, side = plots.truth_and_prediction(case, f"{key}-pose")
    context = _millimetres(_mpjpe(case.context_mm, case.truth_mm))
    n_hypotheses = len(case.hypotheses_mm)
    width, height = case.image_size_px
    figures = [
        _figure(
            plots.detection(case, f"{key}-2d"),
            f"2D detection in pixels<br>image {int(width)} &times; {int(height)}",
        ),
        _figure(front, f"Truth and pose, front<br>context encoder: {context}"),
        _figure(side, "Truth and pose, side<br>(camera at the left)"),
        _figure(
            plots.hypotheses(case, f"{key}-all"), f"Hypotheses ({n_hypotheses}) and their mean"
        ),
    ]
    return f'<article>\n{_case_title(case)}\n<div class="panels">{"".join(figures)}</div></article>'


def _cases(cases: Sequence[Case]) -> str:
    if not cases:
        return ""
    legend = _legend(("truth", "truth"), ("context", "context encoder"))
    content = "\n".join(_case(case, f"case{i}") for i, case in enumerate(cases))
    hint = (
        f"Chosen by the run's MPJPE. The inset shows the person in the whole image; hollow joints "
        f"have a confidence below {plots.LOW_CONFIDENCE}. Floor grid {plots.GRID_MM:.0f} mm. "
        f"At most {plots.MAX_HYPOTHESES_DRAWN} hypotheses are drawn; the mean is over all."
    )
    return _section("Cases", f"{legend}\n{content}", hint)


def _strip(case: Case, key: str) -> str:
    figures = []
    for i, svg in enumerate(plots.reverse_process(case, key)):
        sample = case.trajectory_mm[i]
        mean = _mpjpe(sample.mean(axis=0), case.truth_mm) if len(sample) else math.nan
        caption = (
            f"<b>k = {int(case.steps[i])}</b><br>mean {_number(mean)}<br>"
            f"each {_number(_mpjpe(sample, case.truth_mm))}"
        )
        figures.append(_figure(svg, caption))
    return f'<article>\n{_case_title(case)}\n<div class="strip">{"".join(figures)}</div></article>'


def _reverse(cases: Sequence[Case]) -> str:
    shown = [case for case in cases if case.steps]
    if not shown:
        return ""
    content = "\n".join(_strip(case, f"strip{i}") for i, case in enumerate(shown))
    hint = (
        "From the initial distribution H<sub>K</sub> to the pose at k = 0: hypotheses thin, their "
        "mean thick, the truth in grey. “mean” is the MPJPE of the mean pose in mm, “each” "
        "the average MPJPE of the single hypotheses. Panels of a case share one scale."
    )
    return _section("The reverse process", content, hint)


def _curves(curves: Sequence[Curve]) -> str:
    if not curves:
        return ""
    return _section(
        "Training", "\n".join(_curve(curve, f"curve{i}") for i, curve in enumerate(curves))
    )


def _curve(curve: Curve, key: str) -> str:
    known = [
        (error, epoch)
        for epoch, error in zip(curve.epochs, curve.validation_mpjpe_mm, strict=False)
        if math.isfinite(error)
    ]
    best, caption = min(known, default=None), "no validation values"
    if best:
        caption = f"Validation MPJPE, lowest {_millimetres(best[0])} in epoch {int(best[1])}"
    figures = [
        _figure(plots.loss_curve(curve, f"{key}-loss"), "Training loss"),
        _figure(plots.validation_curve(curve, f"{key}-error"), caption),
    ]
    return (
        f"<article>\n<h3>{escape(curve.name)}</h3>\n"
        f'<div class="charts">{"".join(figures)}</div></article>'
    )


def _joints(report: Report) -> str:
    figures = []
    if report.per_joint_mpjpe_mm is not None:
        bars = plots.per_joint_bars(report.per_joint_mpjpe_mm, "joints")
        figures.append(_figure(bars, "Error per joint, this run"))
    if report.predicted_std_mm is not None and report.actual_error_mm is not None:
        dots = plots.calibration(report.predicted_std_mm, report.actual_error_mm, "calibration")
        caption = (
            "Calibration: root mean square error in bins of equal count, bars from 16 to 84 % of "
            "the errors. On the dashed line the predicted spread equals the error; above it the "
            "run is too sure."
        )
        figures.append(_figure(dots, caption))
    if not figures:
        return ""
    content = f'<div class="charts">{"".join(figures)}</div>'
    return _section("Joints and uncertainty", f"{_legend()}\n{content}")


def _folded(summary: str, text: str) -> str:
    if not text:
        return ""
    return f"<details><summary>{summary}</summary><pre>{escape(text)}</pre></details>"


def _details(report: Report) -> str:
    versions = "\n".join(f"{name} {version}" for name, version in report.versions.items())
    parts = [
        _folded("Command", report.command),
        _folded("Resolved configuration", report.config_yaml),
        _folded("Versions", versions),
    ]
    content = "\n".join(part for part in parts if part)
    return _section("How this was made", content) if content else ""


_CSS = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1b1f24;--ink-soft:#59626e;
--line:#dfe3e8;--grid:#d6dbe1;--truth:#aab2bc;--context:#6b7480;--right:#d55e00;--left:#0072b2;
--trunk:#009e73;--accent:#0072b2;--mark:#eaf3fa}
@media (prefers-color-scheme:dark){:root{--page:#121417;--card:#1b1e23;--ink:#e8eaed;
--ink-soft:#a3abb5;--line:#30353c;--grid:#363c44;--truth:#767f8a;--context:#b4bcc6;
--right:#f0823a;--left:#56b4e9;--trunk:#2fc79c;--accent:#56b4e9;--mark:#1d2b37}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px}
h2{font-size:1.2rem;margin:0 0 4px}
h3{font-size:1rem;margin:0 0 8px;overflow-wrap:anywhere}
h3>span{font-weight:400;color:var(--ink-soft);margin-left:6px}
header p{margin:0;color:var(--ink-soft);overflow-wrap:anywhere}
header .run{color:var(--ink)}
.mono,pre{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;
font-size:.9em}
.hint{margin:0 0 12px;color:var(--ink-soft);font-size:.87rem;max-width:80ch}
section{margin-top:22px;padding:18px 20px;background:var(--card);border:1px solid var(--line);
border-radius:10px}
article+article{margin-top:18px;padding-top:16px;border-top:1px solid var(--line)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
margin:20px 0 0}
.tiles>div{display:flex;flex-direction:column;justify-content:space-between;padding:12px 16px;
background:var(--card);border:1px solid var(--line);border-radius:10px}
.tiles>div:first-child{border-color:var(--accent);background:var(--mark)}
dt{font-size:.82rem;color:var(--ink-soft)}
dd{margin:0;font-size:1.7rem;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
dd small{font-size:.9rem;font-weight:400;color:var(--ink-soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 12px;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td.note,.results thead th:last-child{text-align:left}
thead th{font-size:.82rem;color:var(--ink-soft);font-weight:600;vertical-align:bottom}
tbody th{font-weight:400}
tbody tr:last-child>*{border-bottom:0}
tr.this>*{background:var(--mark)}
td.note{color:var(--ink-soft);font-size:.87rem;min-width:12em}
tfoot>tr>*{border-top:2px solid var(--line);border-bottom:0;font-weight:400}
figure{margin:0;min-width:0}
figcaption{font-size:.82rem;line-height:1.35;color:var(--ink-soft);text-align:center;
margin-top:4px}
figcaption b{color:var(--ink)}
sub{line-height:0}
svg{display:block;width:100%;height:auto}
.panels{display:grid;grid-template-columns:1.19fr 1fr 1fr 1fr;gap:10px 16px}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:12px 10px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));
gap:14px 28px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 14px;padding:0;list-style:none;
font-size:.87rem}
.legend i{display:inline-block;width:22px;height:0;margin-right:6px;vertical-align:middle;
border-top:4px solid}
.legend .right{color:var(--right)}.legend .left{color:var(--left)}
.legend .trunk{color:var(--trunk)}.legend .truth{color:var(--truth)}
.legend .context{color:var(--context);border-top:2px dashed}
details+details{margin-top:6px}
summary{cursor:pointer;padding:4px 0}
pre{margin:4px 0 8px;padding:12px;overflow:auto;max-height:30em;background:var(--page);
border:1px solid var(--line);border-radius:6px}
@media (max-width:760px){main{padding:18px 12px 40px}section{padding:14px 12px}
.panels{grid-template-columns:1fr 1fr}
.strip{grid-template-columns:repeat(auto-fill,minmax(100px,1fr))}
th,td{padding:6px 8px}dd{font-size:1.4rem}
.tiles{grid-template-columns:repeat(auto-fit,minmax(130px,1fr))}}
@media print{section,article{break-inside:avoid}body{background:none}}
"""
