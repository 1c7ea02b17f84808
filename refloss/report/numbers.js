// The terms of an aligned loss at any shift of one structure (docs/specification.md, sections 3 and 4), in float64 with
// compensated sums: each within a few units of its last place. p, t: prediction and target; q: p between its zeros.

// A sum that carries what its additions round off: D. E. Knuth, The Art of Computer Programming 2, section 4.2.2.
class Sum {
  constructor() { this.high = 0; this.low = 0; }
  add(x) {
    const sum = this.high + x, part = sum - this.high;
    this.low += (this.high - (sum - part)) + (x - part);
    this.high = sum;
  }
  get value() { return this.high + this.low; }
}

// Adds a·b to the sum, and what rounding the product loses: T. J. Dekker, Numer. Math. 18, 224 (1971).
function addProduct(sum, a, b) {
  const product = a * b;
  const x = 134217729 * a, y = 134217729 * b;
  const a1 = x - (x - a), b1 = y - (y - b), a2 = a - a1, b2 = b - b1;
  const lost = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
  sum.add(product);
  if (lost === lost) sum.add(lost);  // NaN where splitting overflows: then the plain product has to do
}

const STENCILS = {
  exact: [3, -16, 36, -48, 25],
  float32: [5, -26.666667938232422, 60, -80, 41.666664123535156],
};

// Half at both ends, 1 between them; a single point has no width.
function trapezoidWeight(i, n) { return n === 1 ? 0 : i === 0 || i === n - 1 ? 0.5 : 1; }

class Structure {
  // term: what the page holds of the loss; curves: of this structure; b: its number in the batch.
  constructor(term, curves, b) {
    this.term = term;
    const own = decode(curves.prediction, curves.bits);
    this.q = new Float64Array(own.length + 2 * term.padding);
    this.q.set(own, term.padding);
    this.t = decode(curves.target, curves.bits);
    this.runs = curves.mask;
    this.mask = new Uint8Array(term.points);
    for (let r = 0; r < this.runs.length; r += 2) this.mask.fill(1, this.runs[r], this.runs[r + 1]);
    this.view = curves.view;
    this.batchWeight = trapezoidWeight(b, term.structures);
    this.steepness = this.squaredSlopes();
  }

  squaredSlopes() {
    const { q, term } = this, exact = term.switches.stencil === 'exact', c = STENCILS[term.switches.stencil];
    const squares = new Float64Array(q.length);
    for (let j = 4; j < q.length; j++) {
      const sum = new Sum();
      for (let k = 0; k < 5; k++) addProduct(sum, c[k], q[j - 4 + k]);
      const slope = exact ? sum.value / (12 * term.energy_step) : sum.value;
      squares[j] = slope * slope;
    }
    return squares;
  }

  dos(s) {
    const { q, t, runs, term } = this, n = term.points, sum = new Sum(), plain = term.padding > 0;
    for (let r = 0; r < runs.length; r += 2) {
      for (let i = runs[r]; i < runs[r + 1]; i++) {
        const d = q[s + i] - t[i];
        sum.add(plain ? d * d : trapezoidWeight(i, n) * d * d);
      }
    }
    return plain ? sum.value : term.energy_step * sum.value;
  }

  frontTail(s) {
    const { q, term } = this, sum = new Sum();
    if (term.padding > 0) {
      for (let j = 0; j < s; j++) sum.add(q[j] * q[j]);
      return sum.value;
    }
    for (let j = 0; j <= s; j++) sum.add(trapezoidWeight(j, s + 1) * q[j] * q[j]);
    return term.energy_step * sum.value;
  }

  unmaskedGradient(s) {
    const { mask, steepness, term } = this, window = term.switches.gradient_points === 'window';
    const first = Math.max(4, window ? s : 4), end = window ? s + term.points : this.q.length, n = end - first;
    const sum = new Sum();
    for (let j = first; j < end; j++) {
      const i = j - s, counts = i < 0 ? 1 : i < term.points ? mask[i] : 0;
      if (!counts) sum.add(trapezoidWeight(j - first, n) * steepness[j]);
    }
    return n > 0 ? term.energy_step * sum.value : 0;
  }

