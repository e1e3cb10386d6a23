// Draws what an account spent from the table below the picture, which has the same figures.
"use strict";

const CREDIT = 1e6;
const HEIGHT = 260;
const plot = document.getElementById("plot");
const rows = [...document.querySelectorAll("#history tbody tr")];
const dark = matchMedia("(prefers-color-scheme: dark)");

function column(name) {
  return rows.map((row) => Number(row.dataset[name]) / CREDIT);
}

function onAxis(_, ticks, __, ___, step) {
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(step < 60 && { second: "2-digit" }) };
  const form = step < 86400 ? clock : { day: "numeric", month: "short" };
  const format = new Intl.DateTimeFormat(document.documentElement.lang, form);
  return ticks.map((tick) => format.format(tick * 1000));
}

function draw() {
  const style = getComputedStyle(document.documentElement);
  const [line, fill, grid, text] = ["--accent", "--accent-soft", "--line", "--muted"].map((name) => style.getPropertyValue(name));
  const times = rows.map((row) => Date.parse(row.querySelector("time").dateTime) / 1000);
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "13px system-ui" };
  const options = {
    width: plot.clientWidth,
    height: HEIGHT,
    scales: { y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [{ ...axis, values: onAxis, space: 80 }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(6)))) }],
    legend: { live: true },
    series: [
      { label: "When", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
      {
        label: "Credits spent",
        stroke: line,
        fill,
        width: 2,
        paths: uPlot.paths.stepped({ align: 1 }),
        points: { show: rows.length < 60, size: 7, fill: line },
      },
    ],
  };
  plot.replaceChildren();
  return new uPlot(options, [[...times, Date.now() / 1000], [...column("spent"), column("spent").at(-1)]], plot);
}

if (plot && rows.length) {
  let chart = draw();
  addEventListener("resize", () => chart.setSize({ width: plot.clientWidth, height: HEIGHT }));
  dark.addEventListener("change", () => (chart = draw()));
}
