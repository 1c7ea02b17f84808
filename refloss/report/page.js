// The page: the table of structures, the structure that is looked at, and the address that says which it is.

const ROWS = 200;  // drawn at once; the rest on demand, so that the page is there at once

const byId = id => document.getElementById(id);
const { aligned: terms, pointwise } = JSON.parse(byId('data').textContent);
const state = { term: null, rows: [], sort: 'rank', ascending: true, drawn: ROWS, chosen: null, curves: null, structures: new Map() };

const COLUMNS = [
  ['structure', 'structure', (rows, k) => rows.index[k]],
  ['loss', 'loss', (rows, k) => rows.loss[k]],
  ['shift', 'shift', (rows, k) => rows.shift[k]],
  ['margin', 'margin', (rows, k) => rows.margin[k] ?? Infinity],
  ['dos', 'D', (rows, k) => rows.dos[k]],
  ['front_tail', 'F', (rows, k) => rows.front_tail[k]],
  ['unmasked_gradient', 'G', (rows, k) => rows.unmasked_gradient[k]],
  ['cumulative', 'C', (rows, k) => rows.cumulative[k]],
];
const TITLES = { margin: 'objective of the second-best shift less that of the best', shift: 'in grid points' };

function nameOf(term, k) { return term.rows.name ? term.rows.name[k] : `structure ${term.rows.index[k]}`; }
function notesOf(term, k) { return term.notes.filter((_, bit) => term.rows.notes[k] >> bit & 1).join(', '); }
function eV(term, points) { return `${shown(points * term.energy_step, 6)} eV`; }

// ---- the table

function showTerm(term) {
  state.term = term;
  Object.assign(state, { sort: 'rank', ascending: true, drawn: ROWS, chosen: null, curves: null });
  byId('filter').value = '';
  byId('only').replaceChildren(html('option', { value: '' }, 'all'));
  term.notes.forEach((note, bit) => {
    const count = term.rows.notes.filter(bits => bits >> bit & 1).length;
    if (count) byId('only').append(html('option', { value: bit }, `${note} (${count})`));
  });
  const held = Object.keys(term.curves).length;
  if (held < term.rows.index.length) byId('only').append(html('option', { value: 'curves' }, `with curves (${held})`));
  byId('held').textContent = term.structures === held ? '' : [
    term.rows.index.length < term.structures ? `Of ${term.structures} structures the worst ${term.rows.index.length} are listed. ` : '',
    `There is room for the curves of the worst ${held}; of the others the page has figures and a thumbnail.`,
  ].join('');
  const head = COLUMNS.map(([key, label]) => {
    const button = html('button', { type: 'button', 'data-key': key }, label);
    if (TITLES[key]) button.title = TITLES[key];
    button.addEventListener('click', () => sortBy(key));
    return html('th', { scope: 'col', class: key === 'structure' ? '' : 'number' }, button);
  });
  byId('head').replaceChildren(html('th', { scope: 'col', class: 'small' }, html('span', { class: 'hidden' }, 'thumbnail')), ...head);
  drawOverview();
  fillTable();
}

function drawOverview() {
  byId('overview').hidden = state.term.structures === 1;
  drawShifts(byId('shifts'), state.term);
  state.markRank = drawRanks(byId('ranks'), state.term, b => choose(b));
  if (state.chosen !== null) state.markRank(state.chosen);
}

function sortBy(key) {
  if (state.sort === key) state.ascending = !state.ascending;
  else Object.assign(state, { sort: key, ascending: key === 'structure' || key === 'margin' });  // worst first
  fillTable();
}

