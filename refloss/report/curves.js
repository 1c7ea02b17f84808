// One structure, large: target and prediction, residual, running integral, and the objective at every shift.

const PARTS = { dos: 'D', front_tail: 'F', unmasked_gradient: 'G', cumulative: 'C' };

class Curves {
  // moved: called with the shift after every change of it.
  constructor(place, structure, aligned, moved) {
    Object.assign(this, { place, structure, aligned, moved, shift: aligned });
    this.term = structure.term;
    this.landscape = structure.landscape();
    this.rival = rivalOf(this.landscape, aligned);
    const [first, last] = structure.view;
    this.home = [first, Math.max(last, first + 1)];
    this.view = this.home;
    this.build();
    new ResizeObserver(() => { if (this.place.isConnected && this.place.clientWidth !== this.width) this.build(); }).observe(place);
  }

  energy(i) { return this.term.energy_start + i * this.term.energy_step; }

  build() {
    const width = this.width = Math.max(280, this.place.clientWidth), narrow = width < 560;
    const left = narrow ? 52 : 64, inner = width - left - 12, heights = narrow ? [170, 90, 90] : [200, 100, 100], gap = 30;
    const head = this.head = narrow ? 46 : 26;  // a legend above the label, or beside it
    const squares = this.term.switches.cumulated === 'squares';
    this.svg = picture('Target and prediction, residual and running integral over energy', width,
      head + heights.reduce((a, b) => a + b) + 2 * gap + 42, 'curves');
    const labels = ['density of states (states/eV)', 'residual, prediction − target (states/eV)',
      squares ? 'running integral of prediction² − target²' : 'running integral of the residual (states)'];
    let top = head;
    this.frames = heights.map((height, k) => {
      const frame = new Frame(this.svg, { left, top, width: inner, height, label: labels[k] });
      top += height + gap;
      return frame;
    });
    const kinds = [['target', 'prediction'], ['residual'], ['integral']];
    [[this.target, this.prediction], [this.residual], [this.integral]] =
      kinds.map((names, k) => names.map(name => this.frames[k].line(name)));
    this.legend(left + inner, narrow);
    this.drag(left, inner);
    const objective = this.buildObjective(width, left, inner);
    this.place.replaceChildren(this.svg, objective);
    this.drawView();
  }

  legend(right, narrow) {
    const entries = [['target', 'target'], ['line prediction', 'prediction'], ['swatch', 'not counted']];
    let x = right;
    const y = narrow ? 14 : 20;
    for (const [kind, text] of entries.reverse()) {
      x -= 7 * text.length + 4;
      this.svg.append(svg('text', { class: 'tick', x, y }, text));
      x -= 26;
      this.svg.append(kind === 'swatch' ? svg('rect', { class: 'uncounted', x, y: y - 9, width: 20, height: 10 })
        : svg('path', { class: `line ${kind}`, d: `M${x} ${y - 4}h20` }));
      x -= 10;
    }
  }

  // A horizontal drag zooms, a double click shows all that is worth it again.
  drag(left, inner) {
    const box = svg('rect', { class: 'selection', y: this.head, height: this.frames[2].top + this.frames[2].height - this.head, width: 0 });
    this.svg.append(box);
    let from = null;
    const at = event => Math.max(left, Math.min(left + inner, event.clientX - this.svg.getBoundingClientRect().left));
    const point = x => this.view[0] + (x - left) / inner * (this.view[1] - this.view[0]);
    this.svg.addEventListener('pointerdown', event => { if (event.button === 0) { from = at(event); this.svg.setPointerCapture(event.pointerId); } });
    this.svg.addEventListener('pointermove', event => {
      if (from === null) return;
      box.setAttribute('x', Math.min(from, at(event)));
      box.setAttribute('width', Math.abs(at(event) - from));
    });
    this.svg.addEventListener('pointerup', event => {
      const to = at(event), width = from === null ? 0 : Math.abs(to - from);
      if (width > 8) this.look(point(Math.min(from, to)), point(Math.max(from, to)));
      from = null;
      box.setAttribute('width', 0);
    });
    this.svg.addEventListener('pointercancel', () => { from = null; box.setAttribute('width', 0); });
    this.svg.addEventListener('dblclick', () => this.look(...this.home));
  }

  // Shows the points from first to last, as far as there is something to show.
  look(first, last) {
    const { points, shifts } = this.term, lowest = 1 - shifts, highest = points + shifts - 2;
    const span = Math.min(Math.max(last - first, Math.min(8, points - 1)), highest - lowest);
    const start = Math.max(lowest, Math.min(first, highest - span));
    this.view = [start, start + span];
    this.drawView();
  }

  zoom(factor, shiftBy = 0) {
    const [first, last] = this.view, span = last - first, middle = (first + last) / 2 + shiftBy * span;
    this.look(middle - factor * span / 2, middle + factor * span / 2);
  }

