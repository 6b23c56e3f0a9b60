// Reading values: with the pointer, or with the arrow keys once a figure has the focus.

Chart.prototype.listen = function () {
  const leave = () => { this.note.hidden = true; this.hover.replaceChildren(); };
  this.canvas.addEventListener("pointermove", event => {
    const box = this.canvas.getBoundingClientRect(), ratio = this.width / box.width;
    this.point((event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
  });
  this.canvas.addEventListener("pointerleave", leave);
  this.canvas.addEventListener("blur", leave);
  this.canvas.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const places = [...new Set(this.shown.flatMap(trace => trace.x ?? []).filter(x => x !== null).map(x => this.x.at(x)))].sort((a, b) => a - b);
    const now = this.place0 ?? -Infinity, next = step > 0 ? places.find(x => x > now + 0.01) : places.findLast(x => x < now - 0.01);
    if (next !== undefined) this.point(next, (this.rows[0].top + this.rows[0].bottom) / 2);
  });
  new ResizeObserver(() => { if (Math.abs(this.place.clientWidth - this.width) > 1 && this.place.clientWidth) this.draw(); }).observe(this.place);
};

// Shows what lies nearest to a place: all curves at one x, or one point.
Chart.prototype.point = function (x, y) {
  const unified = (this.figure.layout.hovermode ?? "closest").startsWith("x"), found = [];
  for (const row of this.rows) for (const trace of row.traces) {
    if (!this.shown.includes(trace) || trace.hoverinfo === "skip") continue;
    let best = null;
    for (const item of pointsOf(this, row, trace)) {
      const far = Math.hypot(item.x - x, unified ? 0 : item.y - y);
      if (!best || far < best.far) best = {...item, far, trace};
    }
    if (best) found.push(best);
  }
  if (!found.length) return;
  const nearest = found.reduce((a, b) => a.far <= b.far ? a : b);
  const shown = unified ? found.filter(item => Math.abs(item.x - nearest.x) < 1) : [nearest];
  this.place0 = nearest.x;
  this.hover.replaceChildren();
  if (unified) svg("line", {x1: nearest.x, x2: nearest.x, y1: this.top, y2: this.top + this.inner}, this.hover);
  for (const item of shown) svg("circle", {cx: item.x, cy: item.y, r: 4.5}, this.hover);
  this.tell(shown, unified, nearest);
};

Chart.prototype.tell = function (shown, unified, nearest) {
  const head = this.figure.layout.xaxis?.unifiedhovertitle?.text;
  this.note.replaceChildren();
  if (unified && head) this.note.append(line(filled(head, nearest.values)));
  for (const item of shown) {
    const node = line(filled(item.trace.hovertemplate ?? `${item.trace.name ?? ""}: <b>%{y}</b>`, item.values));
    node.style.setProperty("--dot", single(item.trace.line?.color ?? item.trace.marker?.color, item.index) ?? "var(--accent)");
    if (unified) node.className = "dotted";
    this.note.append(node);
  }
  this.note.hidden = false;
  const ratio = this.canvas.getBoundingClientRect().width / this.width, wide = this.note.offsetWidth;
  const x = nearest.x * ratio, room = this.place.clientWidth;
  this.note.style.left = `${Math.max(0, Math.min(x + 14 + wide > room ? x - wide - 14 : x + 14, room - wide))}px`;
  this.note.style.top = `${this.canvas.offsetTop + Math.max(this.top, Math.min(nearest.y * ratio - 20, this.height - this.note.offsetHeight))}px`;
};

function line(text) {
  const node = document.createElement("div");
  node.append(rich(text));
  return node;
}

function* pointsOf(chart, row, trace) {
  if (trace.type === "heatmap") {
    for (let j = 0; j < trace.y.length; j++) for (let i = 0; i < trace.x.length; i++)
      yield {x: chart.x.at(trace.x[i]), y: row.scale.at(trace.y[j]), index: 0, values: {x: trace.x[i], y: trace.y[j], z: trace.z[j][i], text: trace.text?.[j]?.[i]}};
    return;
  }
  for (let index = 0; index < (trace.x?.length ?? 0); index++) {
    const x = trace.x[index], y = trace.y[index];
    if (x === null || !Number.isFinite(y) || (row.scale.log && y <= 0)) continue;
    yield {x: chart.x.at(x), y: row.scale.at(y), index, values: {x, y, customdata: trace.customdata?.[index], text: single(trace.text, index)}};
  }
}
