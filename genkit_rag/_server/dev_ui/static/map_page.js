// The map of a store's vectors: what the action `projection` gives, on a canvas and in a table.
import { runAction } from './api.js';
import { $, announce, h, svg } from './dom.js';
import { EmbeddingMap } from './embedding_map.js';

const LISTED = 200;
const KINDS = 9;
// Light on dark and dark on light: told apart with any kind of colour vision (after Okabe and Ito).
const LIGHT = ['#0072b2', '#d55e00', '#007a5a', '#b5467f', '#8a6d00', '#3b7ea1', '#7a3e9d', '#5c5c6b', '#a33b3b'];
const DARK = ['#56b4e9', '#ff8c42', '#2fc79a', '#e58fc0', '#f0e442', '#8cc6e0', '#c49af0', '#b8b8c8', '#ff8a8a'];

const form = $('#map-form');
const store = form.dataset.store;
const scope = JSON.parse(form.dataset.scope);
const given = JSON.parse(form.dataset.context);
const context = Object.keys(given).length ? given : undefined;
const run = async (verb, input) => (await runAction(`/util/${store}/${verb}`, input, { context, own: true })).result;
const texts = new Map();
let found = null;
let codes = [];
let kinds = [];

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = () => getComputedStyle(document.documentElement).colorScheme.includes('dark');
const palette = () => (dark() ? DARK : LIGHT);
const theme = () => ({ text: style('--text'), faint: style('--line-strong'), accent: style('--accent'), surface: style('--surface') });

const map = new EmbeddingMap($('#map'), { onHover: hover, onSelect: list });
document.map = map; // for those who measure it
new MutationObserver(() => { map.recolour(palette(), theme()); legend(); }).observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { map.recolour(palette(), theme()); legend(); });

// The most frequent values have a colour each; numbers of many values are put in five classes of equal size.
function classes(values) {
  if (!values) return { kinds: [{ name: 'all documents', count: found.ids.length }], of: () => 0 };
  const numbers = values.filter((one) => typeof one === 'number');
  const different = new Set(values.map((one) => JSON.stringify(one)));
  if (different.size > KINDS && numbers.length > values.length / 2) return ranges(values, numbers);
  const counts = new Map();
  for (const value of values) counts.set(JSON.stringify(value), (counts.get(JSON.stringify(value)) ?? 0) + 1);
  const often = [...counts].sort((a, b) => b[1] - a[1]);
  const shown = often.length > KINDS ? often.slice(0, KINDS - 1) : often;
  const names = shown.map(([text, count]) => ({ name: text === 'null' ? '(none)' : String(JSON.parse(text)), count }));
  const rest = often.slice(shown.length).reduce((sum, one) => sum + one[1], 0);
  if (rest) names.push({ name: 'others', count: rest });
  const place = new Map(shown.map(([text], code) => [text, code]));
  return { kinds: names, of: (value) => place.get(JSON.stringify(value)) ?? names.length - 1 };
}

function ranges(values, numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const edges = [0.2, 0.4, 0.6, 0.8].map((share) => sorted[Math.floor(share * sorted.length)]);
  const of = (value) => (typeof value === 'number' ? edges.filter((edge) => value >= edge).length : 5);
  const counts = values.reduce((sums, value) => { sums[of(value)] += 1; return sums; }, [0, 0, 0, 0, 0, 0]);
  const names = [sorted[0], ...edges].map((low, code) => `${low} to ${code < 4 ? `below ${edges[code]}` : sorted.at(-1)}`);
  const kinds = names.map((name, code) => ({ name, count: counts[code] }));
  return { kinds: counts[5] ? [...kinds, { name: '(no number)', count: counts[5] }] : kinds, of };
}

function legend() {
  const colours = palette();
  $('#legend').replaceChildren(...kinds.map((kind, code) => h('li', {},
    svg('svg', { viewBox: '0 0 10 10', width: 10, height: 10, 'aria-hidden': 'true' }, svg('circle', { cx: 5, cy: 5, r: 5, fill: colours[code] })),
    h('span', {}, kind.name), h('span', { class: 'muted num' }, String(kind.count)))));
}

