// Time lines with a histogram beside each. The colours are those of page.css.
"use strict";

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const HEIGHT = 120;
const BARS = 12;

class Chart {
  // `of`: the value of a batch, or null. `text`: a value as people read it. `chosen` hears which batch was clicked.
  constructor(parent, { title, note, of, text, limit, chosen }) {
    Object.assign(this, { of, text, limit, chosen, batches: [] });
    const box = document.createElement("div");
    box.className = "chart";
    const head = document.createElement("div");
    const [name, value, hint] = ["h3", "p", "p"].map(tag => head.appendChild(document.createElement(tag)));
    value.className = "value";
    [name.textContent, hint.textContent] = [title, note];
    const [line, histogram] = ["plot line", "plot histogram"].map(() => document.createElement("div"));
    [line.className, histogram.className] = ["plot line", "plot histogram"];
    line.setAttribute("role", "img");
    histogram.setAttribute("aria-hidden", "true");
    box.append(head, line, histogram);
    parent.append(box);
    Object.assign(this, { title, value, line, histogram });
    this.draw();
    new ResizeObserver(() => this.resize()).observe(box);
  }

  // Builds both plots: at the start, and when the colours have changed.
  draw() {
    this.timeLine?.destroy();
    this.bars?.destroy();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const values = (plot, splits) => splits.map(v => (v === null ? "" : this.text(v)));
    const series = [{}, { stroke: colour("--accent"), fill: colour("--fill"), width: 1.5, points: { show: false } }];
    series.push({ stroke: colour("--warn"), dash: [6, 4], width: 1, points: { show: false } });
    this.timeLine = new uPlot({
      ...this.size(this.line),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "batches" }, points: { size: 6 } },
      scales: { y: { range: (plot, min, max) => [0, max > 0 ? max * 1.1 : 1] } },
      axes: [
        { ...axis, space: 80, size: 24, values: (plot, splits) => splits.map(s => clock.format(s * 1000)) },
        { ...axis, space: 34, size: 62, values },
      ],
      series,
      hooks: { setCursor: [plot => this.show(plot.cursor.idx)] },
    }, this.data(), this.line);
    this.timeLine.over.addEventListener("click", () => {
      const batch = this.batches[this.timeLine.cursor.idx];
      if (batch) this.chosen(batch.time);
    });
    this.bars = new uPlot({
      ...this.size(this.histogram),
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: () => [0, this.top] }, y: { range: (plot, min, max) => [0, max || 1] } },
      axes: [{ ...axis, grid: { show: false }, space: 70, size: 24, values }, { show: false }],
      series: [{}, { stroke: colour("--accent"), fill: colour("--accent"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.9, 60], align: 1 }) }],
    }, this.counts(), this.histogram);
  }

  size(element) {
    return { width: Math.max(element.clientWidth, 60), height: HEIGHT };
  }

  resize() {
    this.timeLine.setSize(this.size(this.line));
    this.bars.setSize(this.size(this.histogram));
  }

  // Shows these batches, oldest first.
  set(batches) {
    this.batches = batches;
    this.timeLine.setData(this.data());
    this.bars.setData(this.counts());
    this.show(this.timeLine.cursor.idx);
  }

  data() {
    const values = this.batches.map(this.of);
    // A limit far above all values would press them onto the axis.
    const limit = this.limit?.();
    const near = limit && Math.max(0, ...values) > limit / 3;
    return [this.batches.map(b => b.time / 1000), values, values.map(() => (near ? limit : null))];
  }

  counts() {
    const values = this.batches.map(this.of).filter(v => v !== null);
    const width = (Math.max(0, ...values) || 1) / BARS;
    const counts = new Array(BARS).fill(0);
    // The last bar begins before this.
    this.top = width * BARS;
    values.forEach(v => counts[Math.min(BARS - 1, Math.floor(v / width))]++);
    return [counts.map((_, i) => i * width), counts];
  }

  // The value under the pointer, or the last one.
  show(index) {
    const batch = this.batches[index ?? this.batches.length - 1];
    const value = batch ? this.of(batch) : null;
    const text = value === null ? "–" : this.text(value);
    this.value.textContent = index == null || !batch ? text : `${text} at ${clock.format(batch.time)}`;
    const known = this.batches.map(this.of).filter(v => v !== null);
    const most = known.length ? this.text(Math.max(...known)) : "–";
    this.line.setAttribute("aria-label", `${this.title}: ${text} in the last batch, at most ${most}`);
  }
}
