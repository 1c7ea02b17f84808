// SVG: elements, scales, ticks, and lines of many points. Lengths in pixels.

const SVG = 'http://www.w3.org/2000/svg';

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A number for eyes. What is computed beyond float64 is no number.
function shown(x, digits = 5) {
  if (x === null || !Number.isFinite(x)) return '–';
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? x.toExponential(digits - 1) : x.toPrecision(digits);
  return text.replace(/(\.\d*?)0+(?=e|$)/, '$1').replace(/\.(?=e|$)/, '').replace('e+', 'e').replace(/-/g, '−');
}

// Round numbers from low to high, about `count` of them.
function ticks(low, high, count) {
  if (!(high > low) || !Number.isFinite(high - low)) return [low];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= high / step + 1e-9; n++) found.push(n * step);
  return found;
}

// How to write ticks: with as many digits as tell one from the next.
function told(at, digits) {
  const size = Math.max(...at.map(Math.abs)), step = at.length > 1 ? at[1] - at[0] : size;
  const needed = size > 0 && step > 0 ? 1 + Math.floor(Math.log10(size)) - Math.floor(Math.log10(step) + 1e-6) : 1;
  return x => shown(x, Math.min(15, Math.max(digits, needed)));
}

function scale(low, high, from, to) { return x => from + (x - low) / (high - low || 1) * (to - from); }

// The path of y(i), i = first..last, at X(i), Y(y): of many points in one pixel, the lowest and the highest.
function path(y, first, last, X, Y, width) {
  const stride = Math.max(1, (last - first + 1) / (2 * width));
  const parts = [];
  const point = i => parts.push(`${X(i).toFixed(1)} ${Y(y(i)).toFixed(1)}`);
  if (stride < 2) {
    for (let i = first; i <= last; i++) point(i);
  } else {
    for (let start = first; start <= last; start += stride) {
      const stop = Math.min(last + 1, Math.floor(start + stride));
      let low = Math.floor(start), high = low;
      for (let i = low + 1; i < stop; i++) { if (y(i) < y(low)) low = i; if (y(i) > y(high)) high = i; }
      point(Math.min(low, high));
      if (low !== high) point(Math.max(low, high));
    }
  }
  return parts.length ? `M${parts.join('L')}` : '';
}

// A frame with a y axis; the scale is set when what it shows is known. Lines end at its border.
class Frame {
  constructor(parent, { left, top, width, height, label, log = false, count = 5 }) {
    Object.assign(this, { left, top, width, height, log, count });
    this.grid = parent.appendChild(svg('g', { class: 'grid' }));
    this.back = parent.appendChild(svg('g'));
    const id = `clip-${Frame.count = (Frame.count ?? 0) + 1}`;
    parent.append(svg('clipPath', { id }, svg('rect', { x: left, y: top - 1, width, height: height + 2 })));
    this.lines = parent.appendChild(svg('g', { 'clip-path': `url(#${id})` }));
    this.front = parent.appendChild(svg('g'));
    parent.append(svg('path', { class: 'axis', d: `M${left} ${top}V${top + height}H${left + width}` }));
    if (label) parent.append(svg('text', { class: 'label', x: left, y: top - 6 }, label));
  }

  line(kind) { return this.lines.appendChild(svg('path', { class: `line ${kind}` })); }

  setY(low, high) {
    const f = this.log ? Math.log10 : x => x;
    const to = scale(f(low), f(high), this.top + this.height, this.top);
    this.Y = y => Math.max(this.top - 1e4, Math.min(this.top + 1e4, to(f(y))));
    let at = ticks(f(low), f(high), this.count);
    if (this.log) at = at.filter(y => Math.abs(y - Math.round(y)) < 1e-9).map(y => 10 ** Math.round(y));
    const text = this.log ? y => shown(y, 4) : told(at, 4);
    const rows = at.map(y => {
      const place = this.Y(y).toFixed(1);
      return [svg('path', { d: `M${this.left} ${place}h${this.width}` }),
        svg('text', { class: 'tick', x: this.left - 6, y: +place + 4, 'text-anchor': 'end' }, text(y))];
    });
    this.grid.replaceChildren(...rows.flat());
  }

  // The x axis, in what X takes.
  ticksX(at, X, label, text = told(at, 6)) {
    const y = this.top + this.height;
    this.under?.remove();
    this.under = this.grid.parentNode.appendChild(svg('g', {}));
    for (const x of at) {
      this.under.append(svg('path', { class: 'axis', d: `M${X(x).toFixed(1)} ${y}v4` }),
        svg('text', { class: 'tick', x: X(x).toFixed(1), y: y + 17, 'text-anchor': 'middle' }, text(x)));
    }
    this.under.append(svg('text', { class: 'label', x: this.left + this.width, y: y + 34, 'text-anchor': 'end' }, label));
  }
}

// What a screen reader is told of a figure stands in its first child.
function picture(title, width, height, kind) {
  const id = `title-${picture.count = (picture.count ?? 0) + 1}`;
  return svg('svg', { class: kind, viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-labelledby': id },
    svg('title', { id }, title));
}

// The little picture of a structure: target as an area, aligned prediction as a line.
function thumbnail(base64, width = 88, height = 30) {
  const bytes = bytesOf(base64), n = bytes.length / 2;
  const points = from => Array.from(bytes.subarray(from, from + n),
    (y, i) => `${(i * (width - 2) / Math.max(1, n - 1) + 1).toFixed(1)} ${(height - 1 - y / 255 * (height - 2)).toFixed(1)}`);
  return svg('svg', { class: 'thumbnail', viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true' },
    svg('path', { class: 'area', d: `M1 ${height - 1}L${points(0).join('L')}V${height - 1}Z` }),
    svg('path', { class: 'line prediction', d: `M${points(n).join('L')}` }));
}
