"""How the report looks: style sheet, colours of the figures, the sign for unknown values."""

from __future__ import annotations

from diffpose.model.geometry.skeleton import LEFT, RIGHT

UNKNOWN = "\N{EN DASH}"

# Stand-ins that matplotlib can draw with; `report_svg` turns them into the page's CSS variables.
INK, FAINT, TRUTH, CONTEXT = "#010101", "#020202", "#030303", "#040404"
RIGHT_SIDE, LEFT_SIDE, TRUNK, PAPER = "#050505", "#060606", "#070707", "#080808"
CSS_COLOURS = {
    INK: "var(--ink-soft)",
    FAINT: "var(--grid)",
    TRUTH: "var(--truth)",
    CONTEXT: "var(--context)",
    RIGHT_SIDE: "var(--right)",
    LEFT_SIDE: "var(--left)",
    TRUNK: "var(--trunk)",
    PAPER: "var(--card)",
}
SIDES = (TRUNK, LEFT_SIDE, RIGHT_SIDE)

CSS = """
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


def side_of(joint: int) -> str:
    """Return the colour of a joint: the right limbs', the left limbs' or the trunk's."""
    if joint in RIGHT:
        return RIGHT_SIDE
    return LEFT_SIDE if joint in LEFT else TRUNK
