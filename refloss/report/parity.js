// Pointwise terms: predictions over targets, and which residuals the loss comes from.

function drawParity(place, panel) {
  const width = Math.max(250, place.clientWidth), size = Math.min(width, 380), left = 62, top = 14, inner = size - left - 14;
  const [low, high] = panel.limits, dots = panel.target.length;
  const figure = picture(`${panel.path}: predictions over targets`, size, top + inner + 42, 'parity');
  const frame = new Frame(figure, { left, top, width: inner, height: inner });
  frame.setY(low, high);
  const X = scale(low, high, left, left + inner), diagonal = by => `M${X(low)} ${frame.Y(low + by)}L${X(high)} ${frame.Y(high + by)}`;
  frame.lines.append(svg('path', { class: 'line', d: diagonal(0) }));
  if (panel.delta !== null) {
    for (const by of [-panel.delta, panel.delta]) frame.lines.append(svg('path', { class: 'knee', d: diagonal(by) }));
  }
  const most = Math.log(1 + Math.max(1, ...panel.elements.slice(-1)));  // the fullest is last
  for (let k = 0; k < dots; k++) {
    const place = value => low + value / 1000 * (high - low);
    frame.lines.append(svg('circle', {
      class: 'dot', cx: X(place(panel.target[k])).toFixed(1), cy: frame.Y(place(panel.prediction[k])).toFixed(1),
      r: 2.4, 'fill-opacity': (0.45 + 0.55 * Math.log(1 + panel.elements[k]) / most).toFixed(2),
    }));
  }
  frame.ticksX(ticks(low, high, 4), X, `target; upwards: prediction (${panel.unit})`);
  place.replaceChildren(figure, drawShares(panel, size, left, inner));
}

// A bar for the share of the loss that a bin of the residual holds, a line for its share of the elements.
function drawShares(panel, size, left, inner) {
  const { edges, share_of_elements: elements, share_of_loss: losses } = panel, top = 24, height = 100;
  const figure = picture(`${panel.path}: shares of the elements and of the loss over the residual`, size, top + height + 42, 'shares');
  const frame = new Frame(figure, { left, top, width: inner, height, count: 3 });
  const percent = shares => shares.map(share => 100 * share);
  const [bars, line] = [percent(losses), percent(elements)], first = edges[0], last = edges[edges.length - 1];
  frame.setY(0, 1.08 * Math.max(...bars, ...line, 1));
  const X = scale(first, last, left, left + inner);
  bars.forEach((bar, k) => {
    const x = X(edges[k]), y = frame.Y(bar);
    if (bar > 0) frame.lines.append(svg('rect', { class: 'loss', x, y, width: X(edges[k + 1]) - x, height: top + height - y }));
  });
  const steps = line.map((y, k) => `${X(edges[k]).toFixed(1)} ${frame.Y(y).toFixed(1)}H${X(edges[k + 1]).toFixed(1)}`);
  frame.line('elements').setAttribute('d', `M${steps.join('L')}`);
  for (const by of panel.delta === null ? [] : [-panel.delta, panel.delta]) {
    if (by > first && by < last) frame.lines.append(svg('path', { class: 'knee', d: `M${X(by)} ${top}v${height}` }));
  }
  figure.append(svg('rect', { class: 'loss', x: left, y: 6, width: 14, height: 10 }), svg('text', { class: 'tick', x: left + 19, y: 15 }, '% of the loss'),
    svg('path', { class: 'line elements', d: `M${left + 110} 11h16` }), svg('text', { class: 'tick', x: left + 131, y: 15 }, '% of the elements'));
  const beyond = panel.largest > last * (1 + 1e-9) ? `; outermost: up to ±${shown(panel.largest, 3)}` : '';
  frame.ticksX(ticks(first, last, 4), X, `residual (${panel.unit})${beyond}`);
  return figure;
}
