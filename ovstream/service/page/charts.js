// Small charts as SVG, and the overlay of a picture on a canvas.

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// The newest value is at the right edge; `slots` values fill the width.
function line(values, most, width, height, pad = 2, slots = values.length) {
  const step = width / Math.max(slots - 1, 1), start = width - (values.length - 1) * step;
  return values.map((value, i) => `${i ? "L" : "M"}${(start + i * step).toFixed(1)} ${(height - pad - (height - 2 * pad) * Math.min(value / most, 1)).toFixed(1)}`).join("");
}

export const SPARK_SECONDS = 120;

// Activity of the last two minutes as a filled line.
export function spark(values) {
  const [width, height] = [240, 34];
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: "spark", role: "img",
    "aria-label": `activity of the last ${values.length} seconds, now ${Math.round(100 * (values.at(-1) ?? 0))} percent` });
  if (values.length > 1) {
    const path = line(values, Math.max(0.1, ...values), width, height, 2, SPARK_SECONDS);
    const left = path.slice(1, path.indexOf(" "));
    root.append(svg("path", { d: `${path}L${width} ${height}L${left} ${height}Z`, fill: colour("activity"), opacity: 0.18 }),
      svg("path", { d: path, fill: "none", stroke: colour("activity"), "stroke-width": 1.6, "vector-effect": "non-scaling-stroke" }));
  }
  return root;
}

const short = (value) => (value >= 10 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(2));

export function timeline(points) {
  const [width, height] = [600, 96];
  const most = { activity: Math.max(0.1, ...points.map((p) => p.activity)), novelty: Math.max(3, ...points.map((p) => p.novelty)) };
  const minutes = Math.max(1, Math.round(points.length / 60));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `activity and novelty of the last ${minutes} minutes; highest activity ${Math.round(100 * most.activity)} percent, highest novelty ${short(most.novelty)}` });
  for (const share of [0.25, 0.5, 0.75]) root.append(svg("line", { x1: 0, x2: width, y1: height * share, y2: height * share, stroke: colour("line"), "vector-effect": "non-scaling-stroke" }));
  for (const name of ["novelty", "activity"]) {
    const path = line(points.map((p) => p[name]), most[name], width, height, 4);
    if (name === "activity") root.append(svg("path", { d: `${path}L${width} ${height}L0 ${height}Z`, fill: colour(name), opacity: 0.2 }));
    root.append(svg("path", { d: path, fill: "none", stroke: colour(name), "stroke-width": 1.8, "vector-effect": "non-scaling-stroke" }));
  }
  const legend = document.createElement("p");
  legend.className = "dim";
  legend.textContent = `last ${minutes} min · activity up to ${Math.round(100 * most.activity)} % (filled) · novelty up to ${short(most.novelty)} (line; above 3 is unusual)`;
  return [root, legend];
}

export function work(points) {
  const [width, height] = [600, 56];
  const total = Math.max(1, ...points.map((p) => p.skip + p.sparse + p.dense));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": "pictures per second: skipped, sparse and dense" });
  const step = width / SPARK_SECONDS, start = width - points.length * step;
  points.forEach((p, i) => {
    let y = height;
    for (const name of ["skip", "sparse", "dense"]) {
      const tall = (height * p[name]) / total;
      y -= tall;
      if (tall) root.append(svg("rect", { x: (start + i * step).toFixed(2), y: y.toFixed(2), width: (step + 0.3).toFixed(2), height: tall.toFixed(2), fill: colour(name) }));
    }
  });
  return root;
}

// Draws what the codec and the encoder say over a picture; `zones` are polygons in fractions.
export function drawOverlay(canvas, data, layers, zones) {
  const [rows, cols] = data.grid;
  const scale = canvas.clientWidth ? Math.min(devicePixelRatio, 2) : 1;
  const [boxW, boxH] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
  canvas.width = boxW; canvas.height = boxH;
  const fit = Math.min(boxW / data.size[0], boxH / data.size[1]);
  const [w, h] = [data.size[0] * fit, data.size[1] * fit];
  const pen = canvas.getContext("2d");
  pen.translate((boxW - w) / 2, (boxH - h) / 2);
  const [pw, ph] = [w / cols, h / rows];
  const at = (index) => [(index % cols) * pw, Math.floor(index / cols) * ph];
  if (layers.ages) data.ages.forEach((age, index) => {
    const old = Math.min(Math.log1p(age) / Math.log1p(30), 1);
    pen.fillStyle = `hsl(${220 - 210 * old} 95% 55% / ${0.16 + 0.24 * old})`;
    pen.fillRect(...at(index), pw - 0.5, ph - 0.5);
  });
  if (layers.changed) for (const index of data.changed) {
    const [x, y] = at(index);
    pen.fillStyle = "rgb(47 214 189 / 22%)"; pen.strokeStyle = "rgb(47 214 189 / 90%)"; pen.lineWidth = 1.2 * scale;
    pen.fillRect(x, y, pw, ph); pen.strokeRect(x + 1, y + 1, pw - 2, ph - 2);
  }
  if (layers.vectors) {
    pen.strokeStyle = pen.fillStyle = "#ffd23f"; pen.lineWidth = 2 * scale; pen.lineCap = "round";
    for (const [index, dx, dy] of data.vectors) {
      const [x, y] = at(index), length = Math.hypot(dx, dy);
      const long = Math.min(0.3 + length / 14, 0.95) * Math.min(pw, ph), [ux, uy] = [dx / length, dy / length];
      const [cx, cy] = [x + pw / 2, y + ph / 2], [ex, ey] = [cx + (ux * long) / 2, cy + (uy * long) / 2];
      pen.beginPath(); pen.moveTo(cx - (ux * long) / 2, cy - (uy * long) / 2); pen.lineTo(ex, ey); pen.stroke();
      const head = 0.14 * Math.min(pw, ph);
      pen.beginPath(); pen.moveTo(ex + ux * head, ey + uy * head); pen.lineTo(ex - uy * head, ey + ux * head); pen.lineTo(ex + uy * head, ey - ux * head); pen.fill();
    }
  }
  if (layers.zones) for (const zone of zones) {
    pen.setLineDash([7 * scale, 5 * scale]); pen.strokeStyle = "#c58bff"; pen.lineWidth = 2 * scale;
    pen.beginPath(); zone.polygon.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](x * w, y * h)); pen.closePath(); pen.stroke();
    pen.setLineDash([]); pen.fillStyle = "#e3ccff"; pen.font = `600 ${12 * scale}px system-ui, sans-serif`; pen.shadowColor = "#000"; pen.shadowBlur = 4;
    pen.fillText(zone.name, Math.min(...zone.polygon.map((p) => p[0])) * w + 5 * scale, Math.min(...zone.polygon.map((p) => p[1])) * h + 15 * scale);
    pen.shadowBlur = 0;
  }
  canvas.setAttribute("aria-label", `${data.changed.length} of ${rows * cols} patches changed, ${data.vectors.length} move`);
}
