"use strict";
// Draws the pictures of a card with plotly: plain data that stands in the page, when they come into view, in the colours of the reader's theme.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const config = { displaylogo: false, displayModeBar: false, responsive: true };

  const template = () => {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--soft"), zerolinecolor: colour("--line"), automargin: true };
    const clear = "rgba(0,0,0,0)";
    return { layout: {
      font: { color: colour("--ink"), family: "system-ui, DejaVu Sans, sans-serif", size: 13 }, paper_bgcolor: clear, plot_bgcolor: clear,
      colorway: [colour("--accent"), "#d9822b", "#2f9e6e", "#c0504d", "#8064a2", "#7f7f7f"],
      xaxis: axis, yaxis: axis, margin: { l: 60, r: 20, t: 40, b: 50 }, bargap: 0, hoverlabel: { align: "left" },
      modebar: { bgcolor: clear },
    } };
  };

  // A ball: the icosahedron with each face cut in four, on the unit sphere.
  const ball = (() => {
    const t = (1 + Math.sqrt(5)) / 2, points = [], middle = new Map();
    const add = (p) => { const r = Math.hypot(...p); points.push(p.map((x) => x / r)); return points.length - 1; };
    for (const [a, b] of [[-1, t], [1, t], [-1, -t], [1, -t]]) { add([a, b, 0]); add([0, a, b]); add([b, 0, a]); }
    const side = 2 / Math.hypot(1, t), near = (i, j) => Math.abs(Math.hypot(...points[i].map((x, k) => x - points[j][k])) - side) < 1e-6;
    const faces = [];
    for (let i = 0; i < 12; i++) for (let j = i + 1; j < 12; j++) for (let k = j + 1; k < 12; k++) if (near(i, j) && near(j, k) && near(i, k)) faces.push([i, j, k]);
    const between = (i, j) => {
      const key = i < j ? `${i},${j}` : `${j},${i}`;
      if (!middle.has(key)) middle.set(key, add(points[i].map((x, k) => x + points[j][k])));
      return middle.get(key);
    };
    const outward = ([i, j, k]) => {
      const [p, q, r] = [points[i], points[j], points[k]], [u, v] = [q, r].map((s) => s.map((x, n) => x - p[n]));
      const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      return normal.reduce((sum, x, n) => sum + x * p[n], 0) > 0 ? [i, j, k] : [i, k, j];
    };
    return { faces: faces.map(outward).flatMap(([i, j, k]) => {
      const a = between(i, j), b = between(j, k), c = between(k, i);
      return [[i, a, c], [j, b, a], [k, c, b], [a, b, c]];
    }), points };
  })();

  const balls = (symbol, centres, [tint, radius]) => {
    const mesh = { type: "mesh3d", name: symbol, x: [], y: [], z: [], i: [], j: [], k: [], color: tint, flatshading: false, hoverinfo: "name",
      lighting: { ambient: 0.55, diffuse: 0.7, specular: 0.25, roughness: 0.5 }, lightposition: { x: 1000, y: 2000, z: 3000 } };
    for (const [x, y, z] of centres) {
      const first = mesh.x.length;
      for (const p of ball.points) { mesh.x.push(x + radius * p[0]); mesh.y.push(y + radius * p[1]); mesh.z.push(z + radius * p[2]); }
      for (const [i, j, k] of ball.faces) { mesh.i.push(first + i); mesh.j.push(first + j); mesh.k.push(first + k); }
    }
    return mesh;
  };

  const lines = (pairs, width, tint) => {
    const trace = { type: "scatter3d", mode: "lines", x: [], y: [], z: [], line: { width, color: tint }, hoverinfo: "skip" };
    for (const pair of pairs) { for (const [x, y, z] of pair) { trace.x.push(x); trace.y.push(y); trace.z.push(z); } for (const c of "xyz") trace[c].push(null); }
    return trace;
  };

  const edges = (cell) => {
    const corner = (a, b, c) => [0, 1, 2].map((k) => a * cell[0][k] + b * cell[1][k] + c * cell[2][k]), out = [];
    for (const a of [0, 1]) for (const b of [0, 1]) {
      out.push([corner(0, a, b), corner(1, a, b)], [corner(a, 0, b), corner(a, 1, b)], [corner(a, b, 0), corner(a, b, 1)]);
    }
    return out;
  };

  const structure = ({ look, frames }, number) => {
    const frame = frames[number], traces = [];
    for (const symbol of Object.keys(look)) {
      const centres = frame.positions.filter((_, i) => frame.symbols[i] === symbol);
      if (centres.length) traces.push(balls(symbol, centres, look[symbol]));
    }
    if (frame.bonds.length) traces.push(lines(frame.bonds.map(([i, j]) => [frame.positions[i], frame.positions[j]]), 6, colour("--soft")));
    if (frame.cell) traces.push(lines(edges(frame.cell), 2, colour("--accent")));
    return traces;
  };

  const start = { x: 1.4, y: 1.65, z: 0.75 };
  const drawStructure = (viewer) => {
    const hidden = { visible: false, showspikes: false }, box = viewer.querySelector(".plot");
    const eye = box.eye || start;
    return Plotly.react(box, structure(data.structures[viewer.dataset.structures], Number(viewer.querySelector("select").value)), {
      template: template(), margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false,
      scene: { xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "data", dragmode: "orbit", camera: { eye, up: { x: 0, y: 0, z: 1 } } },
    }, config);
  };

  const turn = (viewer, way) => {
    const box = viewer.querySelector(".plot"), camera = box._fullLayout ? box._fullLayout.scene.camera : { eye: start };
    const { x, y, z } = camera.eye, radius = Math.hypot(x, y, z), step = Math.PI / 12;
    let around = Math.atan2(y, x), height = Math.asin(z / radius);
    around += { left: step, right: -step }[way] || 0;
    height = Math.max(-1.5, Math.min(1.5, height + ({ up: step, down: -step }[way] || 0)));
    box.eye = { x: radius * Math.cos(height) * Math.cos(around), y: radius * Math.cos(height) * Math.sin(around), z: radius * Math.sin(height) };
    Plotly.relayout(box, { "scene.camera.eye": box.eye });
  };

  const draw = (box) => {
    const viewer = box.closest(".viewer");
    if (viewer) return drawStructure(viewer);
    const { traces, layout } = data.pictures[box.dataset.picture];
    return Plotly.react(box, structuredClone(traces), { ...structuredClone(layout), template: template() }, config);
  };

  // A browser has few contexts for three dimensions: one that is out of view gives its own back.
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.drawn) { target.drawn = true; draw(target); }
      else if (!isIntersecting && target.drawn && target.closest(".viewer")) { target.drawn = false; Plotly.purge(target); }
    }
  }, { rootMargin: "200px" });
  const boxes = [...document.querySelectorAll(".plot")];
  boxes.forEach((box) => seen.observe(box));
  dark.addEventListener("change", () => boxes.filter((box) => box.drawn).forEach(draw));
  for (const viewer of document.querySelectorAll(".viewer")) {
    viewer.querySelector("select").addEventListener("change", () => drawStructure(viewer));
    for (const button of viewer.querySelectorAll("button")) button.addEventListener("click", () => turn(viewer, button.dataset.turn));
  }
  addEventListener("beforeprint", () => boxes.forEach((box) => { if (!box.closest(".viewer") && !box.drawn) { box.drawn = true; draw(box); } }));
})();