  // The running integral of the difference, (N,), 0 at the first point.
  accumulated(s) {
    const { q, t, term } = this, squares = term.switches.cumulated === 'squares', sum = new Sum();
    const c = new Float64Array(term.points);
    const addAt = i => {
      const a = q[s + i], b = t[i];
      if (squares) { addProduct(sum, a, a); addProduct(sum, -b, b); } else { sum.add(a); sum.add(-b); }
    };
    for (let i = 1; i < c.length; i++) {
      addAt(i - 1);
      addAt(i);
      c[i] = 0.5 * term.energy_step * sum.value;
    }
    return c;
  }

  cumulative(s, c = this.accumulated(s)) {
    const { mask, term } = this, n = term.points, sum = new Sum();
    if (term.switches.cumulative === 'batch') {
      for (let i = 1; i < n; i++) sum.add(c[i] * c[i] * term.mixed[i]);
      return this.batchWeight * term.energy_step / (n - 1) * sum.value;
    }
    for (let i = 1; i < n; i++) if (mask[i]) sum.add(trapezoidWeight(i - 1, n - 1) * c[i] * c[i]);
    return term.energy_step * sum.value;
  }

  // Every figure at a shift.
  at(s, c) {
    const { objective, front_tail: counted } = this.term.switches;
    const dos = this.dos(s), tail = this.frontTail(s), gradient = this.unmaskedGradient(s), area = this.cumulative(s, c);
    const loss = dos + (counted ? tail : 0) + this.term.grad_weight * gradient + this.term.int_weight * area;
    const best = objective === 'total' ? loss : objective === 'dos' ? dos : dos + tail;
    return { dos, front_tail: tail, unmasked_gradient: gradient, cumulative: area, loss, objective: best };
  }

  // The objective at every shift, with plain sums: to draw.
  landscape() {
    const { q, t, runs, term } = this, n = term.points, found = new Float64Array(term.shifts);
    if (term.switches.objective === 'total') return found.map((_, s) => this.at(s).loss);
    const plain = term.padding > 0, tails = term.switches.objective === 'dos+front_tail';
    let before = 0;  // Σ q² below the shift
    for (let s = 0; s < found.length; s++) {
      let sum = 0;
      for (let r = 0; r < runs.length; r += 2) {
        for (let i = runs[r], end = runs[r + 1]; i < end; i++) { const d = q[s + i] - t[i]; sum += d * d; }
      }
      if (!plain && this.mask[0]) sum -= 0.5 * (q[s] - t[0]) ** 2;
      if (!plain && this.mask[n - 1]) sum -= 0.5 * (q[s + n - 1] - t[n - 1]) ** 2;
      const tail = plain ? before : s > 0 ? before - 0.5 * q[0] ** 2 + 0.5 * q[s] ** 2 : 0;
      found[s] = Math.max(0, sum + (tails ? tail : 0)) * (plain ? 1 : term.energy_step);
      before += q[s] * q[s];
    }
    return found;
  }
}

// The best local minimum of a landscape but the run that holds `shift`; −1 where there is none.
function rivalOf(landscape, shift) {
  let best = -1;
  for (let start = 0, stop; start < landscape.length; start = stop) {
    for (stop = start + 1; stop < landscape.length && landscape[stop] === landscape[start]; stop++);
    const lowest = !(landscape[start - 1] < landscape[start]) && !(landscape[stop] < landscape[start]);
    if (lowest && !(start <= shift && shift < stop) && (best < 0 || landscape[start] < landscape[best])) best = start;
  }
  return best;
}

function bytesOf(base64) { return Uint8Array.from(atob(base64), character => character.charCodeAt(0)); }

function decode(base64, bits) {
  const { buffer } = bytesOf(base64);
  return bits === 32 ? Float64Array.from(new Float32Array(buffer)) : new Float64Array(buffer);
}
