"use strict";

// Texts of the sweep reach the page as text nodes only, never as HTML.
(async () => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const OUTCOMES = ["trained", "not improved", "diverged", "not improved or diverged", "trained or not improved", "too slow", "degraded", "too short", "trained or too slow", "degraded or diverged"];
  const INFERRED = 10, MISSING = 20, FAILED = 21; // as in maps.py
  // Named one by one, because plotly's own set may have one that uploads the chart to its cloud.
  const CONFIG = { responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]] };
  const CLEAR = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { size: 13 },
    modebar: { bgcolor: "rgba(0,0,0,0)" } };
  const HATCH = "data:image/svg+xml;base64," + btoa(
    '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="600"><defs><pattern id="h" width="8"' +
    ' height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V8"' +
    ' stroke="#999" stroke-width="2"/></pattern></defs><rect width="600" height="600" fill="url(#h)"/></svg>');

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  if (typeof DecompressionStream === "undefined") {
    at("plot").textContent = "This browser is too old for the maps: they need one of 2023 or later.";
    return;
  }
  const library = document.createElement("script");
  library.textContent = new TextDecoder().decode(await unpack(at("plotly").textContent));
  document.head.append(library);

  // Frames ---------------------------------------------------------------------------------

  const plot = at("plot"), tip = at("tip"), ring = at("ring");
  let frame = null, view = null, node = null, held = false;

  /** Unpack a frame's arrays, once. */
  async function open(packed) {
    if (packed.open) return packed.open;
    const { index, id, ratio, loss, seconds, steps, attempt, diverged } = packed.rows;
    const floats = async (text) => new Float32Array(await unpack(text));
    const ints = async (text) => new Int32Array(await unpack(text));
    const nodes = new Uint32Array(await unpack(index));
    packed.open = {
      codes: new Uint8Array(await unpack(packed.codes)),
      row: new Map(Array.from(nodes, (number, row) => [number, row])),
      id: new Uint8Array(await unpack(id)),
      ratio: await floats(ratio), loss: await floats(loss), seconds: await floats(seconds),
      steps: await ints(steps), attempt: await ints(attempt), diverged: await ints(diverged),
    };
    return packed.open;
  }

  /** Number of the node that a position along an axis belongs to. */
  function nearest(positions, position) {
    let low = 0, high = positions.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (position > (positions[middle] + positions[middle + 1]) / 2) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Nodes of whole-number axes may share a value, and then share the run of the first of them. */
  function first(values, number) {
    while (number > 0 && values[number - 1] === values[number]) number--;
    return number;
  }

  function describe(ix, iy) {
    const { x, y } = frame.axes, runs = frame.open;
    const number = first(y.values, iy) * x.values.length + first(x.values, ix);
    const code = runs.codes[number];
    // The optimizer scales some rates by the width of the model.
    const rate = (along, value) => along.effective === null ? String(value)
      : `${value} (effective ${Number((along.effective * value).toPrecision(6))})`;
    const lines = [[x.name, rate(x, x.values[ix])], [y.name, rate(y, y.values[iy])]];
    if (code === MISSING) return ["not run yet", lines];
    if (code === FAILED) return ["failed, outcome unknown", [...lines, ["why", data.failures[frame.errors[number]]]]];
    if (code >= INFERRED) {
      return [`${OUTCOMES[code - INFERRED]} (inferred)`, [...lines, ["why", "not run: its cell has one label"]]];
    }
    const row = runs.row.get(number);
    if (row === undefined) return [OUTCOMES[code], [...lines, ["values", "left out of this page"]]];
    const short = (value) => Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);
    if (!Number.isNaN(runs.ratio[row])) lines.push(["ratio", short(runs.ratio[row])]);
    if (data.losses) {
      if (!Number.isNaN(runs.loss[row]) || runs.diverged[row] >= 0) lines.push(["final loss", short(runs.loss[row])]);
      const steps = runs.steps[row], long = data.window && 2 * data.window > steps && runs.diverged[row] < 0;
      lines.push(["steps", long ? `${steps}, the label window (${data.window}) is more than half of them` : String(steps)]);
    }
    if (runs.diverged[row] >= 0) lines.push(["diverged at step", String(runs.diverged[row])]);
    const bytes = runs.id.subarray(16 * row, 16 * row + 16);
    lines.push(
      ["seconds", short(runs.seconds[row])],
      ["attempt", String(runs.attempt[row])],
      ["point", Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")],
    );
    return [OUTCOMES[code], lines];
  }

  // Drawing --------------------------------------------------------------------------------

  function axis(given) {
    const made = { title: { text: given.title }, type: given.type, range: given.range, showgrid: false,
      zeroline: false, ticks: "outside", automargin: true };
    if (given.type === "log") Object.assign(made, { exponentformat: "power", minor: { ticks: "outside", ticklen: 3 } });
    return made;
  }

  async function draw() {
    plot.setAttribute("aria-busy", "true");
    await open(frame);
    const { x, y } = frame.axes;
    // On a log axis images and names are placed by logarithms, shapes by values.
    const value = (along, position) => along.type === "log" ? 10 ** position : position;
    const stretched = { sizing: "stretch", layer: "below" };
    // plotly takes two images at the same place for one: the ground is placed otherwise.
    const ground = { ...stretched, source: HATCH, xref: "paper", yref: "paper", x: 0, y: 1, sizex: 1, sizey: 1 };
    const picture = { ...stretched, source: view.png, xref: "x", yref: "y", x: x.range[0], y: y.range[1],
      sizex: x.range[1] - x.range[0], sizey: y.range[1] - y.range[0] };
    const boxes = frame.boxes.map((box) => ({ type: "rect", line: { color: "#000", width: 2 },
      x0: value(x, box.x[0]), x1: value(x, box.x[1]), y0: value(y, box.y[0]), y1: value(y, box.y[1]) }));
    const halo = boxes.map((box) => ({ ...box, line: { color: "#fff", width: 5 } }));
    const names = frame.boxes.map((box) => ({ text: String(box.number), x: box.x[0], y: box.y[1], showarrow: false,
      xanchor: "left", yanchor: "bottom", bgcolor: "#fff", borderpad: 2, font: { size: 12, color: "#000" } }));
    const layout = { ...CLEAR, xaxis: axis(x), yaxis: axis(y), images: [ground, picture],
      shapes: [...halo, ...boxes], annotations: names, margin: { l: 60, r: 12, t: 30, b: 50 }, 
      // A finger that moves scrolls the page.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom" };
    leave();
    await Plotly.react(plot, [{ type: "scatter", x: [null], y: [null], hoverinfo: "skip" }], layout, CONFIG);
    legend();
    plot.setAttribute("aria-busy", "false");
  }

  function legend() {
    const parts = view.swatches.map(([text, color]) => {
      const entry = document.createElement("span"), patch = document.createElement("i");
      if (color === "hatch") patch.className = "hatch";
      else patch.style.background = color;
      if (color !== "none") entry.append(patch);
      entry.append(text);
      return entry;
    });
    if (view.gradient) {
      const entry = document.createElement("span"), bar = document.createElement("i");
      bar.className = "bar";
      bar.style.background = `linear-gradient(90deg, ${view.gradient.colors.join(", ")})`;
      entry.append(view.gradient.low, bar, view.gradient.high);
      parts.unshift(entry);
    }
    at("legend").replaceChildren(...parts);
  }

  function offer() {
    const radios = frame.views.map((each) => {
      const label = document.createElement("label"), radio = document.createElement("input");
      Object.assign(radio, { type: "radio", name: "view", value: each.key, checked: each === view });
      radio.addEventListener("change", () => { view = each; draw(); });
      label.append(radio, " ", each.title);
      return label;
    });
    at("views").replaceChildren(at("views").firstElementChild, ...radios);
  }

  function choose(number) {
    frame = data.frames[number];
    view = frame.views.find((each) => view && each.key === view.key) ?? frame.views[0];
    node = null;
    at("frame").value = String(number);
    offer();
    return draw();
  }

  // Pointing -------------------------------------------------------------------------------

  function tell(ix, iy) {
    node = [ix, iy];
    const [what, lines] = describe(ix, iy);
    const heading = document.createElement("p"), list = document.createElement("dl");
    heading.textContent = what;
    for (const [name, value] of lines) {
      const term = document.createElement("dt"), said = document.createElement("dd");
      term.textContent = name;
      said.textContent = value;
      list.append(term, said);
    }
    tip.replaceChildren(heading, list);
    const { xaxis, yaxis } = plot._fullLayout;
    const left = xaxis._offset + xaxis.l2p(frame.axes.x.positions[ix]);
    const top = yaxis._offset + yaxis.l2p(frame.axes.y.positions[iy]);
    ring.style.left = `${left}px`;
    ring.style.top = `${top}px`;
    ring.hidden = tip.hidden = false;
    // Beside the node, inside the map.
    const width = plot.clientWidth, room = plot.clientHeight;
    const beside = left + 16 + tip.offsetWidth < width ? left + 16 : left - 16 - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(beside, width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, Math.min(top + 12, room - tip.offsetHeight))}px`;
  }

  function leave() {
    held = false;
    tip.classList.remove("held");
    ring.hidden = tip.hidden = true;
  }

  function under(event) {
    const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
    const left = event.clientX - box.left - xaxis._offset, top = event.clientY - box.top - yaxis._offset;
    if (left < 0 || top < 0 || left > xaxis._length || top > yaxis._length) return null;
    const { x, y } = frame.axes;
    const across = xaxis.p2l(left), up = yaxis.p2l(top);
    if (across < x.range[0] || across > x.range[1] || up < y.range[0] || up > y.range[1]) return null;
    return [nearest(x.positions, across), nearest(y.positions, up)];
  }

  function point(event) {
    if (held || event.buttons) return;
    const found = under(event);
    if (found) tell(...found);
    else leave();
  }

  function hold(event) {
    const found = under(event);
    if (!found || held) return leave();
    tell(...found);
    held = true;
    tip.classList.add("held");
  }

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  function key(event) {
    if (event.key === "Escape") return leave();
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const { x, y } = frame.axes, far = event.shiftKey ? 10 : 1;
    const from = node ?? [x.values.length >> 1, y.values.length >> 1];
    const inside = (number, values) => Math.max(0, Math.min(number, values.length - 1));
    tell(inside(from[0] + far * step[0], x.values), inside(from[1] + far * step[1], y.values));
  }

  // The page -------------------------------------------------------------------------------

  if (data.frames.length) {
    await choose(0);
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerleave", () => held || leave());
    plot.addEventListener("keydown", key);
    plot.on("plotly_relayout", leave);
    // plotly's own layer keeps the clicks: a press that moves is a box, one that does not is a click.
    let pressed = null;
    plot.addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; }, true);
    window.addEventListener("pointerup", (event) => {
      const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 4;
      pressed = null;
      if (still) hold(event);
    }, true);
    at("frame").addEventListener("change", (event) => choose(Number(event.target.value)));
    for (const link of document.querySelectorAll("[data-frame]")) {
      const number = data.frames.findIndex((each) => String(each.number) === link.dataset.frame);
      if (number >= 0) link.addEventListener("click", () => choose(number));
    }
  }

  async function chart({ id, data: traces, layout }) {
    const small = { margin: { l: 60, r: 12, t: 12, b: 50 }, legend: { orientation: "h", y: -0.25 } };
    const line = { showgrid: true, gridcolor: "#8884", automargin: true, zeroline: false };
    await Plotly.newPlot(id, traces, { ...CLEAR, ...small, ...layout,
      xaxis: { ...line, ...layout.xaxis }, yaxis: { ...line, ...layout.yaxis } }, CONFIG);
  }
  // A chart in a folded part has no size yet: it is drawn when that is opened.
  for (const each of data.charts) {
    const folded = at(each.id).closest("details");
    if (folded && !folded.open) folded.addEventListener("toggle", () => chart(each), { once: true });
    else await chart(each);
  }
  document.documentElement.dataset.ready = "yes";
})();
