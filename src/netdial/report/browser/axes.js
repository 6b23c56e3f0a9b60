// Axes: from an axis as figures describe it and the values on it to a scale in pixels with ticks.

// Returns {at(value) -> pixels, ticks: [[value, label]], low, high, log, category} between the pixels `from` and `to`.
function scaleOf(axis, values, from, to, {pad = 0.04, most = 6} = {}) {
  if (values.some(value => typeof value === "string")) return categories(axis, values, from, to);
  const log = axis.type === "log", finite = values.filter(value => Number.isFinite(value) && (!log || value > 0));
  const inner = log ? Math.log10 : value => value;
  let [low, high] = axis.range ?? span(finite.map(inner), axis.rangemode === "tozero" && !log, pad);
  if (low === high || (log && !axis.range && new Set(finite).size === 1)) [low, high] = [(low + high) / 2 - 0.5, (low + high) / 2 + 0.5];
  const at = value => from + (inner(value) - low) / (high - low) * (to - from);
  const inside = value => inner(value) >= low - 1e-9 && inner(value) <= high + 1e-9;
  const made = given => given ?? (log ? powers(low, high) : nice(low, high, axis.nticks ?? most, axis.dtick));
  const places = made(axis.tickvals), label = value => written(value, log ? axis.tickformat || "~g" : formatOf(axis.tickformat || "~g", low, high, places.length > 1 ? places[1] - places[0] : high - low));
  const given = axis.tickvals?.map((value, index) => [value, axis.ticktext?.[index] ?? label(value)]);
  return {at, log, low, high, inner, ticks: (given ?? places.map(value => [value, label(value)])).filter(([value]) => inside(value))};
}

// Returns how ticks are written: large plain numbers to the digit in which neighbours differ, in groups of three.
function formatOf(asked, low, high, step) {
  const far = Math.max(Math.abs(low), Math.abs(high));
  return asked === "~g" && far < 1e9 && step > 0 && (far >= 1e5 || step < 1e-5 * far) ? `,.${Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))}~f` : asked;
}

function span(values, zero, pad) {
  if (!values.length) return [0, 1];
  let low = Math.min(...values), high = Math.max(...values);
  if (zero) low = Math.min(low, 0);
  const far = Math.max(Math.abs(low), Math.abs(high)), apart = high - low > 1e-6 * far;  // nearer ones differ by rounding alone
  const room = ((apart ? high - low : far) || 1) * pad;
  return [zero && low === 0 ? 0 : low - room, high + room];
}

function categories(axis, values, from, to) {
  const names = [...new Set([...(axis.categoryarray ?? []), ...values])];
  const [low, high] = axis.range ?? [-0.5, names.length - 0.5];
  const at = value => from + (names.indexOf(value) - low) / (high - low) * (to - from);
  return {at, log: false, low, high, inner: value => names.indexOf(value), category: true, ticks: names.map(name => [name, name])};
}

function powers(low, high) {
  const found = [];
  for (let power = Math.ceil(low); power <= Math.floor(high); power++) found.push(10 ** power);
  return found.length > 1 ? found : [10 ** low, 10 ** high];
}

function nice(low, high, most, step) {
  if (!step) {
    const raw = (high - low) / Math.max(most - 1, 1), power = 10 ** Math.floor(Math.log10(raw));
    step = power * ([1, 2, 2.5, 5, 10].find(factor => factor * power >= raw * 0.999) ?? 10);
  }
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9 * step && found.length < 200; index++)
    found.push(Number((index * step).toPrecision(12)));
  return found;
}