  drawView() {
    const { term, structure: { t, q, runs } } = this, [first, last] = this.view, frame = this.frames[0];
    this.X = scale(first, last, frame.left, frame.left + frame.width);
    const inView = (array, offset) => {
      let high = 0, low = 0;
      for (let i = Math.max(0, Math.floor(first) + offset); i <= Math.min(array.length - 1, Math.ceil(last) + offset); i++) {
        high = Math.max(high, array[i]);
        low = Math.min(low, array[i]);
      }
      return [low, high];
    };
    const own = inView(t, 0), other = inView(q, this.aligned), low = Math.min(own[0], other[0]), high = Math.max(own[1], other[1]);
    frame.setY(low, high > low ? low + 1.08 * (high - low) : low + 1);
    const range = this.range(0, t.length - 1);
    this.target.setAttribute('d', path(i => t[i], ...range, this.X, frame.Y, frame.width));
    // What no run of the mask counts, and what lies beside the target.
    const edges = [-term.shifts, ...runs, term.points + term.shifts];
    for (const one of this.frames) {
      one.back.replaceChildren();
      for (let k = 0; k < edges.length; k += 2) {
        const from = Math.max(first, edges[k] - 0.5), to = Math.min(last, edges[k + 1] - 0.5);
        if (to > from) {
          one.back.append(svg('rect', { class: 'uncounted', x: this.X(from), y: one.top, width: this.X(to) - this.X(from), height: one.height }));
        }
      }
      if (first < 0) one.back.append(svg('path', { class: 'edge', d: `M${this.X(0).toFixed(1)} ${one.top}v${one.height}` }));
    }
    const unit = x => (x - term.energy_start) / term.energy_step;
    const at = ticks(this.energy(first), this.energy(last), frame.width < 500 ? 4 : 8);
    this.frames[2].ticksX(at, x => this.X(unit(x)), term.energy_label);
    this.draw();
  }

  // The points of low..high that are in view, and one beyond each end.
  range(low, high) {
    return [Math.max(low, Math.floor(this.view[0])), Math.min(high, Math.ceil(this.view[1]))];
  }

  // All that depends on the shift.
  draw() {
    const { structure: { q, t }, shift: s, frames, term } = this, n = t.length;
    const c = this.structure.accumulated(s);
    this.figures = this.structure.at(s, c);
    const [from, to] = this.range(-s, q.length - 1 - s);
    this.prediction.setAttribute('d', path(i => q[s + i], from, to, this.X, frames[0].Y, frames[0].width));
    const [first, last] = this.range(0, n - 1);
    this.curve(frames[1], this.residual, i => q[s + i] - t[i], first, last);
    this.curve(frames[2], this.integral, i => c[i], first, last);
    this.drawShift();
    this.moved(s, this.figures, term);
  }

  // What does not count may leave the frame.
  curve(frame, line, y, first, last) {
    const { mask } = this.structure;
    const extent = counts => {
      let low = 0, high = 0;
      for (let i = first; i <= last; i++) if (counts(i)) { low = Math.min(low, y(i)); high = Math.max(high, y(i)); }
      return [low, high];
    };
    let [low, high] = extent(i => mask[i]);
    if (low === high) [low, high] = extent(() => true);
    const margin = 0.07 * (high - low) || 1;
    frame.setY(low - margin, high + margin);
    line.setAttribute('d', path(y, first, last, this.X, frame.Y, frame.width));
  }

  buildObjective(width, left, inner) {
    const { landscape, term } = this, finite = landscape.filter(Number.isFinite), height = 130;
    let low = Infinity, high = -Infinity;
    for (const y of finite) { low = Math.min(low, y); high = Math.max(high, y); }
    const log = low > 0 && high > 100 * low;
    const parts = { dos: 'D', 'dos+front_tail': 'D + F', total: 'the whole loss' }[term.switches.objective];
    const figure = picture(`The objective at every shift, ${parts}`, width, height + 70, 'objective');
    const frame = this.objective = new Frame(figure,
      { left, top: 26, width: inner, height, label: `objective, ${parts} (${term.unit})${log ? ', logarithmic' : ''}`, log });
    frame.setY(log ? low / 1.5 : 0, log ? high * 1.5 : high > 0 ? 1.08 * high : 1);
    const last = Math.max(1, term.shifts - 1), X = this.S = scale(0, last, left, left + inner);
    frame.line('landscape').setAttribute('d',
      path(s => Number.isFinite(landscape[s]) ? landscape[s] : high, 0, term.shifts - 1, X, frame.Y, inner));
    const mark = (s, d, kind, text) => {
      const x = X(s), y = Math.max(frame.top + 10, frame.Y(landscape[s]) - 10), end = x > left + inner - 80;
      frame.front.append(svg('path', { class: `mark ${kind}`, d, transform: `translate(${x.toFixed(1)} ${frame.Y(landscape[s]).toFixed(1)})` }),
        svg('text', { class: 'tick halo', x: x + (end ? -7 : 7), y, 'text-anchor': end ? 'end' : 'start' }, text));
    };
    if (this.rival >= 0) mark(this.rival, 'M-5 4h10l-5 -9z', 'rival', 'next valley');
    mark(this.aligned, 'M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z', 'best', 'aligned');
    this.here = frame.front.appendChild(svg('path', { class: 'here' }));
    const at = ticks(0, last, inner < 500 ? 4 : 8).filter(Number.isInteger);
    frame.ticksX(at, X, 'shift (points)', s => String(s));
    const pick = event => {
      if (event.buttons !== 1 && event.type !== 'pointerdown') return;
      const x = event.clientX - figure.getBoundingClientRect().left;
      this.move(Math.round((x - left) / inner * last));
    };
    figure.addEventListener('pointerdown', event => { figure.setPointerCapture(event.pointerId); pick(event); });
    figure.addEventListener('pointermove', pick);
    return figure;
  }

  drawShift() {
    const { objective: frame } = this, x = this.S(this.shift).toFixed(1), y = this.landscape[this.shift];
    const place = Number.isFinite(y) ? frame.Y(y).toFixed(1) : frame.top;
    this.here.setAttribute('d', `M${x} ${frame.top}v${frame.height}M${x} ${place}m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`);
  }

  move(s) {
    const shift = Math.max(0, Math.min(this.term.shifts - 1, s));
    if (shift !== this.shift) { this.shift = shift; this.draw(); }
  }
}
