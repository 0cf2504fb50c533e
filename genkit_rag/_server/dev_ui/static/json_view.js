// A JSON value as a tree that folds. Every name and value is a text node.
import { $$, h } from './dom.js';

const MANY = 100; // children that are shown at once
const LONG = 2000; // characters of a string that are shown at once
const ARMS = 2; // levels that are open at first

function leaf(value) {
  if (value === null) return h('span', { class: 'j-null' }, 'null');
  if (typeof value === 'string') return text(value);
  return h('span', { class: `j-${typeof value}` }, String(value));
}

function text(value) {
  const shown = h('span', { class: 'j-string' }, JSON.stringify(value.length > LONG ? value.slice(0, LONG) : value));
  if (value.length <= LONG) return shown;
  const more = h('button', { type: 'button', class: 'link', onclick: () => box.replaceChildren(h('span', { class: 'j-string' }, JSON.stringify(value))) },
    `… ${(value.length - LONG).toLocaleString()} more characters`);
  const box = h('span', {}, shown, ' ', more);
  return box;
}

function entries(value) {
  return Array.isArray(value) ? value.map((one, place) => [place, one]) : Object.entries(value);
}

function summary(value) {
  const size = Array.isArray(value) ? value.length : Object.keys(value).length;
  const word = Array.isArray(value) ? (size === 1 ? 'item' : 'items') : size === 1 ? 'field' : 'fields';
  return `${Array.isArray(value) ? '[ ]' : '{ }'} ${size.toLocaleString()} ${word}`;
}

function children(value, level, from = 0) {
  const all = entries(value);
  const items = all.slice(from, from + MANY).map(([name, one]) => h('li', {}, ...node(name, one, level)));
  if (all.length > from + MANY) {
    const more = h('li', {}, h('button', {
      type: 'button', class: 'link', onclick: () => more.replaceWith(...children(value, level, from + MANY)),
    }, `… ${(all.length - from - MANY).toLocaleString()} more`));
    items.push(more);
  }
  return items;
}

function node(name, value, level) {
  const label = name === null ? [] : [h('span', { class: typeof name === 'number' ? 'j-index' : 'j-key' }, String(name)), ': '];
  if (value === null || typeof value !== 'object' || entries(value).length === 0) {
    return [...label, value !== null && typeof value === 'object' ? (Array.isArray(value) ? '[ ]' : '{ }') : leaf(value)];
  }
  const list = h('ul', { class: 'j-list' });
  const details = h('details', {}, h('summary', {}, ...label, h('span', { class: 'muted' }, summary(value))), list);
  const fill = () => { if (!list.hasChildNodes()) list.append(...children(value, level + 1)); };
  details.addEventListener('toggle', () => { if (details.open) fill(); });
  if (level < ARMS) { fill(); details.open = true; }
  return [details];
}

export function jsonView(value) {
  if (value === undefined) return h('div', { class: 'json muted' }, 'nothing');
  return h('div', { class: 'json' }, ...node(null, value, 0));
}

// <pre data-json>: the text, and beside it the tree, with a switch between the two.
export function enhanceJson(root = document) {
  for (const raw of $$('pre[data-json]', root)) {
    const closed = raw.closest('details:not([open])'); // a thousand documents have a thousand trees: made when seen
    if (closed) {
      closed.addEventListener('toggle', () => enhanceJson(closed), { once: true });
      continue;
    }
    raw.removeAttribute('data-json');
    let value;
    try { value = JSON.parse(raw.textContent); } catch { continue; }
    if (value === null || typeof value !== 'object') continue;
    const tree = jsonView(value);
    const toggle = h('button', {
      type: 'button', class: 'button small quiet json-switch', 'aria-pressed': 'false', onclick: () => {
        raw.hidden = !raw.hidden;
        tree.hidden = !raw.hidden;
        toggle.setAttribute('aria-pressed', String(!raw.hidden));
      },
    }, 'Raw');
    const box = h('div', { class: 'json-box' });
    raw.replaceWith(box);
    raw.hidden = true;
    box.append(toggle, tree, raw);
  }
}
