// What a member looks like inside: figures and tables from the details of a run, drawn for one λ.

const INK = {valid: "#2f7fd8", test: "#d9660a", family: "#0e9384", muted: "#7d8590"};
const cell = (name, words, attributes = {}) => {
  const node = document.createElement(name);
  node.textContent = words;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const line_of = (...cells) => { const row = document.createElement("tr"); row.append(...cells); return row; };
const shown = (value, spec) => value === null || value === undefined ? "–" : written(value, spec);

function termed(key, words) {
  const head = cell("th", "", {scope: "col"}), button = cell("button", words, {type: "button", class: "term", "data-term": key});
  head.append(button);
  return head;
}

function tableOf(id, heads, rows) {
  const table = document.getElementById(id), head = document.createElement("thead"), body = document.createElement("tbody");
  if (!table) return;
  head.append(line_of(...heads.map(([words, key]) => key ? termed(key, words) : cell("th", words, {scope: "col"}))));
  body.append(...rows);
  table.replaceChildren(head, body);
}

// Draws or redraws a figure in its place.
function show(id, data, {height = 300, x = {}, y = {}} = {}) {
  const place = document.getElementById(id);
  if (!place) return;
  const figure = {data, layout: {height, margin: {t: 30, b: 60}, hovermode: "closest", xaxis: x, yaxis: {domain: [0, 1], nticks: 5, ...y}}};
  if (charts[id]) charts[id].update(figure); else charts[id] = new Chart(place, figure);
}

function bars(id, counts, bins, colour, x) {
  const step = (bins.high - bins.low) / bins.count, middle = index => bins.low + (index + 0.5) * step;
  const whole = counts.reduce((a, b) => a + b, 0) || 1;
  show(id, [{type: "bar", x: counts.map((_, i) => middle(i)), y: counts.map(n => n / whole), customdata: counts.map((n, i) => `${written(n, ",d")} from ${x.read(bins.low + i * step)} to ${x.read(bins.low + (i + 1) * step)}`),
    width: step * 0.94, marker: {color: colour}, hovertemplate: "<b>%{y:.2%}</b> · %{customdata}"}],
    {height: 250, x: {title: {text: x.title}, range: [bins.low, bins.high], ...x.axis}, y: {tickformat: "~%", rangemode: "tozero"}});
}

const tens = (low, high) => { const found = []; for (let p = Math.ceil(low); p <= high; p++) found.push(p); return {tickvals: found, ticktext: found.map(p => written(10 ** p, "~g"))}; };
const power = place => written(Number((10 ** place).toPrecision(2)), "~g");

function drawMember(details, member, part, target) {
  const here = member.parts?.[part] ?? {}, colour = INK[part] ?? INK.valid;
  bars("dial-weights", member.weights, details.weights, INK.family, {title: "|w| (log scale; the first bar is all below)", axis: tens(details.weights.low, details.weights.high), read: power});
  const random = member.snr?.length > 0, place = document.getElementById("snr-place");
  if (place) place.hidden = !random;
  if (random) bars("dial-snr", member.snr, details.snr, "#7a6fd0", {title: "|μ|/σ (log scale)", axis: tens(details.snr.low, details.snr.high), read: power});
  drawLayers(details, member);
  if (here.classes) drawClasses(details, here, colour);
  if (here.targets?.length) drawTargets(details, here, part, colour, target);
}

function bar(share) {
  const outer = cell("span", "", {class: "bar", "aria-hidden": "true"}), inner = document.createElement("i");
  inner.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
  outer.append(inner);
  return outer;
}

function drawLayers(details, member) {
  const random = member.effective?.length > 0;
  const rows = details.layers.map((layer, index) => {
    const share = member.kept[index] / (layer.params || 1), kept = cell("td", "");
    kept.append(`${written(member.kept[index], ",d")} (${written(share, ".0%")}) `, bar(share));
    return line_of(cell("th", layer.name, {scope: "row"}), ...[layer.params, layer.macs, layer.bytes].map(value => cell("td", written(value, ",d"))), kept,
      ...(random ? [cell("td", shown(member.effective[index], ",.4~r"))] : []), cell("td", shown(member.norm[index], ".3~g")));
  });
  const [macs, bytes] = ["macs", "bytes"].map(name => (details[name] ?? 0) - details.layers.reduce((sum, layer) => sum + layer[name], 0));
  if (macs > 0 || bytes > 0) rows.push(line_of(cell("th", "all else: products of activations, buffers", {scope: "row"}), cell("td", ""), ...[macs, bytes].map(value => cell("td", value > 0 ? written(value, ",d") : "")), cell("td", ""), ...(random ? [cell("td", "")] : []), cell("td", "")));
  tableOf("layers", [["layer"], ["parameters"], ["MACs", "macs"], ["bytes"], ["weights that carry", "kept"], ...(random ? [["effective", "effective"]] : []), ["RMS weight", "rms"]], rows);
}

function drawClasses(details, here, colour) {
  const {classes} = here, names = classes.support.map((_, index) => details.classes[index] ?? String(index));
  const rows = names.map((name, k) => line_of(cell("th", name, {scope: "row"}), cell("td", written(classes.support[k], ",d")), ...[classes.recall, classes.precision, classes.f1].map(list => cell("td", shown(list[k], ".1%"))), cell("td", shown(classes.auc[k], ".3f"))));
  rows.push(line_of(cell("th", "mean", {scope: "row"}), cell("td", ""), cell("td", `${shown(classes.balanced_accuracy, ".1%")} balanced`), cell("td", ""), cell("td", ""), cell("td", shown(classes.mean_auc, ".3f"))));
  tableOf("by-class", [["class"], [details.counted ?? "examples"], ["recall", "recall"], ["precision", "precision"], ["F1", "f1"], ["AUC", "auc"]], rows);
  const place = document.getElementById("confusion-place");
  if (place) place.hidden = !classes.confusion;
  if (classes.confusion) drawConfusion(names, classes);
  show("dial-calibration", [
    {type: "scatter", x: [0, 1], y: [0, 1], mode: "lines", line: {color: INK.muted, width: 1, dash: "dot"}, hoverinfo: "skip", showlegend: false},
    {type: "scatter", x: here.calibration.map(bin => bin[0]), y: here.calibration.map(bin => bin[1]), customdata: here.calibration.map(bin => bin[2]), mode: "lines+markers", line: {color: colour, width: 2},
      marker: {size: sizes(here.calibration.map(bin => bin[2]))}, hovertemplate: "given %{x:.1%}, right in <b>%{y:.1%}</b> of %{customdata:,d}"},
  ], {height: 330, x: {title: {text: "probability given to the answer"}, range: [0, 1.02], tickformat: "~%", tickvals: [0, 0.2, 0.4, 0.6, 0.8, 1]}, y: {range: [0, 1.04], tickformat: "~%", tickvals: [0, 0.2, 0.4, 0.6, 0.8, 1], title: {text: "right"}}});
}

const sizes = counts => { const most = Math.max(...counts, 1); return counts.map(count => 5 + 11 * Math.sqrt(count / most)); };

function drawConfusion(names, {confusion, support}) {
  const body = document.createElement("tbody"), head = document.createElement("thead");
  head.append(line_of(cell("th", "true ↓"), ...names.map(name => cell("th", name, {scope: "col", title: name}))));
  confusion.forEach((row, i) => body.append(line_of(cell("th", names[i], {scope: "row", title: names[i]}), ...row.map((count, j) => {
    const node = cell("td", count ? written(count, ",d") : "·"), share = count / (support[i] || 1);
    if (count) {
      node.style.background = `color-mix(in srgb, ${i === j ? INK.family : "#d9660a"} ${Math.round(100 * (i === j ? 0.12 + 0.4 * share : Math.min(0.7, 0.14 + 0.9 * share)))}%, var(--card))`;
      node.title = `${names[i]} named ${names[j]}: ${written(share, ".1%")}`;
    }
    return node;
  }))));
  document.getElementById("confusion")?.replaceChildren(head, body);
}

function drawTargets(details, here, part, colour, target) {
  const one = here.targets[target], about = details.targets[target], truth = about.truth[part] ?? [];
  const all = [...truth, ...one.predicted].filter(Number.isFinite), ends = [Math.min(...truth), Math.max(...truth)];
  show("dial-scatter", [
    {type: "scatter", x: ends, y: ends, mode: "lines", line: {color: INK.muted, width: 1, dash: "dot"}, hoverinfo: "skip", showlegend: false},
    {type: "scatter", x: truth, y: one.predicted, mode: "markers", marker: {size: 6, color: colour}, hovertemplate: "true %{x:.4~g}, predicted <b>%{y:.4~g}</b>"},
  ], {height: 330, x: {title: {text: `true ${about.name}`}}, y: {title: {text: "predicted"}, range: all.length ? [Math.min(...ends) - 0.15 * (ends[1] - ends[0]), Math.max(...ends) + 0.15 * (ends[1] - ends[0])] : undefined}});
  bars("dial-residuals", one.residuals, about.residuals, colour, {title: `predicted − true, in units of ${about.name}`, read: value => written(value, ".3~g")});
  const levels = [...new Set(here.targets.flatMap(item => Object.keys(item.coverage ?? {})))];
  tableOf("by-class", [["target"], ["RMSE", "rmse"], ["mean absolute error", "mae"], ["bias", "bias"], ["R²", "r2"], ...levels.map(level => [`in the ${written(Number(level), "~%")} interval`, "coverage"])],
    here.targets.map((item, index) => line_of(cell("th", details.targets[index].name, {scope: "row"}), ...[item.rmse, item.mae, item.bias].map(value => cell("td", shown(value, ".4~g"))), cell("td", shown(item.r2, ".3f")), ...levels.map(level => cell("td", shown(item.coverage?.[level], ".1%"))))));
}
