// Charts: draws a figure (the JSON of netdial's figures: curves, bars, maps on stacked panels) as plain SVG.
// Colours of ink, grid and ground are CSS variables, so that light, dark and print need no second drawing.

const SVG = "http://www.w3.org/2000/svg", CHAR = 7, BELOW = 52;
const DASHES = {dot: "2 4", dash: "7 5", dashdot: "7 4 2 4", longdash: "11 6"};

function svg(name, attributes = {}, parent = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

// Returns whether places along x are shares of the width and no values.
const ofPlace = ref => ref === "paper" || !!ref?.endsWith(" domain");

class Chart {
  constructor(place, figure) {
    Object.assign(this, {place, figure, hidden: new Set(), cursor: null});
    place.classList.add("chart");
    this.legend = place.appendChild(document.createElement("div"));
    this.legend.className = "legend";
    this.canvas = svg("svg", {role: "img", tabindex: 0}, place);
    this.note = place.appendChild(document.createElement("div"));
    this.note.className = "tip";
    this.note.setAttribute("role", "status");
    this.note.hidden = true;
    this.drawLegend();
    this.draw();
    this.listen();
  }

  get shown() { return this.figure.data.filter(trace => !this.hidden.has(trace.legendgroup ?? trace.name)); }

  update(figure) { this.figure = figure; this.draw(); }

  draw() {
    const {layout} = this.figure, axes = axesOf(layout), margin = layout.margin ?? {};
    this.width = Math.max(this.place.clientWidth, 260);
    const inner = (layout.height ?? 360) - (margin.t ?? 30) - (margin.b ?? 60), top = 30;
    const values = this.figure.data.map(trace => trace.y);
    const rows = axes.map(axis => {
      const [low, high] = axis.spec.domain ?? [0, 1];
      const mine = this.figure.data.filter(trace => (trace.yaxis ?? "y") === axis.id);
      const all = mine.flatMap(trace => [...(trace.type === "bar" ? [0] : []), ...withErrors(trace)]);
      const scale = scaleOf(axis.spec, all, top + (1 - low) * inner, top + (1 - high) * inner, {pad: 0.07, most: axis.spec.nticks ?? 5});
      return {...axis, scale, top: top + (1 - high) * inner, bottom: top + (1 - low) * inner, traces: mine};
    });
    const left = Math.max(34, 14 + CHAR * Math.max(0, ...rows.flatMap(row => row.scale.ticks.map(([, label]) => label.length)))) + (layout.yaxis?.title?.text ? 20 : 0);
    const strip = this.figure.data.some(trace => trace.type === "heatmap") ? 62 : 0;
    this.right = this.width - 14 - strip;
    this.left = Math.min(left, this.width * 0.42);
    this.x = scaleOf(layout.xaxis ?? {}, this.figure.data.flatMap(trace => trace.x ?? []), this.left, this.right, {most: Math.max(3, Math.min(8, Math.floor((this.right - this.left) / 80)))});
    const labels = this.x.ticks.map(([, label]) => label.length), slot = (this.right - this.left) / Math.max(labels.length, 1);
    const tilt = this.x.category && Math.max(0, ...labels) * CHAR > slot;
    this.height = top + inner + BELOW + (tilt ? Math.min(Math.max(...labels), 24) * 4.2 : 0);
    Object.assign(this, {rows, top, inner});
    this.canvas.replaceChildren();
    for (const [key, value] of Object.entries({width: this.width, height: this.height, viewBox: `0 0 ${this.width} ${this.height}`})) this.canvas.setAttribute(key, value);
    const heading = (layout.annotations ?? []).filter(note => note.text.startsWith("<b>")).map(note => plain(note.text)).join("; ");
    const above = this.place.previousElementSibling, named = above?.tagName === "H3" ? above.firstChild.textContent + (above.children[0]?.tagName === "BUTTON" ? above.children[0].textContent : "") : "";
    this.canvas.setAttribute("aria-label", `${heading || named.trim() || "figure"}. Arrow keys read the values.`);
    this.frame(tilt);
    for (const row of rows) for (const trace of row.traces) if (this.shown.includes(trace)) this.trace(row, trace);
    this.notes();
    this.mark = svg("line", {class: "cursor", y1: top, y2: top + inner, visibility: "hidden"}, this.canvas);
    this.hover = svg("g", {class: "hover"}, this.canvas);
    this.setCursor(this.cursor);
  }

  frame(tilt) {
    const {layout} = this.figure, grid = svg("g", {class: "axis"}, this.canvas), below = this.top + this.inner;
    const place = value => this.x.at(value);
    if (layout.xaxis?.showgrid !== false)
      for (const [value] of this.x.ticks) for (const row of this.rows) svg("line", {x1: place(value), x2: place(value), y1: row.top, y2: row.bottom}, grid);
    const room = Math.max(1, Math.ceil(tilt ? 14 / Math.max((this.right - this.left) / this.x.ticks.length, 1) : 1));
    let free = -Infinity;
    this.x.ticks.forEach(([value, label], index) => {
      const x = place(value), half = label.length * CHAR / 2, short = label.length > 26 ? `${label.slice(0, 25)}…` : label;
      if (tilt ? index % room : x - half < free) return;
      free = x + half + 6;
      const node = svg("text", tilt ? {x: x + 4, y: below + 14, "text-anchor": "end", transform: `rotate(-38 ${x + 4} ${below + 14})`} : {x: Math.min(x, this.width - half), y: below + 19, "text-anchor": "middle"}, grid);
      node.textContent = short;
    });
    if (layout.xaxis?.title?.text) svg("text", {x: (this.left + this.right) / 2, y: this.height - 8, "text-anchor": "middle", class: "name"}, grid).append(rich(layout.xaxis.title.text));
    for (const row of this.rows) {
      if (row.spec.showgrid !== false) for (const [value] of row.scale.ticks) svg("line", {x1: this.left, x2: this.right, y1: row.scale.at(value), y2: row.scale.at(value)}, grid);
      for (const [value, label] of row.scale.ticks) svg("text", {x: this.left - 8, y: row.scale.at(value) + 4, "text-anchor": "end"}, grid).textContent = label;
      if (row.spec.title?.text) svg("text", {x: 12, y: (row.top + row.bottom) / 2, "text-anchor": "middle", class: "name", transform: `rotate(-90 12 ${(row.top + row.bottom) / 2})`}, grid).append(rich(row.spec.title.text));
    }
  }

  notes() {
    const {layout} = this.figure, at = (note, key) => note[key] * 1;
    for (const shape of layout.shapes ?? []) {
      const style = {stroke: shape.line?.color, "stroke-width": shape.line?.width, "stroke-dasharray": DASHES[shape.line?.dash], opacity: shape.opacity};
      const across = value => ofPlace(shape.xref) ? this.left + value * (this.right - this.left) : this.x.at(value);
      if (shape.type === "line") svg("line", {x1: across(shape.x0), x2: across(shape.x1), ...(shape.yref === "paper" ? {y1: this.top + (1 - shape.y1) * this.inner, y2: this.top + (1 - shape.y0) * this.inner} : {y1: this.rows[0].scale.at(shape.y0), y2: this.rows[0].scale.at(shape.y1)}), ...style}, this.canvas);
    }
    for (const note of layout.annotations ?? []) {
      const x = ofPlace(note.xref) ? this.left + at(note, "x") * (this.right - this.left) : this.x.at(this.x.log ? 10 ** note.x : note.x);
      const y = note.yref === "paper" ? this.top + (1 - note.y) * this.inner - (note.yshift ?? 0) : this.rows[0].scale.at(note.y);
      const turned = note.textangle ? `rotate(${note.textangle} ${x} ${y})` : null;
      const anchor = turned ? (note.yanchor === "top" ? "end" : "start") : {left: "start", right: "end"}[note.xanchor] ?? "middle";
      const fits = plain(note.text).length * (CHAR - 0.4) > this.right - this.left ? {textLength: this.right - this.left + 10, lengthAdjust: "spacingAndGlyphs"} : {};
      const node = svg("text", {x: turned ? x + (anchor === "end" ? -5 : 5) : ofPlace(note.xref) ? Math.max(x, 0) : x, y: y + (turned ? -5 : note.yanchor === "top" ? 12 : -2), "text-anchor": anchor, transform: turned, class: note.text.startsWith("<b>") ? "heading" : "small", ...(turned ? {} : fits)}, this.canvas);
      node.textContent = plain(note.text);
      const key = note.text.startsWith("<b>") ? termIn(node.textContent) : null;
      if (key) { node.classList.add("term"); node.dataset.term = key; }
    }
  }

  trace(row, trace) {
    const group = svg("g", {}, this.canvas);
    if (trace.type === "heatmap") drawMap(this, row, trace, group);
    else if (trace.type === "bar") drawBars(this, row, trace, group);
    else drawCurve(this, row, trace, group);
  }

  drawLegend() {
    const named = this.figure.data.filter(trace => trace.showlegend !== false && trace.type !== "heatmap" && trace.name);
    if (named.length < 2) return;
    for (const trace of named) {
      const key = trace.legendgroup ?? trace.name, button = this.legend.appendChild(document.createElement("button"));
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const sample = svg("svg", {width: 26, height: 10, "aria-hidden": "true"}, button);
      const colour = single(trace.line?.color ?? trace.marker?.color, 0);
      if (trace.mode === "markers") svg("circle", {cx: 13, cy: 5, r: 4, fill: colour}, sample);
      else svg("line", {x1: 1, x2: 25, y1: 5, y2: 5, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash(trace.line?.dash)}, sample);
      button.append(plain(trace.name));
      const meant = termIn(plain(trace.name));
      if (meant) button.dataset.term = meant;
      button.addEventListener("click", () => {
        const gone = this.hidden.delete(key) ? false : !!this.hidden.add(key);
        button.setAttribute("aria-pressed", String(!gone));
        this.draw();
      });
    }
  }

  // Marks a place on the x axis in all panels; null takes the mark away.
  setCursor(x) {
    this.cursor = x;
    const shows = typeof x === "number" && this.x.inner(x) >= this.x.low - 1e-9 && this.x.inner(x) <= this.x.high + 1e-9;
    this.mark.setAttribute("visibility", shows ? "visible" : "hidden");
    if (shows) for (const key of ["x1", "x2"]) this.mark.setAttribute(key, this.x.at(x));
  }
}

function axesOf(layout) {
  return Object.keys(layout).filter(key => /^yaxis\d*$/.test(key)).map(key => ({id: key.replace("axis", ""), spec: layout[key]}));
}

const single = (value, index) => Array.isArray(value) ? value[index] : value;
const dash = name => DASHES[name] ?? (/^[\d]/.test(name ?? "") ? name.replaceAll("px", "").replaceAll(",", " ") : null);

function withErrors(trace) {
  const error = trace.error_y?.array;
  if (!error) return trace.y ?? [];
  return trace.y.flatMap((value, index) => [value - (error[index] ?? 0), value + (error[index] ?? 0)]);
}

function drawCurve(chart, row, trace, group) {
  const points = trace.x.map((x, index) => [x, trace.y[index], index]).filter(([x, y]) => x !== null && Number.isFinite(y) && (!row.scale.log || y > 0));
  const place = ([x, y]) => [chart.x.at(x), row.scale.at(y)], colour = trace.line?.color ?? single(trace.marker?.color, 0) ?? "var(--accent)";
  if (trace.mode?.includes("lines") && points.length > 1) {
    const steps = points.map(place).map(([x, y], index, all) => `${index ? (trace.line?.shape === "hv" ? `L${x} ${all[index - 1][1]}L` : "L") : "M"}${x.toFixed(2)} ${y.toFixed(2)}`);
    svg("path", {d: steps.join(""), fill: "none", stroke: colour, "stroke-width": trace.line?.width ?? 2, "stroke-dasharray": dash(trace.line?.dash), "stroke-linejoin": "round"}, group);
  }
  for (const [x, y, index] of trace.error_y?.array ? points : []) {
    const error = trace.error_y.array[index] ?? 0, at = chart.x.at(x), low = row.scale.log && y - error <= 0 ? row.bottom : row.scale.at(y - error);
    svg("path", {d: `M${at} ${low}V${row.scale.at(y + error)}`, stroke: colour, "stroke-width": 1.2}, group);
  }
  if (trace.mode?.includes("markers")) for (const point of points) {
    const symbol = single(trace.marker?.symbol, point[2]) ?? "circle", size = (single(trace.marker?.size, point[2]) ?? 6) / 2, [x, y] = place(point);
    const fill = single(trace.marker?.color, point[2]) ?? colour, edge = single(trace.marker?.line?.color, point[2]) ?? fill;
    if (symbol === "star") svg("path", {d: star(x, y, size * 1.15), fill}, group);
    else svg("circle", {cx: x.toFixed(2), cy: y.toFixed(2), r: size, fill: symbol.endsWith("open") ? "none" : fill, stroke: edge, "stroke-width": trace.marker?.line?.width ?? (symbol.endsWith("open") ? 1.4 : 0)}, group);
  }
}

function star(x, y, r) {
  return Array.from({length: 10}, (_, i) => {
    const angle = Math.PI * (i / 5 - 0.5), far = i % 2 ? r * 0.42 : r;
    return `${i ? "L" : "M"}${(x + far * Math.cos(angle)).toFixed(2)} ${(y + far * Math.sin(angle)).toFixed(2)}`;
  }).join("") + "Z";
}

function drawBars(chart, row, trace, group) {
  const count = trace.x.length, slot = chart.x.category ? (chart.right - chart.left) / Math.max(chart.x.ticks.length, 1) * 0.72 : null;
  trace.x.forEach((x, index) => {
    const y = trace.y[index], wide = slot ?? Math.max(trace.width ? chart.x.at(chart.x.low + single(trace.width, index)) - chart.x.at(chart.x.low) : (chart.right - chart.left) / count * 0.8, 1.5);
    if (!Number.isFinite(y)) return;
    const zero = row.scale.log ? row.bottom : row.scale.at(0), tip = row.scale.log && y <= 0 ? row.bottom : row.scale.at(y);
    svg("rect", {x: chart.x.at(x) - wide / 2, width: wide, y: Math.min(zero, tip), height: Math.abs(zero - tip), rx: Math.min(2, wide / 4), fill: single(trace.marker?.color, index) ?? "var(--accent)", opacity: trace.opacity}, group);
  });
}

function drawMap(chart, row, trace, group) {
  const low = trace.zmin ?? Math.min(...trace.z.flat().filter(Number.isFinite)), high = trace.zmax ?? Math.max(...trace.z.flat().filter(Number.isFinite));
  const tone = value => between(trace.colorscale, trace.reversescale ? 1 - (value - low) / (high - low || 1) : (value - low) / (high - low || 1));
  const wide = (chart.right - chart.left) / trace.x.length, high1 = (row.bottom - row.top) / trace.y.length, gap = trace.xgap ?? 0;
  trace.z.forEach((line, j) => line.forEach((value, i) => {
    if (Number.isFinite(value)) svg("rect", {x: chart.x.at(trace.x[i]) - wide / 2 + gap / 2, y: row.scale.at(trace.y[j]) - high1 / 2 + gap / 2, width: Math.max(wide - gap, 0.5), height: Math.max(high1 - gap, 0.5), fill: tone(value)}, group);
  }));
  const x = chart.right + 12, steps = 24, tall = (row.bottom - row.top) / steps;
  for (let step = 0; step < steps; step++) svg("rect", {x, y: row.bottom - (step + 1) * tall, width: 10, height: tall + 0.5, fill: tone(low + (step + 0.5) / steps * (high - low))}, group);
  for (const value of nice(low, high, 5)) svg("text", {x: x + 14, y: row.bottom - (value - low) / (high - low || 1) * (row.bottom - row.top) + 4, class: "small"}, group).textContent = written(value, trace.colorbar?.tickformat ?? "~g");
}

// Returns the colour at a place in [0, 1] of a scale [[place, colour], …].
function between(scale, place) {
  const at = Math.max(0, Math.min(1, place)), next = Math.max(1, scale.findIndex(([p]) => p >= at)), [p0, c0] = scale[next - 1], [p1, c1] = scale[next];
  const share = (at - p0) / (p1 - p0 || 1), part = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map(i => Math.round(part(c0, i) + share * (part(c1, i) - part(c0, i)))).join(" ")})`;
}
