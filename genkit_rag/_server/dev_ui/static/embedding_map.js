// A map of points on a canvas: pan, zoom, hover, select. Draws at most once a frame; a grid finds what is near.

const CELLS = 128;
const RADIUS = 3;

export class EmbeddingMap {
  // handlers: onHover(index | null, x, y), onSelect(indexes), onView()
  constructor(canvas, handlers = {}) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.handlers = handlers;
    this.points = { x: new Float64Array(), y: new Float64Array(), colour: [] };
    this.marks = [];
    this.origin = null;
    this.hovered = null;
    this.box = null;
    this.frames = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
    this.resize();
  }

  // x and y side by side, palette of colours, colour: the position in the palette of each point
  show({ x, y, colour, palette, marks = [], origin = null }) {
    this.points = { x: Float64Array.from(x), y: Float64Array.from(y), colour };
    Object.assign(this, { palette, marks, origin, hovered: null });
    this.bounds = bounds([...x, ...marks.map((one) => one.x), ...(origin ? [origin[0]] : [])],
      [...y, ...marks.map((one) => one.y), ...(origin ? [origin[1]] : [])]);
    this.index();
    this.all();
  }

  recolour(palette, theme) { this.palette = palette ?? this.palette; this.theme = theme; this.draw(); }

  all() {
    const { width, height } = this.size;
    const { left, right, low, high } = this.bounds ?? { left: -1, right: 1, low: -1, high: 1 };
    this.scale = Math.min((width - 48) / (right - left || 1), (height - 48) / (high - low || 1));
    this.centre = [(left + right) / 2, (low + high) / 2];
    this.draw();
  }

  zoom(factor, at = [this.size.width / 2, this.size.height / 2]) {
    const [x, y] = this.toData(...at);
    this.scale = Math.max(1e-6, Math.min(this.scale * factor, 1e9));
    const [movedX, movedY] = this.toData(...at);
    this.centre = [this.centre[0] + x - movedX, this.centre[1] + y - movedY];
    this.draw();
  }

  pan(dx, dy) { this.centre = [this.centre[0] - dx / this.scale, this.centre[1] + dy / this.scale]; this.draw(); }

  // The points in a rectangle of the canvas, in view by default.
  inside(x0 = 0, y0 = 0, x1 = this.size.width, y1 = this.size.height) {
    const [a, b] = this.toData(Math.min(x0, x1), Math.max(y0, y1));
    const [c, d] = this.toData(Math.max(x0, x1), Math.min(y0, y1));
    const { x, y } = this.points;
    const found = [];
    for (let i = 0; i < x.length; i += 1) if (x[i] >= a && x[i] <= c && y[i] >= b && y[i] <= d) found.push(i);
    return found;
  }

  nearest(px, py, reach = 10) {
    const [x, y] = this.toData(px, py);
    const far = reach / this.scale;
    let best = null;
    let least = far * far;
    const cells = this.cellsAround(x, y, far);
    for (const cell of cells) {
      for (const i of this.grid.get(cell) ?? []) {
        const distance = (this.points.x[i] - x) ** 2 + (this.points.y[i] - y) ** 2;
        if (distance <= least) { least = distance; best = i; }
      }
    }
    return best;
  }

  // -- where things are

  toScreen(x, y) { return [(x - this.centre[0]) * this.scale + this.size.width / 2, this.size.height / 2 - (y - this.centre[1]) * this.scale]; }
  toData(px, py) { return [(px - this.size.width / 2) / this.scale + this.centre[0], (this.size.height / 2 - py) / this.scale + this.centre[1]]; }

  index() {
    this.grid = new Map();
    const { x, y } = this.points;
    for (let i = 0; i < x.length; i += 1) {
      const cell = this.cellOf(x[i], y[i]);
      const there = this.grid.get(cell);
      if (there) there.push(i); else this.grid.set(cell, [i]);
    }
  }

  column(x) { const { left, right } = this.bounds; return clamp(Math.floor((x - left) / (right - left || 1) * CELLS)); }
  row(y) { const { low, high } = this.bounds; return clamp(Math.floor((y - low) / (high - low || 1) * CELLS)); }
  cellOf(x, y) { return this.row(y) * CELLS + this.column(x); }
  cellsAround(x, y, far) {
    if (!this.bounds) return [];
    const cells = [];
    for (let row = this.row(y - far); row <= this.row(y + far); row += 1) {
      for (let column = this.column(x - far); column <= this.column(x + far); column += 1) cells.push(row * CELLS + column);
    }
    return cells;
  }

  // -- drawing

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.size = { width: Math.max(1, width), height: Math.max(1, height) };
    this.scale === undefined ? this.all() : this.draw();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = null; this.paint(); this.handlers.onView?.(); });
  }

  paint() {
    this.frames += 1;
    const { context, size } = this;
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size.width, size.height);
    if (!this.palette) return;
    this.paintPoints();
    const [queryX, queryY] = this.origin ? this.toScreen(...this.origin) : [];
    this.marks.forEach((mark, rank) => {
      const [x, y] = this.toScreen(mark.x, mark.y);
      if (this.origin) line(context, queryX, queryY, x, y, this.theme.faint);
      ring(context, x, y, 7, this.theme.text);
      context.fillStyle = this.theme.text;
      context.font = '600 11px system-ui, sans-serif';
      context.fillText(String(rank + 1), x + 9, y - 6);
    });
    if (this.origin) cross(context, queryX, queryY, this.theme);
    if (this.hovered !== null) ring(context, ...this.toScreen(this.points.x[this.hovered], this.points.y[this.hovered]), 8, this.theme.accent);
    if (this.box) {
      context.strokeStyle = this.theme.accent;
      context.strokeRect(this.box[0], this.box[1], this.box[2] - this.box[0], this.box[3] - this.box[1]);
    }
  }

  // Colour by colour: to set a colour costs more than to draw with it. Squares of a few pixels look like dots.
  paintPoints() {
    const { context, size, palette } = this;
    const { x, y, colour } = this.points;
    const side = x.length > 20000 ? 2.5 : x.length > 3000 ? 3.5 : 2 * RADIUS;
    const [centreX, centreY] = this.centre;
    context.globalAlpha = x.length > 5000 ? 0.75 : 0.9;
    for (let code = 0; code < palette.length; code += 1) {
      context.fillStyle = palette[code];
      context.beginPath();
      for (let i = 0; i < x.length; i += 1) {
        if (colour[i] !== code) continue;
        const px = (x[i] - centreX) * this.scale + size.width / 2;
        const py = size.height / 2 - (y[i] - centreY) * this.scale;
        if (px < -8 || py < -8 || px > size.width + 8 || py > size.height + 8) continue;
        if (x.length > 3000) context.fillRect(px - side / 2, py - side / 2, side, side);
        else { context.moveTo(px + RADIUS, py); context.arc(px, py, RADIUS, 0, 2 * Math.PI); }
      }
      context.fill();
    }
    context.globalAlpha = 1;
  }

  // -- hands

  listen() {
    const { canvas } = this;
    canvas.addEventListener('pointerdown', (event) => this.begin(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerup', (event) => this.end(event));
    canvas.addEventListener('pointercancel', () => { this.drag = null; this.box = null; this.draw(); });
    canvas.addEventListener('pointerleave', () => this.hover(null));
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), at(event));
    }, { passive: false });
    canvas.addEventListener('keydown', (event) => this.key(event));
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { last: at(event), first: at(event), select: event.shiftKey };
  }

  move(event) {
    const [x, y] = at(event);
    if (!this.drag) { this.hover(this.bounds ? this.nearest(x, y) : null, x, y); return; }
    if (this.drag.select) { this.box = [...this.drag.first, x, y]; this.draw(); }
    else { this.pan(x - this.drag.last[0], y - this.drag.last[1]); this.drag.last = [x, y]; }
  }

  end(event) {
    const [x, y] = at(event);
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    const still = Math.hypot(x - drag.first[0], y - drag.first[1]) < 4;
    if (still) { const found = this.nearest(x, y); if (found !== null) this.handlers.onSelect?.([found]); }
    else if (drag.select) this.handlers.onSelect?.(this.inside(...drag.first, x, y));
    this.box = null;
    this.draw();
  }

  hover(index, x, y) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.handlers.onHover?.(index, x, y);
    this.draw();
  }

  key(event) {
    const step = event.shiftKey ? 120 : 40;
    const actions = {
      ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
      '+': () => this.zoom(1.3), '=': () => this.zoom(1.3), '-': () => this.zoom(1 / 1.3), 0: () => this.all(),
      Enter: () => this.handlers.onSelect?.(this.inside()),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    action();
  }
}

const clamp = (cell) => Math.max(0, Math.min(CELLS - 1, cell));
const at = (event) => [event.offsetX, event.offsetY];

function bounds(xs, ys) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const x of xs) { if (x < left) left = x; if (x > right) right = x; }
  for (const y of ys) { if (y < low) low = y; if (y > high) high = y; }
  return left > right ? { left: -1, right: 1, low: -1, high: 1 } : { left, right, low, high };
}

function ring(context, x, y, radius, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

function line(context, x0, y0, x1, y1, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function cross(context, x, y, theme) {
  for (const [width, colour] of [[6, theme.surface], [3, theme.accent]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x - 8, y); context.lineTo(x + 8, y);
    context.moveTo(x, y - 8); context.lineTo(x, y + 8);
    context.stroke();
  }
}