function fillTable() {
  const { term, sort, ascending } = state, { rows } = term, words = byId('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const only = byId('only').value;
  const passes = k => {
    if (only === 'curves' ? !(rows.index[k] in term.curves) : only !== '' && !(rows.notes[k] >> only & 1)) return false;
    if (!words.length) return true;
    const text = `${rows.index[k]} ${nameOf(term, k)} ${notesOf(term, k)}`.toLowerCase();
    return words.every(word => /^\d+$/.test(word) && !rows.name ? rows.index[k] === +word : text.includes(word));
  };
  state.rows = rows.index.map((_, k) => k).filter(passes);
  const column = COLUMNS.find(([key]) => key === sort), sign = ascending ? 1 : -1;
  if (column) {
    const of = column[2];
    state.rows.sort((j, k) => { const x = of(rows, j), y = of(rows, k); return x < y ? -sign : x > y ? sign : j - k; });
  }
  for (const button of byId('head').querySelectorAll('button')) {
    const own = button.dataset.key === sort || (sort === 'rank' && button.dataset.key === 'loss');
    button.parentNode.setAttribute('aria-sort', !own ? 'none' : sort !== 'rank' && ascending ? 'ascending' : 'descending');
  }
  state.drawn = ROWS;
  drawRows();
}

function drawRows() {
  const { term, rows } = state;
  byId('rows').replaceChildren(...rows.slice(0, state.drawn).map(k => drawRow(term, k)));
  const left = Math.max(0, rows.length - state.drawn);
  byId('more').hidden = left === 0;
  byId('more').textContent = `Show ${Math.min(left, 5 * ROWS)} more of ${left}`;
  byId('found').textContent = `${rows.length} of ${term.rows.index.length} listed`;
}

function drawRow(term, k) {
  const { rows } = term, b = rows.index[k], number = x => html('td', { class: 'number' }, shown(x));
  const link = html('a', { href: address(term, b) }, html('bdi', {}, nameOf(term, k)));
  const name = html('th', { scope: 'row' }, link);
  if (rows.name) name.append(html('span', { class: 'small' }, ` ${b}`));
  if (rows.notes[k]) name.append(html('div', { class: 'note' }, notesOf(term, k)));
  const row = html('tr', { 'data-row': k, class: b in term.curves ? 'held' : '' },
    html('td', { class: 'picture' }, thumbnail(rows.thumbnail[k])), name, number(rows.loss[k]),
    html('td', { class: 'number' }, String(rows.shift[k])), number(rows.margin[k]),
    ...Object.keys(PARTS).map(key => number(rows[key][k])));
  if (k === state.chosen) row.setAttribute('aria-current', 'true');
  return row;
}

function markRow() {
  for (const row of byId('rows').querySelectorAll('[aria-current]')) row.removeAttribute('aria-current');
  const row = byId('rows').querySelector(`[data-row="${state.chosen}"]`);
  if (!row) return;
  row.setAttribute('aria-current', 'true');
  const box = byId('box'), top = row.offsetTop - byId('head').offsetHeight;  // scrolls the table alone, never the page
  if (top < box.scrollTop) box.scrollTop = top;
  else if (row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = row.offsetTop + row.offsetHeight - box.clientHeight;
}

// ---- the structure that is looked at

function choose(b, shift = null) {
  const { term } = state, k = term.rows.index.indexOf(b);
  if (k < 0) return;
  state.chosen = k;
  markRow();
  state.markRank(k);
  const { rows } = term, place = rows.loss.filter(loss => loss > rows.loss[k]).length + 1;
  byId('name').replaceChildren(html('bdi', {}, nameOf(term, k)));
  byId('rank').textContent = `${rows.name ? `Structure ${b}, ` : ''}loss ${shown(rows.loss[k], 6)}, rank ${place} of ${term.structures} (convention ${term.convention})`;
  const notes = notesOf(term, k);
  byId('notes').textContent = notes && `Note: ${notes}.`;
  byId('detail').hidden = false;
  byId('pick').hidden = true;
  const held = b in term.curves;
  byId('workbench').hidden = !held;
  byId('controls').hidden = !held;
  byId('absent').hidden = held;
  byId('portrait').replaceChildren();
  state.curves = null;
  if (held) {
    openCurves(term, k, b, shift);
  } else {
    byId('portrait').replaceChildren(thumbnail(rows.thumbnail[k], 352, 120));
    fillFigures(term, k, null, null);
    remember(null);
  }
}

function openCurves(term, k, b, shift) {
  const key = `${terms.indexOf(term)}/${b}`;
  if (!state.structures.has(key)) {
    state.structures.clear();  // what is decoded takes a few hundred kB: one at a time will do
    state.structures.set(key, new Structure(term, term.curves[b], b));
  }
  const aligned = term.rows.shift[k], slider = byId('slider');
  slider.max = term.shifts - 1;
  slider.disabled = term.shifts < 2;
  const structure = state.structures.get(key), place = html('div', { class: 'figures' });
  byId('curves').replaceChildren(place);
  const curves = new Curves(place, structure, aligned, (s, figures) => {
    slider.value = s;
    const up = term.rest - s, text = up === 0 ? 'moves nothing' : `moves the prediction ${up > 0 ? 'up' : 'down'} by ${eV(term, Math.abs(up))}`;
    slider.setAttribute('aria-valuetext', `shift ${s}, ${text}`);
    byId('moved').replaceChildren(html('strong', {}, `shift ${s}`), `, ${text}${s === aligned ? ' (aligned)' : ''}`);
    fillFigures(term, k, s, figures);
    if (state.curves) remember(s === aligned ? null : s);
  });
  state.curves = curves;
  const jumps = [['aligned', aligned], ['runner-up', term.rows.runner_up[k]], ['next valley', curves.rival], ['unaligned', term.rest]];
  byId('jumps').replaceChildren(...jumps.filter(([, s]) => s >= 0).map(([text, s]) => {
    const button = html('button', { type: 'button' }, `${text} (${s})`);
    button.addEventListener('click', () => curves.move(s));
    return button;
  }));
  const own = structure.at(aligned), worst = Math.max(...[...Object.keys(PARTS), 'loss'].map(part => off(own[part], term.rows[part][k])));
  byId('agreement').textContent = worst < 1e-12
    ? 'At the aligned shift, what this page computes is within 1e−12 of the reference.'
    : `At the aligned shift, what this page computes differs from the reference by up to ${shown(worst, 2)} of it: the numbers are at the edge of float64.`;
  if (shift !== null) curves.move(shift);
  else remember(null);
}

function off(found, expected) { return found === expected ? 0 : Math.abs(found - expected) / Math.abs(expected); }

// The parts of the loss: here, and at the aligned shift as Python found them. No figures: there are no curves.
function fillFigures(term, k, s, figures) {
  const { switches, grad_weight: gradient, int_weight: area, rows } = term;
  const weights = { dos: 1, front_tail: switches.front_tail ? 1 : 0, unmasked_gradient: gradient, cumulative: area };
  const objective = { dos: 'D', 'dos+front_tail': 'D + F', total: 'loss' }[switches.objective];
  const data = (x, id) => html('data', { value: String(x), ...(id && { id }) }, shown(x, id ? 6 : 4));
  const cell = (part, name, told, known) => {
    const lines = figures ? [html('dd', {}, data(figures[part], `here-${part}`))] : [];
    if (known !== null) lines.push(html('dd', figures ? { class: 'small' } : {}, ...(figures ? [html('span', { title: 'at the aligned shift', role: 'img', 'aria-label': 'aligned' }, '◆'), ' '] : []), data(known)));
    return html('div', weights[part] === 0 ? { class: 'unweighted' } : {}, html('dt', {}, html('strong', {}, name), ` ${told}`), ...lines);
  };
  const cells = Object.entries(PARTS).map(([part, letter]) =>
    cell(part, letter, weights[part] ? `× ${shown(weights[part])}` : 'not in loss', rows[part][k]));
  cells.push(cell('loss', 'loss', '', rows.loss[k]));
  if (figures) cells.push(cell('objective', 'objective', objective, null));
  byId('figures').replaceChildren(...cells);
}

function step(by) {
  const at = state.rows.indexOf(state.chosen), next = state.rows[at < 0 ? 0 : Math.max(0, Math.min(state.rows.length - 1, at + by))];
  if (next === undefined) return;
  while (state.rows.indexOf(next) >= state.drawn) { state.drawn += 5 * ROWS; drawRows(); }
  choose(state.term.rows.index[next]);
}

// ---- the address

function address(term, b, shift = null) {
  const told = new URLSearchParams();
  if (terms.length > 1) told.set('term', term.name);
  told.set('structure', b);
  if (shift !== null) told.set('shift', shift);
  return `#${told}`;
}

let remembered = null;
function remember(shift) {
  clearTimeout(remembered);  // a browser takes no more than a hundred changes of the address in half a minute
  const next = address(state.term, state.term.rows.index[state.chosen], shift);
  remembered = setTimeout(() => { if (location.hash !== next) history.replaceState(null, '', next); }, 150);
}

// Shows what the address names, or the worst structure.
function followAddress() {
  const told = new URLSearchParams(location.hash.slice(1)), whole = key => /^\d{1,9}$/.test(told.get(key) ?? '') ? +told.get(key) : null;
  const term = terms.find(one => one.name === told.get('term')) ?? (told.has('structure') ? terms[0] : state.term ?? terms[0]);
  if (term !== state.term) {
    showTerm(term);
    byId('term').value = terms.indexOf(term);
  }
  const b = whole('structure');
  if (b !== null && term.rows.index.includes(b)) {
    choose(b, whole('shift'));
    return true;
  }
  if (state.chosen === null) choose(term.rows.index[0]);
  return false;
}

// ---- the beginning

function begin() {
  byId('explorer').hidden = false;
  terms.forEach((term, n) => byId('term').append(html('option', { value: n }, `${term.name} (${term.convention})`)));
  byId('which').hidden = terms.length < 2;
  byId('term').addEventListener('change', () => { showTerm(terms[byId('term').value]); choose(state.term.rows.index[0]); });
  byId('filter').addEventListener('input', fillTable);
  byId('only').addEventListener('change', fillTable);
  byId('more').addEventListener('click', () => { state.drawn += 5 * ROWS; drawRows(); });
  byId('slider').addEventListener('input', () => state.curves?.move(+byId('slider').value));
  byId('worse').addEventListener('click', () => step(-1));
  byId('better').addEventListener('click', () => step(1));
  for (const button of document.querySelectorAll('[data-zoom]')) {
    const [factor, by] = button.dataset.zoom.split(' ').map(Number);
    button.addEventListener('click', () => { if (factor) state.curves?.zoom(factor, by); else state.curves?.look(...state.curves.home); });
  }
  const open = (event, row) => {
    event.preventDefault();
    choose(state.term.rows.index[row.dataset.row]);
    if (matchMedia('(max-width: 1000px)').matches) {
      byId('detail').scrollIntoView({ behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
    }
  };
  byId('rows').addEventListener('click', event => {
    const row = event.target.closest('tr');
    if (row && !event.ctrlKey && !event.metaKey && !event.shiftKey) open(event, row);
  });
  byId('box').addEventListener('keydown', event => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || event.target.tagName === 'BUTTON') return;
    event.preventDefault();
    step(by);
    byId('rows').querySelector('[aria-current] a')?.focus({ preventScroll: true });
  });
  let width = innerWidth;
  addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; drawOverview(); } });
  addEventListener('hashchange', followAddress);
  followAddress();
}

function beginParity() {
  byId('parity').hidden = false;
  const places = pointwise.map(panel => {
    const figures = html('div'), told = `${panel.count} element${panel.count === 1 ? '' : 's'}${panel.delta === null ? '' : `; dashed: the knee, ±${shown(panel.delta)}`}`;
    byId('panels').append(html('div', {}, html('h3', {}, html('bdi', {}, panel.path)), html('p', { class: 'small' }, told), figures));
    return figures;
  });
  const draw = () => places.forEach((place, k) => drawParity(place, pointwise[k]));
  let width = innerWidth;
  addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  draw();
}

if (pointwise.length) beginParity();
if (terms.length) begin();