async function show() {
  const data = new FormData(form);
  const [query, field] = [data.get('query').trim(), data.get('field')];
  const note = $('#map-note');
  note.textContent = 'Loading…';
  try {
    found = await run('projection', {
      ...scope, points: Number(data.get('points')), ...(field && { field }), ...(query && { query, k: 10 }),
    });
  } catch (error) {
    note.textContent = `${error.message} ${error.hint ?? ''}`;
    return;
  }
  const sorted = classes(found.values);
  kinds = sorted.kinds;
  codes = found.ids.map((_, i) => sorted.of(found.values?.[i]));
  map.theme = theme();
  map.show({ x: found.x, y: found.y, colour: codes, palette: palette(), marks: found.hits ?? [], origin: found.query ?? null });
  legend();
  const shares = found.explained.map((share) => `${Math.round(share * 100)} %`).join(' and ');
  note.textContent = `${found.ids.length} of ${found.total} documents on the two axes of largest variance, which show ${shares} of it.`
    + (found.query ? ' The cross is the query, numbered rings are what it finds.' : '');
  remember(query, field);
  if (found.hits?.length) rows('What the query finds', found.hits.map((hit) => ({ id: hit.id, value: valueOf(hit.id), score: hit.score, text: hit.text })));
  else list(found.ids.slice(0, 20).map((_, i) => i), 'The first points');
}

function remember(query, field) {
  const url = new URL(location.href);
  for (const [name, value] of [['query', query], ['field', field]]) {
    if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
  }
  history.replaceState(null, '', url);
}

const valueOf = (id) => { const at = found.ids.indexOf(id); return at < 0 ? null : found.values?.[at]; };

async function textsOf(ids) {
  const missing = ids.filter((id) => !texts.has(id));
  if (missing.length) {
    const { documents } = await run('page', { namespace: scope.namespace, ids: missing });
    for (const one of documents) texts.set(one.metadata?.id ?? '', one.content.map((part) => part.text ?? '').join('').slice(0, 300));
  }
  return ids.map((id) => texts.get(id) ?? '');
}

async function list(indexes, title) {
  const chosen = indexes.slice(0, LISTED);
  const more = indexes.length > chosen.length ? `, the first ${LISTED} listed` : '';
  const ids = chosen.map((i) => found.ids[i]);
  const read = await textsOf(ids);
  rows(title ?? `${indexes.length} ${indexes.length === 1 ? 'point' : 'points'}${more}`,
    ids.map((id, n) => ({ id, value: found.values?.[chosen[n]], score: null, text: read[n] })));
}

function rows(title, points) {
  $('#listed').textContent = title;
  $('#points-body').replaceChildren(...points.map(({ id, value, score, text }) => h('tr', {},
    h('td', { class: 'mono id' }, id), h('td', {}, value === null || value === undefined ? '' : String(value)),
    h('td', { class: 'num' }, score === null ? '' : score.toFixed(4)), h('td', {}, h('div', { class: 'clip' }, text)))));
  announce(title);
}

let resting = null;
function hover(index, x, y) {
  const tip = $('#map-tip');
  clearTimeout(resting);
  tip.hidden = index === null;
  if (index === null) return;
  const id = found.ids[index];
  const value = found.values?.[index];
  tip.replaceChildren(h('strong', {}, id), value === null || value === undefined ? '' : ` ${value}`, h('div', {}, texts.get(id) ?? ''));
  const frame = tip.parentElement;
  tip.style.setProperty('transform', `translate(${Math.min(x + 12, Math.max(0, frame.clientWidth - 260))}px, ${Math.min(y + 12, frame.clientHeight - 70)}px)`);
  if (!texts.has(id)) resting = setTimeout(async () => {
    const [text] = await textsOf([id]);
    if (map.hovered === index) tip.lastElementChild.textContent = text.slice(0, 160);
  }, 150);
}

form.addEventListener('submit', (event) => { event.preventDefault(); show(); });
$('#field').addEventListener('change', show);
$('#points').addEventListener('change', show);
$('#zoom-in').addEventListener('click', () => map.zoom(1.5));
$('#zoom-out').addEventListener('click', () => map.zoom(1 / 1.5));
$('#zoom-all').addEventListener('click', () => map.all());
$('#list-view').addEventListener('click', () => list(map.inside()));
show();
