// All structures at once: how often each shift was chosen, and the losses in their order.

function drawShifts(place, term) {
  const width = Math.max(260, place.clientWidth), height = 170, left = 46, top = 26, inner = width - left - 20;
  const { all_shifts: counts, energy_step: step } = term;
  let first = counts.findIndex(n => n > 0), last = counts.length - 1 - [...counts].reverse().findIndex(n => n > 0);
  const margin = Math.max(5, Math.round(0.08 * (last - first)));
  first = Math.max(0, first - margin);
  last = Math.min(counts.length - 1, last + margin);
  const wide = Math.max(1, Math.ceil((last - first + 1) / 60)), bins = [];
  for (let s = first; s <= last; s += wide) {
    bins.push({ from: s, to: Math.min(last, s + wide - 1), count: counts.slice(s, s + wide).reduce((a, b) => a + b, 0) });
  }
  const most = Math.max(...bins.map(bin => bin.count));
  const figure = picture(`How many structures were aligned at which shift: ${shown(first * step)} to ${shown(last * step)} eV`, width, height + top + 44, 'shifts');
  const frame = new Frame(figure, { left, top, width: inner, height, label: 'structures', count: Math.max(2, Math.min(5, most)) });
  frame.setY(0, 1.05 * most);
  const X = scale(first - 0.5, last + 0.5, left, left + inner);
  for (const bin of bins) {
    if (!bin.count) continue;
    const x = X(bin.from - 0.5), y = frame.Y(bin.count);
    const told = `${bin.from}${bin.to > bin.from ? ` to ${bin.to}` : ''} points: ${bin.count}`;
    frame.lines.append(svg('rect', { class: 'bar', x: x + 0.5, y, width: Math.max(1, X(bin.to + 0.5) - x - 1), height: top + height - y },
      svg('title', {}, told)));
  }
  if (term.rest > first && term.rest < Math.min(last, counts.length - 1)) {
    frame.front.append(svg('path', { class: 'edge', d: `M${X(term.rest)} ${top}v${height}` }));
  }
  for (const [s, anchor, text] of [[0, 'start', 'first shift'], [counts.length - 1, 'end', 'last shift']]) {
    if (s < first || s > last || counts.length === 1) continue;
    const x = X(s + (s ? 0.5 : -0.5));
    frame.front.append(svg('path', { class: 'edge', d: `M${x} ${top}v${height}` }),
      svg('text', { class: 'tick halo', x: x + (s ? -4 : 4), y: top + 11, 'text-anchor': anchor }, text));
  }
  const label = counts.length > 1 ? `shift (eV; ${shown(term.rest * step, 6)} moves nothing)` : 'shift (eV)';
  frame.ticksX(ticks(first * step, last * step, inner < 400 ? 4 : 7), energy => X(energy / step), label);
  place.replaceChildren(figure);
}

// pick: called with the structure's number when its mark is clicked.
function drawRanks(place, term, pick) {
  const { rows } = term, n = rows.loss.length, width = Math.max(260, place.clientWidth), height = 170;
  const left = 58, top = 26, inner = width - left - 20;
  const low = Math.min(...rows.loss), high = Math.max(...rows.loss), log = low > 0 && high > 20 * low;
  const figure = picture('The loss of every structure, worst first', width, height + top + 44, 'ranks');
  const frame = new Frame(figure, { left, top, width: inner, height, log, label: `loss of each structure${log ? ', logarithmic' : ''}` });
  frame.setY(log ? low / 1.3 : Math.min(0, low), log ? high * 1.3 : high > 0 ? 1.05 * high : 1);
  const X = scale(0.5, n + 0.5, left, left + inner), size = n > 300 ? 1.6 : n > 60 ? 2.4 : 4;
  rows.loss.forEach((loss, k) => {
    const x = X(k + 1).toFixed(1), y = frame.Y(loss).toFixed(1);
    // A cross is a structure with a note: the shape tells, not the colour alone.
    frame.lines.append(rows.notes[k]
      ? svg('path', { class: 'mark noted', 'data-row': k, d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` })
      : svg('circle', { class: 'dot', 'data-row': k, cx: x, cy: y, r: size }));
  });
  const chosen = frame.front.appendChild(svg('circle', { class: 'here', r: 8, visibility: 'hidden' }));
  frame.ticksX(ticks(1, n, inner < 400 ? 4 : 7).filter(Number.isInteger), X, `rank${rows.notes.some(Boolean) ? ' (×: see the notes)' : ''}`);
  figure.addEventListener('click', event => {
    const k = Math.round((event.clientX - figure.getBoundingClientRect().left - left) / inner * n + 0.5) - 1;
    if (k >= 0 && k < n) pick(rows.index[k]);
  });
  place.replaceChildren(figure);
  return row => {
    chosen.setAttribute('cx', X(row + 1));
    chosen.setAttribute('cy', frame.Y(rows.loss[row]));
    chosen.setAttribute('visibility', 'visible');
  };
}
