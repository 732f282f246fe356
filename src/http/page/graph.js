// The graph of the operators: a box for each, in program order from top to bottom, coloured by its share of the time, with rows on the arrows.
"use strict";

const BOX = { width: 176, height: 50, across: 16, down: 46 };
const SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  if (text !== undefined) made.textContent = text;
  return made;
}

// How far each operator is from the sources. Program order has no arrow that goes back.
function layersOf(edges) {
  const depth = new Map();
  for (const [from, to] of edges) [from, to].forEach(n => depth.has(n) || depth.set(n, 0));
  for (const place of [...depth.keys()].sort((a, b) => a - b)) {
    const before = edges.filter(([from, to]) => to === place && from !== place).map(([from]) => depth.get(from));
    depth.set(place, Math.max(-1, ...before) + 1);
  }
  const layers = [];
  for (const [place, at] of [...depth].sort(([a], [b]) => a - b)) (layers[at] ??= []).push(place);
  return layers.map(layer => layer ?? []);
}

// The graph of `/api/v1/operators`. `chosen`: the operator whose workers are shown; `choose` hears of a click.
function graphOf({ operators, edges }, chosen, choose) {
  const layers = layersOf(edges);
  const all = operators.reduce((sum, o) => sum + o.ms, 0) || 1;
  const most = Math.max(1, ...layers.map(layer => layer.length));
  const width = most * (BOX.width + BOX.across) - BOX.across;
  const height = layers.length * (BOX.height + BOX.down) - BOX.down;
  const svg = drawn("svg", { viewBox: `-1 -1 ${width + 2} ${height + 2}`, width: width + 2, height: height + 2, role: "group", "aria-label": "Graph of the operators" });
  const arrow = drawn("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" });
  arrow.append(drawn("path", { d: "M0 0 8 4 0 8z", class: "tip" }));
  svg.appendChild(drawn("defs", {})).append(arrow);
  const at = new Map();
  layers.forEach((layer, y) => layer.forEach((place, x) => {
    const left = (width - layer.length * (BOX.width + BOX.across) + BOX.across) / 2;
    at.set(place, { x: left + x * (BOX.width + BOX.across), y: y * (BOX.height + BOX.down) });
  }));
  for (const [from, to] of edges) {
    const [a, b] = [at.get(from), at.get(to)];
    const [x1, y1, x2, y2] = [a.x + BOX.width / 2, a.y + BOX.height, b.x + BOX.width / 2, b.y];
    const bend = BOX.down / 2;
    svg.append(drawn("path", { d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`, class: "arrow", "marker-end": "url(#arrow)" }));
  }
  for (const [place, { x, y }] of at) {
    const { name, ms, rows_out } = operators[place];
    const [verb, line] = name.split(" (");
    const share = ms / all;
    const box = drawn("g", { class: place === chosen ? "box chosen" : "box", transform: `translate(${x} ${y})`, role: "button", tabindex: 0, "data-place": place });
    box.append(drawn("title", {}, `${name}: ${duration(ms)}, ${count(rows_out)} rows out`));
    box.setAttribute("aria-pressed", place === chosen);
    box.append(drawn("rect", { width: BOX.width, height: BOX.height, rx: 4 }));
    const heat = drawn("rect", { width: BOX.width, height: BOX.height, rx: 4, class: "heat" });
    heat.style.setProperty("--share", Math.min(1, share * 2));
    box.append(heat, drawn("text", { x: 10, y: 20, class: "verb" }, verb.length > 19 ? `${verb.slice(0, 18)}…` : verb));
    const place_of = line ? line.slice(0, -1) : "";
    box.append(drawn("text", { x: 10, y: 39 }, place_of.length > 16 ? `…${place_of.slice(-15)}` : place_of));
    box.append(drawn("text", { x: BOX.width - 10, y: 39, "text-anchor": "end" }, `${Math.round(share * 100)} %`));
    box.addEventListener("click", () => choose(place));
    box.addEventListener("keydown", e => {
      if (e.key !== "Enter" && e.key !== " ") return;
      e.preventDefault();
      choose(place);
    });
    svg.append(box);
    if (edges.some(([from]) => from === place)) svg.append(drawn("text", { x: x + BOX.width / 2 + 8, y: y + BOX.height + 15, class: "rows" }, count(rows_out)));
  }
  return svg;
}

// The workers of one operator side by side.
function workersOf(operator) {
  const most = Math.max(...operator.workers.map(w => w.ms)) || 1;
  const share = w => {
    const bar = element("div", undefined, "share worker");
    bar.append(element("span", undefined, "bar"));
    bar.firstChild.style.width = `${(w.ms / most) * 100}%`;
    return bar;
  };
  const columns = [
    ["Worker", w => String(w.worker), true], ["Time beside the most", share], ["Time", w => duration(w.ms)], ["Rows in", w => count(w.rows_in)],
    ["Rows out", w => count(w.rows_out)], ["Batches waited for it", w => duration(w.waited_ms)],
  ];
  return [element("h3", operator.name), table("workers", columns, operator.workers.map((w, worker) => ({ ...w, worker })))];
}

let graphChoice = null;

// Shows the graph, and the workers of the operator that was chosen.
function showGraph(of) {
  const holder = $("graph");
  if (!of.edges.length) {
    holder.replaceChildren(element("p", "None yet.", "none"));
    return;
  }
  const focused = document.activeElement?.closest?.("#graph .box")?.dataset.place;
  const scrolled = holder.querySelector(".wide")?.scrollLeft ?? 0;
  const wide = element("div", undefined, "wide graph");
  wide.append(graphOf(of, graphChoice, place => {
    graphChoice = graphChoice === place ? null : place;
    showGraph(of);
  }));
  const chosen = graphChoice === null ? undefined : of.operators[graphChoice];
  holder.replaceChildren(wide, ...(chosen ? workersOf(chosen) : [element("p", "Select an operator to see its workers side by side.", "none")]));
  wide.scrollLeft = scrolled;
  if (focused !== undefined) holder.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
}
