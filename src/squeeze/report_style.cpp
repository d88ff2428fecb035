// Two palettes as variables; everything else refers to them. Contrast of text is at least 4.5 in both.
#include "squeeze/report_style.h"

namespace thimble {

std::string_view report_style() noexcept {
  return R"css(
:root {
  --paper: #ffffff; --panel: #f5f6f8; --ink: #1b1f24; --soft: #5a6472; --rule: #d9dee5;
  --accent: #0b6bcb; --good: #1a7f4b; --bad: #b3261e; --warn: #8a5a00; --dot: #6b7684; --mark: #ffe08a;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1d2127; --ink: #e6e9ed; --soft: #a3adba; --rule: #353c46;
    --accent: #6db3ff; --good: #5fd095; --bad: #ff8a80; --warn: #f0b849; --dot: #8d98a7; --mark: #5c4a12;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.1rem; font-weight: 600; color: var(--soft); margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
p { margin: .5rem 0; max-width: 48rem; }
.soft { color: var(--soft); font-size: .9rem; }
.verdict { background: var(--panel); border-left: 5px solid var(--good); border-radius: 6px; padding: 1rem 1.25rem; }
.verdict.cannot_tell { border-color: var(--warn); }
.verdict.nothing_fits { border-color: var(--bad); }
.verdict strong { display: block; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0 0; padding: 0; }
.tiles div { background: var(--panel); border-radius: 6px; padding: .6rem .8rem; }
.tiles dt { color: var(--soft); font-size: .8rem; }
.tiles dd { margin: 0; font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: .78rem; font-weight: 400; color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { font-weight: 600; color: var(--soft); vertical-align: bottom; background: var(--panel); }
th:first-child, td.text, th.text, td.left { text-align: left; }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper); }
td.text { white-space: normal; min-width: 12rem; }
tr.picked th, tr.picked td { background: color-mix(in srgb, var(--accent) 14%, var(--paper)); }
.keeps { color: var(--good); } .loses { color: var(--bad); } .unclear { color: var(--warn); }
.range { color: var(--soft); font-size: .8rem; }
td .range { display: block; }
figure { margin: 1rem 0 1.5rem; }
figcaption { color: var(--soft); font-size: .88rem; max-width: 48rem; }
svg.plot { display: block; width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg .grid { stroke: var(--rule); } svg .axis { stroke: var(--soft); }
svg .line { stroke: var(--warn); stroke-dasharray: 5 4; } svg .leader { stroke: var(--rule); }
svg .tick { fill: var(--soft); font-size: 11px; } svg .axis-label { fill: var(--soft); } svg .label { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg .dot { fill: var(--dot); stroke: var(--paper); stroke-width: 1.5; } svg .whisker { stroke: var(--dot); stroke-width: 1.5; }
svg .keeps .dot { fill: var(--good); } svg .keeps .whisker { stroke: var(--good); }
svg .loses .dot { fill: var(--bad); } svg .loses .whisker { stroke: var(--bad); }
svg .unclear .dot { fill: var(--warn); } svg .unclear .whisker { stroke: var(--warn); }
svg .picked .dot { fill: var(--accent); r: 7px; } svg .picked .whisker { stroke: var(--accent); }
svg .label.picked { fill: var(--accent); font-weight: 700; }
svg .label.line-label { fill: var(--warn); }
.narrow { display: none; }
details { border: 1px solid var(--rule); border-radius: 6px; padding: .5rem .9rem; margin: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
.example { border-top: 1px solid var(--rule); margin-top: .75rem; padding-top: .75rem; }
.answers { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .75rem; }
.answers > div { background: var(--panel); border-radius: 6px; padding: .5rem .7rem; min-width: 0; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
mark { background: var(--mark); color: inherit; border-radius: 3px; }
.search input { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--soft); border-radius: 6px;
  padding: .3rem .6rem; width: min(20rem, 100%); }
.search output { color: var(--soft); }
[hidden] { display: none !important; }
code { font: .85em ui-monospace, Menlo, Consolas, monospace; }
h4 { margin: 0 0 .3rem; font-size: .8rem; color: var(--soft); font-weight: 600; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.45 ui-monospace, Menlo, Consolas, monospace; }
pre.prompt { color: var(--soft); margin-bottom: .6rem; max-height: 14rem; overflow-y: auto; }
pre.command { background: var(--panel); border-radius: 6px; padding: .8rem 1rem; }
@media (max-width: 640px) {
  body { padding: 1rem .75rem 3rem; }
  .verdict strong { font-size: 1.3rem; }
  .answers { grid-template-columns: 1fr; }
  .wide { display: none !important; } .narrow { display: block; }
}
@media print { details > * { display: block; } }
)css";
}

}  // namespace thimble
