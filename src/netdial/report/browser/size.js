// The size slider of a run that shrinks: what was left of the network at the end of each epoch.

(() => {
  const size = JSON.parse(text("size-dial")), slider = document.getElementById("moment");
  const put = (id, words) => { const node = document.getElementById(id); if (node) node.textContent = words; };

  function turn(index) {
    const time = written(size.times[index], ".3~g"), value = size.metric[index];
    slider.value = index;
    slider.setAttribute("aria-valuetext", `${size.unit} ${time}, ${written(size.params[index], ",.0f")} parameters`);
    put("moment-value", `${size.unit} ${time}`);
    put("moment-params", written(size.params[index], ",.0f"));
    put("moment-share", `${written(size.params[index] / size.params[0], ".1%")} of the start`);
    put("moment-macs", written(size.macs[index], ",.0f"));
    put("moment-metric", value === null ? "–" : written(value, size.format));
    for (const id of ["widths", "cost", "training"]) charts[id]?.setCursor(size.times[index]);
    charts.size?.setCursor(size.params[index]);
    put("layer-then", index === size.times.length - 1 ? "end" : "then");
    for (const row of document.querySelectorAll("tr[data-layer]")) {
      const line = size.widths[row.dataset.layer], left = line?.[index];
      if (left === null || left === undefined) continue;
      const cells = row.querySelectorAll("td");
      cells[1].textContent = written(left, ",.0f");
      cells[2].querySelector("i").style.width = `${100 * left / line[0]}%`;
      cells[2].querySelector(".share").textContent = written(left / line[0], ".1%");
    }
  }

  slider.form.addEventListener("submit", event => event.preventDefault());
  slider.addEventListener("input", event => turn(Number(event.target.value)));
  turn(size.times.length - 1);
})();
